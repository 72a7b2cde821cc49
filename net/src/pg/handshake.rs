//! From the first byte of a connection to an authenticated client.
//!
//! ```text
//! packet: SSLRequest, GSSENCRequest -> 'N', stay    CancelRequest -> done
//!         StartupMessage -> rule: trust -> admitted, reject -> refused, scram-sha-256 -> exchange
//! exchange: SASLInitialResponse -> challenge, SASLResponse -> admitted or refused
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use omen_sql::error::{Severity, SqlError, SqlState};
use pgwire::messages::startup::Authentication;

use super::backend;
use super::config::ServerConfig;
use super::frontend::{self, HEADER_BYTES, kind, violation};
use super::hba::Method;
use super::scram::{Exchange, MECHANISM, NONCE_BYTES, ScramError, Verifier};
use super::startup::{self, Packet, Startup};

/// Longest message of an authentication exchange (PG 15, `PG_MAX_SASL_MESSAGE_LENGTH`).
const SASL_BYTES_MAX: usize = 1_024;

/// Requests for encryption that are answered; a client needs one of each.
const ENCRYPTION_REQUESTS_MAX: u32 = 4;

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    NeedsMore,
    /// So many bytes are used up; step again.
    Consumed(usize),
    /// The client wants another session's statement cancelled; nothing is answered.
    Cancel {
        /// The session.
        pid: u32,
        /// Its secret.
        secret: u32,
    },
    /// The client is who it says; AuthenticationOk is written.
    Admitted {
        /// Bytes used up.
        consumed: usize,
        /// What the client wants.
        startup: Startup,
    },
    /// The client is refused; the error is written.
    Refused,
}

/// The state of a connection that is not authenticated yet.
pub struct Handshake {
    config: Arc<ServerConfig>,
    peer: IpAddr,
    nonce: [u8; NONCE_BYTES],
    encryption_requests: u32,
    state: State,
}

enum State {
    Packet,
    Initial(Startup, Box<Exchange>),
    /// The client chose the mechanism but sent no data with its choice.
    First(Startup, Box<Exchange>),
    Last(Startup, Box<Exchange>),
    Ended,
}

impl Handshake {
    /// A connection from this address. `nonce` is random and used once.
    pub fn new(config: Arc<ServerConfig>, peer: IpAddr, nonce: [u8; NONCE_BYTES]) -> Handshake {
        Handshake { config, peer, nonce, encryption_requests: 0, state: State::Packet }
    }

    /// Takes the message that begins `input`; appends the answer to `out`.
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Progress {
        let stepped = match std::mem::replace(&mut self.state, State::Ended) {
            State::Packet => self.packet(input, out),
            State::Ended => Ok(Progress::Refused),
            exchanging => self.exchange(exchanging, input, out),
        };
        stepped.unwrap_or_else(|error| {
            backend::error(out, &error.severity(Severity::Fatal));
            Progress::Refused
        })
    }

    fn packet(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, SqlError> {
        let Some((packet, consumed)) = startup::read(input)? else {
            self.state = State::Packet;
            return Ok(Progress::NeedsMore);
        };
        match packet {
            Packet::Cancel { pid, secret } => Ok(Progress::Cancel { pid, secret }),
            Packet::Ssl | Packet::Gss => {
                self.encryption_requests += 1;
                if self.encryption_requests > ENCRYPTION_REQUESTS_MAX {
                    return Err(violation("too many requests for encryption"));
                }
                out.push(b'N');
                self.state = State::Packet;
                Ok(Progress::Consumed(consumed))
            }
            Packet::Startup(mut startup) => {
                if let Some(unknown) = startup.unknown_options.take() {
                    backend::negotiate_protocol_version(out, unknown);
                }
                self.begin(startup, consumed, out)
            }
        }
    }

    /// Finds the rule for the client and does what it says.
    fn begin(&mut self, startup: Startup, consumed: usize, out: &mut Vec<u8>) -> Result<Progress, SqlError> {
        let (database, user) = (&startup.database, &startup.user);
        let place =
            format!("host \"{}\", user \"{user}\", database \"{database}\", no encryption", self.peer);
        let refused =
            |message: String| Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message));
        match self.config.rules.find(database, user, self.peer).map(|rule| rule.method) {
            None => refused(format!("no pg_hba.conf entry for {place}")),
            Some(Method::Reject) => refused(format!("pg_hba.conf rejects connection for {place}")),
            Some(Method::Trust) => self.admit(startup, consumed, out),
            Some(Method::ScramSha256) => {
                let known = self.config.roles.get(user).and_then(|role| role.verifier.clone());
                let is_mock = known.is_none();
                let verifier = known.unwrap_or_else(|| Verifier::mock(self.config.secret(), user));
                let nonce = base64::engine::general_purpose::STANDARD.encode(self.nonce);
                backend::authentication(out, &Authentication::SASL(vec![MECHANISM.to_owned()]));
                self.state = State::Initial(startup, Box::new(Exchange::new(verifier, is_mock, nonce)));
                Ok(Progress::Consumed(consumed))
            }
        }
    }

    /// Checks that role and database exist, in PostgreSQL's order: only who is authenticated learns it.
    fn admit(&mut self, startup: Startup, consumed: usize, out: &mut Vec<u8>) -> Result<Progress, SqlError> {
        if !self.config.roles.contains_key(&startup.user) {
            let message = format!("role \"{}\" does not exist", startup.user);
            return Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message));
        }
        if !self.config.databases.contains(&startup.database) {
            let message = format!("database \"{}\" does not exist", startup.database);
            return Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, message));
        }
        backend::authentication(out, &Authentication::Ok);
        Ok(Progress::Admitted { consumed, startup })
    }

    fn exchange(&mut self, state: State, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, SqlError> {
        let Some((found, length)) = frontend::header(input)? else {
            self.state = state;
            return Ok(Progress::NeedsMore);
        };
        if found != kind::PASSWORD {
            let message = format!("expected SASL response, got message type {found}");
            return Err(violation(message));
        }
        if length > SASL_BYTES_MAX {
            return Err(violation("SASL response is too long"));
        }
        let consumed = HEADER_BYTES + length;
        let Some(body) = input.get(HEADER_BYTES..consumed) else {
            self.state = state;
            return Ok(Progress::NeedsMore);
        };
        match state {
            State::Initial(startup, mut exchange) => {
                self.state = match initial_data(body)? {
                    Some(data) => {
                        challenge(&mut exchange, data, &startup, out)?;
                        State::Last(startup, exchange)
                    }
                    None => {
                        backend::authentication(out, &Authentication::SASLContinue(Bytes::new()));
                        State::First(startup, exchange)
                    }
                };
            }
            State::First(startup, mut exchange) => {
                challenge(&mut exchange, body, &startup, out)?;
                self.state = State::Last(startup, exchange);
            }
            State::Last(startup, mut exchange) => {
                let answer = exchange.last(body).map_err(|error| scram_error(error, &startup.user))?;
                backend::authentication(out, &Authentication::SASLFinal(answer.into()));
                return self.admit(startup, consumed, out);
            }
            State::Packet | State::Ended => unreachable!("step calls this for the other states only"),
        }
        Ok(Progress::Consumed(consumed))
    }
}

/// The data that comes with the choice of the mechanism, if any.
fn initial_data(body: &[u8]) -> Result<Option<&[u8]>, SqlError> {
    let malformed = || violation("invalid SASL initial response");
    let end = memchr::memchr(0, body).ok_or_else(malformed)?;
    if &body[..end] != MECHANISM.as_bytes() {
        return Err(violation("client selected an invalid SASL authentication mechanism"));
    }
    let (length, data) = body[end + 1..].split_first_chunk::<4>().ok_or_else(malformed)?;
    match i32::from_be_bytes(*length) {
        -1 if data.is_empty() => Ok(None),
        length if usize::try_from(length) == Ok(data.len()) => Ok(Some(data)),
        _ => Err(malformed()),
    }
}

fn challenge(
    exchange: &mut Exchange,
    data: &[u8],
    startup: &Startup,
    out: &mut Vec<u8>,
) -> Result<(), SqlError> {
    let answer = exchange.first(data).map_err(|error| scram_error(error, &startup.user))?;
    backend::authentication(out, &Authentication::SASLContinue(answer.into()));
    Ok(())
}

fn scram_error(error: ScramError, user: &str) -> SqlError {
    match error {
        ScramError::WrongPassword => SqlError::new(
            SqlState::INVALID_PASSWORD,
            format!("password authentication failed for user \"{user}\""),
        ),
        ScramError::Malformed(detail) => violation("malformed SCRAM message").detail(detail),
        ScramError::Unsupported(message) => SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message),
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, Mac};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::pg::hba::Rules;

    const LOOPBACK: &str = "127.0.0.1";
    const ELSEWHERE: &str = "10.1.1.1";

    fn config() -> Arc<ServerConfig> {
        let mut config = ServerConfig::new([7; 32]);
        config.set_password("bob", "pencil");
        config.rules = Rules::parse(
            "host all eve all reject\nhost all all 127.0.0.0/8 trust\nhost all all 10.0.0.0/8 scram-sha-256",
        )
        .expect("valid");
        Arc::new(config)
    }

    fn handshake_of(config: &Arc<ServerConfig>, peer: &str) -> Handshake {
        Handshake::new(Arc::clone(config), peer.parse().expect("an address"), [1; NONCE_BYTES])
    }

    fn handshake(peer: &str) -> Handshake {
        handshake_of(&config(), peer)
    }

    fn startup(user: &str, database: &str) -> Vec<u8> {
        let body = format!("user\0{user}\0database\0{database}\0\0");
        let length = u32::try_from(8 + body.len()).expect("short");
        [&length.to_be_bytes(), &196_608_u32.to_be_bytes(), body.as_bytes()].concat()
    }

    fn password(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(4 + body.len()).expect("short");
        [b"p", &length.to_be_bytes()[..], body].concat()
    }

    fn initial(data: &str) -> Vec<u8> {
        let length = u32::try_from(data.len()).expect("short");
        password(&[b"SCRAM-SHA-256\0", &length.to_be_bytes()[..], data.as_bytes()].concat())
    }

    fn text(out: &[u8]) -> String {
        String::from_utf8_lossy(out).replace('\0', "|")
    }

    /// The client's last message for what the server sent.
    fn last(password: &str, server_first: &str) -> String {
        let hmac = |key: &[u8], data: &[u8]| -> [u8; 32] {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
            mac.update(data);
            mac.finalize().into_bytes().into()
        };
        let attribute =
            |name: &str| server_first.split(',').find_map(|a| a.strip_prefix(name)).expect("given");
        let base64 = base64::engine::general_purpose::STANDARD;
        let salt = base64.decode(attribute("s=")).expect("base64");
        let mut salted = [0; 32];
        pbkdf2::pbkdf2::<Hmac<Sha256>>(password.as_bytes(), &salt, 4_096, &mut salted).expect("any length");
        let key = hmac(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={}", attribute("r="));
        let transcript = format!("n=,r=abc,{server_first},{without_proof}");
        let signature = hmac(&Sha256::digest(key), transcript.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        format!("{without_proof},p={}", base64.encode(proof))
    }

    /// Sends a password by SCRAM; answers what came of it and what was written last.
    fn log_in(user: &str, given: &str) -> (Progress, String) {
        let mut handshake = handshake(ELSEWHERE);
        let mut out = Vec::new();
        let packet = startup(user, "omen");
        assert_eq!(handshake.step(&packet, &mut out), Progress::Consumed(packet.len()));
        assert_eq!(text(&out), "R|||\u{17}|||\nSCRAM-SHA-256||");
        out.clear();
        let first = initial("n,,n=,r=abc");
        assert_eq!(handshake.step(&first[..9], &mut out), Progress::NeedsMore);
        assert_eq!(handshake.step(&first, &mut out), Progress::Consumed(first.len()));
        let server_first = String::from_utf8(out.split_off(9)).expect("text");
        out.clear();
        let progress = handshake.step(&password(last(given, &server_first).as_bytes()), &mut out);
        (progress, text(&out))
    }

    #[test]
    fn passwords_are_checked() {
        let (progress, out) = log_in("bob", "pencil");
        assert!(matches!(progress, Progress::Admitted { .. }), "{progress:?} {out}");
        assert!(out.contains("v=") && out.ends_with("R|||\u{8}||||"), "{out}");
        for (user, given) in [("bob", "crayon"), ("omen", "pencil"), ("nobody", "pencil")] {
            let (progress, out) = log_in(user, given);
            assert_eq!(progress, Progress::Refused);
            let message = format!("SFATAL|VFATAL|C28P01|Mpassword authentication failed for user \"{user}\"");
            assert!(out.contains(&message), "{out}");
        }
    }

    #[test]
    fn rules_roles_and_databases_are_checked() {
        for (peer, user, database, answer) in [
            (LOOPBACK, "omen", "omen", "R|||\u{8}||||"),
            (LOOPBACK, "joe", "omen", "SFATAL|VFATAL|C28000|Mrole \"joe\" does not exist"),
            (LOOPBACK, "omen", "x", "SFATAL|VFATAL|C3D000|Mdatabase \"x\" does not exist"),
            (
                LOOPBACK,
                "eve",
                "d",
                "C28000|Mpg_hba.conf rejects connection for host \"127.0.0.1\", user \"eve\"",
            ),
            (
                "8.8.8.8",
                "joe",
                "d",
                "C28000|Mno pg_hba.conf entry for host \"8.8.8.8\", user \"joe\", \
              database \"d\", no encryption|",
            ),
        ] {
            let mut out = Vec::new();
            let packet = startup(user, database);
            let progress = handshake(peer).step(&packet, &mut out);
            assert!(text(&out).contains(answer), "{progress:?} {}", text(&out));
            assert_eq!(matches!(progress, Progress::Admitted { .. }), answer.starts_with('R'));
        }
    }

    #[test]
    fn encryption_is_declined_and_newer_protocols_are_negotiated() {
        let mut handshake = handshake(LOOPBACK);
        let mut out = Vec::new();
        let requests = [80_877_103_u32, 80_877_104];
        for request in requests {
            let packet = [8_u32.to_be_bytes(), request.to_be_bytes()].concat();
            assert_eq!(handshake.step(&packet, &mut out), Progress::Consumed(8));
        }
        assert_eq!(out, b"NN");
        out.clear();
        let mut packet = startup("omen", "omen");
        packet[7] = 2;
        assert!(matches!(handshake.step(&packet, &mut out), Progress::Admitted { .. }));
        assert_eq!(text(&out), "v|||\u{c}|\u{3}||||||R|||\u{8}||||");
    }

    #[test]
    fn whatever_comes_is_answered_or_refused() {
        let messages: Vec<Vec<u8>> = vec![
            startup("bob", "omen"),
            startup("omen", "x"),
            initial("n,,n=,r=abc"),
            initial("rubbish"),
            password(b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
            password(b"MD5\0\0\0\0\0"),
            password(b"rubbish"),
            password(&[b'x'; 2_000]),
            b"Q\0\0\0\x05\0".to_vec(),
            b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            vec![0xff; 16],
        ];
        let count = messages.len();
        let config = config();
        for order in 0..count * count * count {
            let mut handshake = handshake_of(&config, ELSEWHERE);
            let mut is_over = false;
            for index in [order % count, order / count % count, order / count / count] {
                let mut out = Vec::new();
                let progress = handshake.step(&messages[index], &mut out);
                if is_over {
                    assert_eq!(progress, Progress::Refused);
                }
                match progress {
                    Progress::Refused => is_over = true,
                    Progress::Consumed(consumed) => assert!(consumed <= messages[index].len()),
                    Progress::NeedsMore => assert!(out.is_empty()),
                    Progress::Cancel { .. } | Progress::Admitted { .. } => panic!("{progress:?} for {index}"),
                }
            }
        }
    }
}
