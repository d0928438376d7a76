//! The text of a personal access link: which agency and which link it is, and the secret that makes it
//! good. It is shown once, when it is made; the store keeps its hash.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::PartnerError;
use crate::authz::model::Id;
use crate::callers::SecretHash;
use crate::randomness::Randomness;

/// What scanners for leaked secrets can look for; no bearer token begins so.
const PREFIX: &str = "ambitlink";

/// Characters of a link's id: 16 bytes in hexadecimal.
const ID_DIGITS: usize = 32;

/// Characters of a secret: 32 bytes in base64 without padding.
const SECRET_CHARACTERS: usize = 43;

/// `ambitlink.AGENCY.LINK.SECRET`, which shows itself nowhere but through [`LinkText::reveal`].
#[derive(Clone)]
pub struct LinkText {
    agency: Id,
    link: Id,
    text: String,
}

impl LinkText {
    /// A new one.
    pub fn make(agency: &Id, randomness: &dyn Randomness) -> Result<Self, PartnerError> {
        let id: String = randomness
            .bytes()?
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let secret = URL_SAFE_NO_PAD.encode([randomness.bytes()?, randomness.bytes()?].concat());
        let encoded = URL_SAFE_NO_PAD.encode(agency.as_str());
        Ok(Self {
            agency: agency.clone(),
            link: Id::parse(&id)?,
            text: format!("{PREFIX}.{encoded}.{id}.{secret}"),
        })
    }

    /// `None` for a text that cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (prefix, agency) = (parts.next()?, parts.next()?);
        let (id, secret) = (parts.next()?, parts.next()?);
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_whole = prefix == PREFIX
            && parts.next().is_none()
            && id.len() == ID_DIGITS
            && id.bytes().all(is_digit)
            && secret.len() == SECRET_CHARACTERS
            && secret.bytes().all(is_plain);
        if !is_whole {
            return None;
        }
        let agency = String::from_utf8(URL_SAFE_NO_PAD.decode(agency).ok()?).ok()?;
        Some(Self {
            agency: Id::parse(&agency).ok()?,
            link: Id::parse(id).ok()?,
            text: text.to_owned(),
        })
    }

    /// The agency's account.
    pub fn agency(&self) -> &Id {
        &self.agency
    }

    pub fn link(&self) -> &Id {
        &self.link
    }

    /// The text itself, for whoever is to have it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    pub fn hash(&self) -> SecretHash {
        SecretHash::new(Sha256::digest(self.text.as_bytes()).into())
    }
}

impl fmt::Debug for LinkText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LinkText(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::SeededRandomness;

    #[test]
    fn a_link_says_whose_it_is_and_matches_by_its_whole_hash() {
        let randomness = SeededRandomness::new(1);
        for name in ["kite", "a.b/c:d", "Agentur Süd"] {
            let agency = Id::parse(name).unwrap();
            let link = LinkText::make(&agency, &randomness).unwrap();
            let parsed = LinkText::parse(link.reveal()).unwrap();
            assert_eq!(parsed.agency(), &agency);
            assert_eq!(parsed.link(), link.link());
            assert!(parsed.hash().matches(&link.hash()));
            let other = LinkText::make(&agency, &randomness).unwrap();
            assert!(!other.hash().matches(&link.hash()));
            assert!(!format!("{link:?}").contains(link.reveal()));
        }
    }

    #[test]
    fn what_is_no_link_is_refused() {
        let agency = Id::parse("kite").unwrap();
        let link = LinkText::make(&agency, &SeededRandomness::new(2)).unwrap();
        let text = link.reveal().to_owned();
        for wrong in [
            String::new(),
            "ambitlink...".to_owned(),
            format!("{text}x"),
            format!("{text}.x"),
            format!(" {text}"),
            text.to_uppercase(),
            text.replace("ambitlink", "ambit"),
            text.replacen('.', "._", 1),
        ] {
            assert!(LinkText::parse(&wrong).is_none(), "{wrong}");
        }
    }
}
