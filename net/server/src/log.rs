//! Messages to whoever runs the node: one line each on standard error, `TIME LEVEL text`.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

use chrono::{DateTime, SecondsFormat, Utc};

/// How important a message is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// The node cannot do its work.
    Error,
    /// Something needs attention.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
}

impl Level {
    /// The level of this name.
    pub fn named(name: &str) -> Option<Level> {
        Some(match name {
            "error" => Level::Error,
            "warn" => Level::Warn,
            "info" => Level::Info,
            "debug" => Level::Debug,
            _ => return None,
        })
    }

    fn label(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => "WARN ",
            Level::Info => "INFO ",
            Level::Debug => "DEBUG",
        }
    }
}

static LEAST: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Drops messages less important than this from now on.
pub fn set_level(least: Level) {
    LEAST.store(least as u8, Ordering::Relaxed);
}

/// Writes one message.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    if level as u8 <= LEAST.load(Ordering::Relaxed) {
        let line = line(std::time::SystemTime::now().into(), level, text);
        // Nobody is left to tell when standard error is closed.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

fn line(now: DateTime<Utc>, level: Level, text: fmt::Arguments<'_>) -> String {
    let time = now.to_rfc3339_opts(SecondsFormat::Micros, true);
    // One message, one line: whatever reads the log may rely on it.
    let text = text.to_string().replace('\n', " | ");
    format!("{time} {} {text}\n", level.label())
}

/// Makes panics one line of the log too.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place =
            panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        let text = panic.payload_as_str().unwrap_or("no message");
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let trace = std::backtrace::Backtrace::capture();
        write(Level::Error, format_args!("panic in thread {name}{place}: {text}"));
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            write(Level::Error, format_args!("{trace}"));
        }
    }));
}

/// Logs at level `info`.
macro_rules! info {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Info, format_args!($($text)*)) };
}
/// Logs at level `warn`.
macro_rules! warning {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Warn, format_args!($($text)*)) };
}
/// Logs at level `error`.
macro_rules! error {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Error, format_args!($($text)*)) };
}
pub(crate) use {error, info, warning};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let at = DateTime::from_timestamp_micros(1_600_000_000_123_456).unwrap();
        let line = line(at, Level::Warn, format_args!("first\nsecond"));
        assert_eq!(line, "2020-09-13T12:26:40.123456Z WARN  first | second\n");
        assert!(Level::Error < Level::Debug);
        assert_eq!(Level::named("info"), Some(Level::Info));
        assert_eq!(Level::named("loud"), None);
    }
}
