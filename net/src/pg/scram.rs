//! SCRAM-SHA-256 as a server speaks it (RFC 5802, RFC 7677), without channel binding.
//!
//! Passwords are normalised by SASLprep only as far as ASCII goes, where it changes nothing; others are taken byte for
//! byte, as PostgreSQL takes those that SASLprep refuses.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Iterations for passwords given in plain text (PG 15's default).
pub const ITERATIONS_DEFAULT: u32 = 4_096;

/// Bytes of the salt made for passwords given in plain text.
pub const SALT_BYTES: usize = 16;

/// Bytes of the server's part of the nonce.
pub const NONCE_BYTES: usize = 18;

/// The name of the mechanism.
pub const MECHANISM: &str = "SCRAM-SHA-256";

type Hash = [u8; 32];

/// What the server keeps instead of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Hash,
    server_key: Hash,
}

/// Without its keys, so that they reach no log.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Verifier {
    /// The verifier of a password in plain text.
    pub fn from_password(password: &str, salt: &[u8; SALT_BYTES], iterations: u32) -> Verifier {
        let mut salted = Hash::default();
        pbkdf2::pbkdf2::<Hmac<Sha256>>(password.as_bytes(), salt, iterations, &mut salted)
            .expect("HMAC takes keys of any length");
        Verifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(hmac(&salted, b"Client Key")).into(),
            server_key: hmac(&salted, b"Server Key"),
        }
    }

    /// Reads `SCRAM-SHA-256$iterations:salt$stored:server` as PostgreSQL stores it; `None` if the text is not that.
    pub fn parse(text: &str) -> Option<Verifier> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|n| *n > 0)?;
        let hash = |text: &str| BASE64.decode(text).ok()?.try_into().ok();
        Some(Verifier {
            iterations,
            salt: BASE64.decode(salt).ok()?,
            stored_key: hash(stored_key)?,
            server_key: hash(server_key)?,
        })
    }

    /// The text that [`Verifier::parse`] reads.
    pub fn to_text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        format!("SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }

    /// A verifier that no password fits, which looks the same every time it is asked for: so that nobody can tell
    /// which roles exist.
    pub fn mock(secret: &[u8], user: &str) -> Verifier {
        let salt = hmac(secret, user.as_bytes());
        Verifier {
            iterations: ITERATIONS_DEFAULT,
            salt: salt[..SALT_BYTES].to_vec(),
            stored_key: Hash::default(),
            server_key: Hash::default(),
        }
    }
}

fn hmac(key: &[u8], message: &[u8]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Keyed pseudo-random bytes: secrets of sessions and nonces come from here.
pub fn derive(secret: &[u8; 32], parts: [u64; 2]) -> [u8; 32] {
    hmac(secret, &[parts[0].to_be_bytes(), parts[1].to_be_bytes()].concat())
}

/// Why an exchange ends without success.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScramError {
    /// The proof is wrong, or the role has no password.
    WrongPassword,
    /// The client breaks the protocol: message and detail.
    Malformed(&'static str),
    /// The client asks for something that is not supported.
    Unsupported(&'static str),
}

/// One exchange: `first`, then `last`.
#[derive(Debug)]
pub struct Exchange {
    verifier: Verifier,
    is_mock: bool,
    nonce: String,
    /// `client-first-message-bare , server-first-message`
    transcript: String,
    /// What the client must repeat as channel binding.
    header: String,
}

impl Exchange {
    /// An exchange for a role's verifier, or with a mock for a role without one. `nonce` is printable and has no comma.
    pub fn new(verifier: Verifier, is_mock: bool, nonce: String) -> Exchange {
        Exchange { verifier, is_mock, nonce, transcript: String::new(), header: String::new() }
    }

    /// Takes the client's first message, answers the server's.
    ///
    /// # Errors
    /// If the message is malformed or asks for what is not supported.
    pub fn first(&mut self, message: &[u8]) -> Result<String, ScramError> {
        let message =
            std::str::from_utf8(message).map_err(|_| ScramError::Malformed("Text is not UTF-8."))?;
        let (flag, rest) = message
            .split_once(',')
            .ok_or(ScramError::Malformed("The message has no channel-binding flag."))?;
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => {
                return Err(ScramError::Unsupported("channel binding is not supported without TLS"));
            }
            _ => return Err(ScramError::Malformed("Unexpected channel-binding flag.")),
        }
        let (identity, bare) = rest
            .split_once(',')
            .ok_or(ScramError::Malformed("The message has no authorization identity."))?;
        if !identity.is_empty() {
            return Err(ScramError::Unsupported(
                "client uses authorization identity, but it is not supported",
            ));
        }
        let mut attributes = bare.split(',');
        let user = attributes.next().unwrap_or_default();
        if user.starts_with("m=") {
            return Err(ScramError::Unsupported("client requires an unsupported SCRAM extension"));
        }
        if !user.starts_with("n=") {
            return Err(ScramError::Malformed("Expected attribute \"n\"."));
        }
        let client_nonce = attributes
            .next()
            .and_then(|attribute| attribute.strip_prefix("r="))
            .filter(|nonce| !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or(ScramError::Malformed("Expected attribute \"r\" with a printable nonce."))?;
        self.nonce.insert_str(0, client_nonce);
        let answer = format!(
            "r={},s={},i={}",
            self.nonce,
            BASE64.encode(&self.verifier.salt),
            self.verifier.iterations
        );
        self.header = format!("{flag},,");
        write!(self.transcript, "{bare},{answer}").expect("strings take everything");
        Ok(answer)
    }

    /// Takes the client's last message, answers the server's, which proves the server in turn.
    ///
    /// # Errors
    /// If the proof is wrong or the message is malformed.
    pub fn last(&mut self, message: &[u8]) -> Result<String, ScramError> {
        let message =
            std::str::from_utf8(message).map_err(|_| ScramError::Malformed("Text is not UTF-8."))?;
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or(ScramError::Malformed("Expected attribute \"p\"."))?;
        let mut attributes = without_proof.split(',');
        let binding = attributes
            .next()
            .and_then(|attribute| attribute.strip_prefix("c="))
            .ok_or(ScramError::Malformed("Expected attribute \"c\"."))?;
        if BASE64.decode(binding).ok().as_deref() != Some(self.header.as_bytes()) {
            return Err(ScramError::Malformed("The channel binding is not that of the first message."));
        }
        let nonce = attributes.next().and_then(|attribute| attribute.strip_prefix("r="));
        if nonce != Some(self.nonce.as_str()) {
            return Err(ScramError::Malformed("Nonce does not match."));
        }
        let proof: Hash = BASE64
            .decode(proof)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(ScramError::Malformed("The proof is not 32 bytes in base64."))?;
        let transcript = format!("{},{without_proof}", self.transcript);
        let signature = hmac(&self.verifier.stored_key, transcript.as_bytes());
        let client_key: Hash = std::array::from_fn(|i| proof[i] ^ signature[i]);
        let is_right: bool = Sha256::digest(client_key).ct_eq(&self.verifier.stored_key).into();
        if !is_right || self.is_mock {
            return Err(ScramError::WrongPassword);
        }
        Ok(format!("v={}", BASE64.encode(hmac(&self.verifier.server_key, transcript.as_bytes()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, chapter 3: user "user", password "pencil".
    const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CLIENT_LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                               p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn verifier() -> Verifier {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64").try_into().expect("16 bytes");
        Verifier::from_password("pencil", &salt, ITERATIONS_DEFAULT)
    }

    fn after_first(verifier: Verifier, is_mock: bool) -> Exchange {
        let mut exchange = Exchange::new(verifier, is_mock, SERVER_NONCE.to_owned());
        let answer = exchange.first(CLIENT_FIRST).expect("valid");
        assert!(answer.starts_with("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s="), "{answer}");
        exchange
    }

    #[test]
    fn example_of_rfc_7677() {
        let mut exchange = Exchange::new(verifier(), false, SERVER_NONCE.to_owned());
        assert_eq!(
            exchange.first(CLIENT_FIRST).as_deref(),
            Ok("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
        );
        assert_eq!(
            exchange.last(CLIENT_LAST.as_bytes()).as_deref(),
            Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
    }

    #[test]
    fn verifiers_are_stored_as_postgres_stores_them() {
        let text = verifier().to_text();
        assert_eq!(
            text,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert_eq!(Verifier::parse(&text), Some(verifier()));
        for wrong in ["", "pencil", "SCRAM-SHA-256$0:AA==$AA==:AA==", "SCRAM-SHA-256$1:AA==$AA==", &text[1..]]
        {
            assert_eq!(Verifier::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn wrong_proofs_and_mocks_fail() {
        let wrong = CLIENT_LAST.replace("p=dH", "p=dI");
        assert_eq!(after_first(verifier(), false).last(wrong.as_bytes()), Err(ScramError::WrongPassword));
        assert_eq!(
            after_first(verifier(), true).last(CLIENT_LAST.as_bytes()),
            Err(ScramError::WrongPassword),
            "a mock refuses even the right proof"
        );
        let mock = Verifier::mock(b"secret", "eve");
        assert_eq!(mock, Verifier::mock(b"secret", "eve"));
        assert_ne!(mock.salt, Verifier::mock(b"secret", "bob").salt);
        assert_eq!(after_first(mock, true).last(CLIENT_LAST.as_bytes()), Err(ScramError::WrongPassword));
    }

    #[test]
    fn malformed_messages_are_errors() {
        for first in [
            "",
            "n",
            "n,,",
            "n,,n=u",
            "n,,r=abc",
            "n,,n=u,r=",
            "n,a=x,n=u,r=a",
            "p=tls-unique,,n=u,r=a",
            "n,,m=1,n=u,r=a",
        ] {
            let mut exchange = Exchange::new(verifier(), false, "n".to_owned());
            assert!(exchange.first(first.as_bytes()).is_err(), "{first}");
        }
        let last = |text: &str| after_first(verifier(), false).last(text.as_bytes());
        for wrong in [
            "",
            "c=biws",
            &CLIENT_LAST.replace("biws", "eSws"),
            &CLIENT_LAST.replace("r=rOpr", "r=xOpr"),
            &CLIENT_LAST.replace("ndVQ=", "nd"),
            &CLIENT_LAST.replace("c=biws,", ""),
        ] {
            assert!(matches!(last(wrong), Err(ScramError::Malformed(_))), "{wrong}");
        }
    }
}
