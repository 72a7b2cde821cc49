//! The packets that open a connection: they have no kind, only a length and a code (PG 15, chapter 55.7).

use omen_sql::error::{SqlError, SqlState};

use super::frontend::{invalid_utf8, violation};

/// Longest packet before authentication (PG 15, `MAX_STARTUP_PACKET_LENGTH`).
pub const PACKET_BYTES_MAX: usize = 10_000;

const PROTOCOL_MAJOR: u16 = 3;
const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// Names longer than this are cut, as identifiers are.
const NAME_BYTES_MAX: usize = 63;

/// A packet that opens a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// Asks for TLS.
    Ssl,
    /// Asks for GSSAPI encryption.
    Gss,
    /// Asks to cancel what another session runs.
    Cancel {
        /// The session.
        pid: u32,
        /// Its secret.
        secret: u32,
    },
    /// Asks for a session.
    Startup(Startup),
}

/// What the client says about the session it wants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Startup {
    /// The role.
    pub user: String,
    /// The database; the role's name if the client gives none.
    pub database: String,
    /// Settings, those of `options` first.
    pub settings: Vec<(String, String)>,
    /// What this server must say it does not know: `Some` if the client asks for a newer minor version or for options
    /// of the protocol, which are listed.
    pub unknown_options: Option<Vec<String>>,
}

/// The packet that begins `input` and its length; `None` if it is not whole.
///
/// # Errors
/// FATAL 08P01 or 0A000 if it is none that this server knows.
pub fn read(input: &[u8]) -> Result<Option<(Packet, usize)>, SqlError> {
    let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if !(8..=PACKET_BYTES_MAX).contains(&length) {
        return Err(violation("invalid length of startup packet"));
    }
    let Some(packet) = input.get(4..length) else { return Ok(None) };
    let (code, body) = packet.split_first_chunk::<4>().expect("packets are 8 bytes or more");
    let packet = match (u32::from_be_bytes(*code), body) {
        (CANCEL_REQUEST, [p0, p1, p2, p3, s0, s1, s2, s3]) => Packet::Cancel {
            pid: u32::from_be_bytes([*p0, *p1, *p2, *p3]),
            secret: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
        },
        (SSL_REQUEST, []) => Packet::Ssl,
        (GSSENC_REQUEST, []) => Packet::Gss,
        (CANCEL_REQUEST | SSL_REQUEST | GSSENC_REQUEST, _) => {
            return Err(violation("invalid length of startup packet"));
        }
        (version, body) => {
            let (major, minor) = ((version >> 16) as u16, version as u16);
            if major != PROTOCOL_MAJOR {
                let message =
                    format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0");
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
            Packet::Startup(read_parameters(minor, body)?)
        }
    };
    Ok(Some((packet, length)))
}

fn read_parameters(minor: u16, body: &[u8]) -> Result<Startup, SqlError> {
    let layout = || violation("invalid startup packet layout: expected terminator as last byte");
    let mut startup = Startup::default();
    let mut unknown = Vec::new();
    let mut options = Vec::new();
    let mut rest = body;
    loop {
        let name = take_text(&mut rest)?.ok_or_else(layout)?;
        if name.is_empty() {
            break;
        }
        let value = take_text(&mut rest)?.ok_or_else(layout)?;
        match name {
            "user" => startup.user = cut(value),
            "database" => startup.database = cut(value),
            "options" => options = split_options(value)?,
            "replication" => refuse_replication(value)?,
            _ if name.starts_with("_pq_.") => unknown.push(name.to_owned()),
            _ => startup.settings.push((name.to_owned(), value.to_owned())),
        }
    }
    if !rest.is_empty() {
        return Err(layout());
    }
    if startup.user.is_empty() {
        let message = "no PostgreSQL user name specified in startup packet";
        return Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message));
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    // The packet's own settings are stronger than those of `options`, so they come last.
    options.append(&mut startup.settings);
    startup.settings = options;
    startup.unknown_options = (minor > 0 || !unknown.is_empty()).then_some(unknown);
    Ok(startup)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a str>, SqlError> {
    let Some(end) = memchr::memchr(0, rest) else { return Ok(None) };
    let (text, after) = (&rest[..end], &rest[end + 1..]);
    *rest = after;
    std::str::from_utf8(text).map(Some).map_err(|e| invalid_utf8(text, e.valid_up_to()))
}

fn cut(name: &str) -> String {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name[..end.unwrap_or(0)].to_owned()
}

fn refuse_replication(value: &str) -> Result<(), SqlError> {
    match value {
        "0" | "f" | "false" | "n" | "no" | "off" => Ok(()),
        _ => Err(SqlError::unsupported("replication", "Connect without the option \"replication\".")),
    }
}

/// The settings of command-line options: `-c name=value`, `-cname=value` or `--name=value`, separated by spaces; a
/// backslash keeps the next character (PG 15, `pg_split_opts`).
fn split_options(text: &str) -> Result<Vec<(String, String)>, SqlError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let invalid = |word: &str| {
            let message = format!("invalid command-line argument for server process: {word}");
            SqlError::new(SqlState::SYNTAX_ERROR, message).hint("Use \"-c name=value\".")
        };
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(setting), _) => setting.to_owned(),
            (None, Some("")) => words.next().ok_or_else(|| invalid(&word))?,
            (None, Some(setting)) => setting.to_owned(),
            (None, None) => return Err(invalid(&word)),
        };
        let (name, value) = setting.split_once('=').ok_or_else(|| invalid(&setting))?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(version: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + body.len()).expect("short");
        [&length.to_be_bytes(), &version.to_be_bytes(), body].concat()
    }

    fn startup(body: &[u8]) -> Result<Startup, SqlError> {
        match read(&packet(196_608, body))?.expect("whole").0 {
            Packet::Startup(startup) => Ok(startup),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_parameters_and_options() {
        let got = startup(
            b"user\0u\0TimeZone\0UTC\0options\0-c a=b --work-mem=4\\ MB\\\\  -cx=y=z\0_pq_.x\x001\0\0",
        )
        .expect("valid");
        assert_eq!((got.user.as_str(), got.database.as_str()), ("u", "u"));
        let settings: Vec<_> = got.settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(settings, [("a", "b"), ("work_mem", "4 MB\\"), ("x", "y=z"), ("TimeZone", "UTC")]);
        assert_eq!(got.unknown_options, Some(vec!["_pq_.x".to_owned()]));
        let newer = read(&packet(196_610, b"user\0u\0database\0d\0\0")).expect("valid").expect("whole").0;
        let Packet::Startup(newer) = newer else { panic!("{newer:?}") };
        assert_eq!((newer.database.as_str(), newer.unknown_options), ("d", Some(Vec::new())));
        assert_eq!(startup(b"user\0u\0\0").expect("valid").unknown_options, None);
    }

    #[test]
    fn refuses_what_is_malformed() {
        for (body, state) in [
            (&b""[..], "08P01"),
            (b"user", "08P01"),
            (b"user\0", "08P01"),
            (b"user\0u\0", "08P01"),
            (b"user\0u\0\0x", "08P01"),
            (b"\0", "28000"),
            (b"user\0\xff\0\0", "22021"),
            (b"user\0u\0replication\0true\0\0", "0A000"),
            (b"user\0u\0options\0-c\0\0", "42601"),
            (b"user\0u\0options\0bad\0\0", "42601"),
            (b"user\0u\0options\0-c nothing\0\0", "42601"),
        ] {
            assert_eq!(startup(body).expect_err("refused").state.code(), state, "{body:?}");
        }
        assert!(read(&packet(131_072, b"\0")).is_err(), "protocol 2.0");
        assert!(read(b"\0\0\0\x07\0\x03\0\0").is_err(), "too short");
        assert!(read(b"GET / HTTP/1.1\r\n").is_err(), "not PostgreSQL");
        assert!(read(&packet(SSL_REQUEST, b"x")).is_err(), "longer than it may be");
        assert!(read(&packet(CANCEL_REQUEST, b"1234")).is_err(), "shorter than it must be");
        let whole = packet(196_608, b"user\0u\0\0");
        assert!((0..whole.len()).all(|cut| read(&whole[..cut]) == Ok(None)));
    }

    #[test]
    fn reads_requests() {
        assert_eq!(read(&packet(SSL_REQUEST, b"")), Ok(Some((Packet::Ssl, 8))));
        assert_eq!(read(&packet(GSSENC_REQUEST, b"")), Ok(Some((Packet::Gss, 8))));
        let cancel = packet(CANCEL_REQUEST, b"\0\x10\0\x01\xff\xff\xff\xfe");
        assert_eq!(read(&cancel), Ok(Some((Packet::Cancel { pid: 0x10_0001, secret: u32::MAX - 1 }, 16))));
    }
}
