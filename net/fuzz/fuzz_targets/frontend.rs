//! Any bytes are messages or an error, and decoding reads all of each body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omen_net::pg::frontend::{HEADER_BYTES, Message, decode, header};

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Some((kind, length))) = header(rest) {
        let Some(body) = rest.get(HEADER_BYTES..HEADER_BYTES + length) else { break };
        match decode(kind, body) {
            Ok(Message::Bind(bind)) => {
                assert_eq!(bind.parameters.count(), bind.parameters.clone().count());
                let bytes: usize = bind.parameters.flatten().map(<[u8]>::len).sum();
                assert!(bytes <= body.len());
            }
            Ok(Message::Parse(parse)) => assert!(parse.parameter_oids().len() * 4 <= body.len()),
            Ok(_) | Err(_) => {}
        }
        rest = &rest[HEADER_BYTES + length..];
    }
});
