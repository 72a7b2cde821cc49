//! Any bytes open a connection, ask for something else, or are refused; what is consumed was there.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use omen_net::pg::ServerConfig;
use omen_net::pg::handshake::{Handshake, Progress};

static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let mut config = ServerConfig::new([1; 32]);
    config.set_password("omen", "secret");
    Arc::new(config)
});

fuzz_target!(|data: &[u8]| {
    let peer = if data.first().is_some_and(|byte| byte % 2 == 0) { "127.0.0.1" } else { "10.0.0.1" };
    let mut handshake = Handshake::new(Arc::clone(&CONFIG), peer.parse().expect("an address"), [2; 18]);
    let mut rest = data.get(1..).unwrap_or_default();
    let mut out = Vec::new();
    loop {
        match handshake.step(rest, &mut out) {
            Progress::Consumed(bytes) => {
                assert!(bytes > 0);
                rest = &rest[bytes..];
            }
            Progress::NeedsMore | Progress::Cancel { .. } | Progress::Refused => break,
            Progress::Admitted { consumed, .. } => {
                assert_eq!(peer, "127.0.0.1", "nobody guesses a proof");
                assert!(consumed <= rest.len());
                break;
            }
        }
    }
});
