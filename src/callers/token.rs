//! Bearer tokens: `ambit_`, an id that may be known, `_`, and a secret that may not.
//!
//! A token is looked up by its id and then compared as a whole, by its hash and in constant time: so
//! neither the look-up nor the comparison tells anything of the secret. The secret has 256 random
//! bits, so a plain SHA-256 is all the hardness that the hash needs.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::randomness::{Randomness, RandomnessError};

/// What scanners for leaked secrets can look for.
const PREFIX: &str = "ambit_";

/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 16;

/// Characters of a secret: 32 bytes in base64 without padding.
const SECRET_CHARACTERS: usize = 43;

/// The part of a token that names it and opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(Arc<str>);

impl TokenId {
    /// `None` for what is not 16 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == ID_DIGITS && text.bytes().all(is_digit)).then(|| Self(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TokenId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// SHA-256 of a whole token: what is kept of it.
#[derive(Clone, Copy, Debug)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Self(bytes))
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// In a time that does not depend on what differs.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// A token itself, which shows itself nowhere but through [`BearerToken::reveal`].
#[derive(Clone)]
pub struct BearerToken(String);

impl BearerToken {
    /// A new one.
    pub fn make(randomness: &dyn Randomness) -> Result<Self, RandomnessError> {
        let id: String = randomness
            .bytes()?
            .iter()
            .take(ID_DIGITS / 2)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let secret = [randomness.bytes()?, randomness.bytes()?].concat();
        let secret = URL_SAFE_NO_PAD.encode(secret);
        Ok(Self(format!("{PREFIX}{id}_{secret}")))
    }

    /// `None` for a text that cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_whole = secret.len() == SECRET_CHARACTERS && secret.bytes().all(is_plain);
        (TokenId::parse(id).is_some() && is_whole).then(|| Self(text.to_owned()))
    }

    /// Whether a credential is meant to be one of these, right or wrong.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The token itself, for whoever is to have it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn id(&self) -> Option<TokenId> {
        let (id, _secret) = self.0.strip_prefix(PREFIX)?.split_once('_')?;
        TokenId::parse(id)
    }

    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BearerToken(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::SeededRandomness;

    #[test]
    fn a_token_is_recognised_by_its_form_and_matches_by_its_whole_hash() {
        let randomness = SeededRandomness::new(1);
        let token = BearerToken::make(&randomness).unwrap();
        let other = BearerToken::make(&randomness).unwrap();
        assert_ne!(token.id(), other.id());
        let parsed = BearerToken::parse(token.reveal()).unwrap();
        assert_eq!(parsed.id(), token.id());
        assert!(parsed.hash().matches(&token.hash()));
        assert!(!other.hash().matches(&token.hash()));
        let written = token.hash().to_string();
        assert!(SecretHash::parse(&written).unwrap().matches(&parsed.hash()));
        // Another id before the same secret is another token.
        let forged = token
            .reveal()
            .replace(token.id().unwrap().as_str(), "0123456789abcdef");
        assert!(
            !BearerToken::parse(&forged)
                .unwrap()
                .hash()
                .matches(&token.hash())
        );
        assert!(!format!("{token:?}").contains(token.reveal()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let token = BearerToken::make(&SeededRandomness::new(2)).unwrap();
        let text = token.reveal();
        let mut shorter = text.to_owned();
        shorter.pop();
        for wrong in [
            String::new(),
            "ambit_".to_owned(),
            format!("{text}x"),
            format!(" {text}"),
            shorter,
            text.to_uppercase(),
            text.replace("ambit_", "other_"),
            text.replacen('_', "__", 1),
        ] {
            assert!(BearerToken::parse(&wrong).is_none(), "{wrong}");
        }
        for wrong in ["", "zz", &"0".repeat(63), &"+0".repeat(32)] {
            assert!(SecretHash::parse(wrong).is_none(), "{wrong}");
        }
    }
}
