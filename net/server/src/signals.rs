//! SIGTERM and SIGINT: the first asks the node to stop cleanly, the second ends the process at once.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Failure;

/// Exit status of a process that a second signal ended.
const FORCED: i32 = 130;

/// Calls `stop` on a thread of its own when the first signal comes.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn on_stop(stop: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let fail = |e: std::io::Error| Failure::new(format!("cannot install signal handlers: {e}"));
    let (mut ear, mouth) = UnixStream::pair().map_err(fail)?;
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the exit sees the flag of an earlier signal only.
        signal_hook::flag::register_conditional_shutdown(signal, FORCED, Arc::clone(&asked)).map_err(fail)?;
        signal_hook::flag::register(signal, Arc::clone(&asked)).map_err(fail)?;
        signal_hook::low_level::pipe::register(signal, mouth.try_clone().map_err(fail)?).map_err(fail)?;
    }
    let wait = move || {
        if ear.read_exact(&mut [0]).is_ok() {
            stop();
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(fail)?;
    Ok(())
}
