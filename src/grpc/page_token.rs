//! Page tokens: where a list goes on, bound by a MAC to the request that it was given for.
//!
//! base64url without padding of: version 1 | tag 16 | revision u64 BE | nonce 8 | bytes of
//! what the page ended with. The tag is HMAC-SHA256, cut to 16 bytes, under the key that all replicas of one database share,
//! over everything else and the request: so any replica serves the next page, and a token that is
//! forged, cut off, of another account or of another request is refused as one thing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::status::{Failure, Reason};
use crate::authz::model::{ID_BYTES_MAX, Id};
use crate::store::Head;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;
const HEAD_BYTES: usize = 8 + 8;
const HEADER_BYTES: usize = 1 + TAG_BYTES + HEAD_BYTES;
/// An id, or a key of two and something short.
const AFTER_BYTES_MAX: usize = 2 * ID_BYTES_MAX + 64;
const TOKEN_BYTES_MAX: usize = HEADER_BYTES + AFTER_BYTES_MAX;
/// Of the text: four characters for three bytes.
const TEXT_BYTES_MAX: usize = TOKEN_BYTES_MAX.div_ceil(3) * 4;

/// A place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the page before ended with, which may be gone by now: an id, or a key as text.
    pub after: String,
    /// Where the account stood at the page before; the next one rests on that or a later head.
    pub head: Head,
}

impl Place {
    /// The id that the page before ended with.
    pub fn id(&self) -> Result<Id, Failure> {
        Id::parse(&self.after).map_err(|_genuine_tokens_have_one| invalid())
    }
}

/// What every page token that is none is answered with.
pub fn invalid() -> Failure {
    Failure::field(
        Reason::PageTokenInvalid,
        "page_token",
        "the page token is not one that was given for this request: use next_page_token unchanged, or begin anew without it",
    )
}

/// Makes and reads page tokens under the key of one database.
#[derive(Clone)]
pub struct PageTokens {
    key: [u8; 32],
}

impl std::fmt::Debug for PageTokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PageTokens").finish_non_exhaustive()
    }
}

/// What a token is bound to: the rpc and those fields of the request that say what is listed, in a
/// fixed order. A field is written with its length, so no two requests are written alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    written: Vec<u8>,
}

impl Binding {
    pub fn new(rpc: &str, fields: &[&str]) -> Self {
        let mut written = Vec::new();
        for field in std::iter::once(&rpc).chain(fields) {
            let bytes = u64::try_from(field.len()).unwrap_or(u64::MAX);
            written.extend_from_slice(&bytes.to_be_bytes());
            written.extend_from_slice(field.as_bytes());
        }
        Self { written }
    }
}

impl PageTokens {
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    pub fn encode(&self, binding: &Binding, after: &str, head: Head) -> String {
        let mut signed = Vec::with_capacity(HEAD_BYTES + after.len());
        signed.extend_from_slice(&head.revision.to_be_bytes());
        signed.extend_from_slice(&head.nonce);
        signed.extend_from_slice(after.as_bytes());
        let tag = self.mac(binding, &signed).finalize().into_bytes();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + after.len());
        bytes.push(VERSION);
        bytes.extend(tag.iter().take(TAG_BYTES));
        bytes.extend_from_slice(&signed);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` for the first page.
    pub fn decode(&self, binding: &Binding, text: &str) -> Result<Option<Place>, Failure> {
        if text.is_empty() {
            return Ok(None);
        }
        self.place(binding, text).map(Some).ok_or_else(invalid)
    }

    fn place(&self, binding: &Binding, text: &str) -> Option<Place> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (tag, signed) = rest.split_at_checked(TAG_BYTES)?;
        if *version != VERSION {
            return None;
        }
        // Compares in constant time.
        self.mac(binding, signed).verify_truncated_left(tag).ok()?;
        let (head, after) = signed.split_at_checked(HEAD_BYTES)?;
        let (revision, nonce) = head.split_at_checked(8)?;
        Some(Place {
            after: std::str::from_utf8(after).ok()?.to_owned(),
            head: Head {
                revision: u64::from_be_bytes(revision.try_into().ok()?),
                nonce: nonce.try_into().ok()?,
            },
        })
    }

    fn mac(&self, binding: &Binding, signed: &[u8]) -> Hmac<Sha256> {
        // HMAC fills a key up to its block of 64 bytes with zeros; done here, it can't fail.
        let mut block = [0_u8; 64];
        for (to, from) in block.iter_mut().zip(self.key) {
            *to = from;
        }
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into());
        mac.update(b"ambit page token 1\0");
        mac.update(&binding.written);
        mac.update(signed);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            after: "contact-17".to_owned(),
            head: Head {
                revision: 42,
                nonce: *b"nonce-xy",
            },
        }
    }

    fn binding() -> Binding {
        Binding::new("ListAccessible", &["acme", "de1", "view", "contact"])
    }

    fn reason(result: Result<Option<Place>, Failure>) -> Reason {
        result.unwrap_err().reason
    }

    #[test]
    fn a_token_comes_back_as_it_was_given() {
        let tokens = PageTokens::new([7; 32]);
        let text = tokens.encode(&binding(), "contact-17", place().head);
        assert_eq!(tokens.decode(&binding(), &text), Ok(Some(place())));
        assert_eq!(tokens.decode(&binding(), ""), Ok(None));
    }

    #[test]
    fn another_request_another_key_and_any_change_are_refused() {
        let tokens = PageTokens::new([7; 32]);
        let text = tokens.encode(&binding(), "contact-17", place().head);
        for other in [
            Binding::new("ListAccessible", &["acme", "de1", "view", "deal"]),
            Binding::new("ListAccessible", &["acme2", "de1", "view", "contact"]),
            Binding::new("ListResources", &["acme", "de1", "view", "contact"]),
            // The same bytes, cut into other fields.
            Binding::new("ListAccessible", &["acmed", "e1", "view", "contact"]),
        ] {
            assert_eq!(
                reason(tokens.decode(&other, &text)),
                Reason::PageTokenInvalid
            );
        }
        let others = PageTokens::new([8; 32]);
        assert_eq!(
            reason(others.decode(&binding(), &text)),
            Reason::PageTokenInvalid
        );
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).unwrap();
            assert_eq!(
                reason(tokens.decode(&binding(), &forged)),
                Reason::PageTokenInvalid,
                "byte {at}"
            );
            assert_eq!(
                reason(tokens.decode(&binding(), text.get(..at.max(1)).unwrap())),
                Reason::PageTokenInvalid,
                "cut at {at}"
            );
        }
        let huge = "A".repeat(1 << 20);
        assert_eq!(
            reason(tokens.decode(&binding(), &huge)),
            Reason::PageTokenInvalid
        );
    }
}
