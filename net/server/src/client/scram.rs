//! The client's side of SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677; PG 15, chapter 55.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Most rounds of hashing that a server may ask for; PostgreSQL asks for 4,096.
const ITERATIONS_MAX: u32 = 1_000_000;

/// A log-in under way.
pub struct Exchange {
    password: String,
    nonce: String,
    server_signature: Option<[u8; 32]>,
}

impl Exchange {
    /// Begins; answers the first message to send.
    pub fn begin(password: &str) -> (Exchange, String) {
        let mut bytes = [0; 18];
        getrandom::fill(&mut bytes).expect("the kernel has a random source");
        Exchange::with_nonce(password, BASE64.encode(bytes))
    }

    fn with_nonce(password: &str, nonce: String) -> (Exchange, String) {
        let first = format!("n,,n=,r={nonce}");
        (Exchange { password: password.to_owned(), nonce, server_signature: None }, first)
    }

    /// The message that answers the server's first one.
    pub fn answer(&mut self, server_first: &str) -> Result<String, String> {
        let bad = || format!("SCRAM message {server_first:?}");
        let part =
            |key: &str| server_first.split(',').find_map(|part| part.strip_prefix(key)).ok_or_else(bad);
        let (nonce, salt, rounds) = (part("r=")?, part("s=")?, part("i=")?);
        let salt = BASE64.decode(salt).map_err(|_| bad())?;
        let rounds =
            rounds.parse().ok().filter(|rounds| (1..=ITERATIONS_MAX).contains(rounds)).ok_or_else(bad)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the server's nonce does not extend ours".to_owned());
        }
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(self.password.as_bytes(), &salt, rounds, &mut salted);
        let client_key = hmac(&salted, b"Client Key");
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        let unsigned = format!("c=biws,r={nonce}");
        let auth = format!("n=,r={},{server_first},{unsigned}", self.nonce);
        let signature = hmac(&stored_key, auth.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        self.server_signature = Some(hmac(&hmac(&salted, b"Server Key"), auth.as_bytes()));
        Ok(format!("{unsigned},p={}", BASE64.encode(proof)))
    }

    /// Checks that the server knows the password too.
    pub fn verify(&self, server_final: &str) -> Result<(), String> {
        let signature = server_final.strip_prefix("v=").and_then(|text| BASE64.decode(text).ok());
        match (signature, self.server_signature) {
            (Some(theirs), Some(ours)) if bool::from(theirs.as_slice().ct_eq(&ours)) => Ok(()),
            _ => Err("the server does not know the password".to_owned()),
        }
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of PostgreSQL's own exchange differ from RFC 7677's example in the empty user name only, which
    /// enters the signatures; so the expected values were computed with Python's hashlib for that input.
    #[test]
    fn proves_and_checks_as_hashlib_does() {
        let (mut exchange, first) = Exchange::with_nonce("pencil", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(first, "n,,n=,r=rOprNGfwEbeRWgbNEkqO");
        let server_first =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = exchange.answer(server_first).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=qvT2SWdEH5Q06albL+hjSYuUhCG7VndFyzIb7CK4n9k="
        );
        exchange.verify("v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg=").unwrap();
        assert!(exchange.verify("v=AAAA").is_err());
        assert!(exchange.verify("e=other-error").is_err());
    }

    #[test]
    fn strange_servers_are_refused() {
        for bad in ["", "r=x,s=AAAA,i=1", "r=abc,s=AAAA,i=1", "r=abcd,s=!,i=1", "r=abcd,s=AAAA,i=999999999"] {
            let (mut exchange, _) = Exchange::with_nonce("secret", "abc".to_owned());
            assert!(exchange.answer(bad).is_err(), "{bad}");
            assert!(exchange.verify("v=AAAA").is_err());
        }
    }
}
