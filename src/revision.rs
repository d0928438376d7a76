//! The revision token: what an answer says it was computed at, and what a caller hands back to be
//! answered at least as freshly.
//!
//! Opaque to callers. It is 32 bytes in base64url without padding:
//!
//! | bytes | what | tells apart |
//! |---|---|---|
//! | 0..8 | epoch of the database | another or a restored database |
//! | 8..16 | first bytes of SHA-256 of the account id | another account |
//! | 16..24 | revision, big-endian | how far |
//! | 24..32 | nonce of that revision | a forked history with the same numbers |
//!
//! It carries no secret and is not signed: a forged one can only ask for a state that the store
//! then says it doesn't have, or for one that the caller may see anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::authz::model::Id;
use crate::store::Head;

const TOKEN_BYTES: usize = 32;

/// Why a token can't be answered at. Each is an error of its own, never a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    #[error("the revision token is malformed: use one that this server answered, unchanged")]
    Malformed,
    #[error("the revision token belongs to another account")]
    OtherAccount,
    #[error(
        "the revision token is of another history of the database, e.g. from before a restore: ask without it"
    )]
    OtherHistory,
    #[error(
        "the revision token names a revision that the account has not reached: it is of another history, or forged"
    )]
    BeyondHead,
}

/// A head of one account of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevisionToken {
    epoch: [u8; 8],
    account: [u8; 8],
    head: Head,
}

impl RevisionToken {
    pub fn new(epoch: [u8; 8], account: &Id, head: Head) -> Self {
        Self {
            epoch,
            account: account_tag(account),
            head,
        }
    }

    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.extend_from_slice(&self.epoch);
        bytes.extend_from_slice(&self.account);
        bytes.extend_from_slice(&self.head.revision.to_be_bytes());
        bytes.extend_from_slice(&self.head.nonce);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the form alone; whose it is says [`RevisionToken::head_of`].
    pub fn decode(text: &str) -> Result<Self, RevisionError> {
        let mut bytes = [0_u8; TOKEN_BYTES];
        // A slice of the exact size refuses a longer text before anything is allocated for it.
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(TOKEN_BYTES) => {}
            Ok(_) | Err(_) => return Err(RevisionError::Malformed),
        }
        let word = |at: usize| {
            bytes
                .get(at..at + 8)
                .and_then(|word| <[u8; 8]>::try_from(word).ok())
                .ok_or(RevisionError::Malformed)
        };
        let head = Head {
            revision: u64::from_be_bytes(word(16)?),
            nonce: word(24)?,
        };
        // Accounts begin at 1. What no log can speak against must not pass for old.
        if head.revision == 0 {
            return Err(RevisionError::Malformed);
        }
        Ok(Self {
            epoch: word(0)?,
            account: word(8)?,
            head,
        })
    }

    /// The head that the token names, if it is one of this account in this database. Whether the
    /// account ever stood there is for the graph cache and the store to say.
    pub fn head_of(&self, epoch: [u8; 8], account: &Id) -> Result<Head, RevisionError> {
        if self.account != account_tag(account) {
            return Err(RevisionError::OtherAccount);
        }
        if self.epoch != epoch {
            return Err(RevisionError::OtherHistory);
        }
        Ok(self.head)
    }

    /// Whether it is of an earlier revision of the same account in the same database; false where
    /// the two can't be compared.
    pub fn is_before(&self, other: &Self) -> bool {
        self.epoch == other.epoch
            && self.account == other.account
            && self.head.revision < other.head.revision
    }
}

fn account_tag(account: &Id) -> [u8; 8] {
    let digest = Sha256::digest(account.as_str().as_bytes());
    let mut tag = [0_u8; 8];
    for (to, from) in tag.iter_mut().zip(digest) {
        *to = from;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: [u8; 8] = *b"epoch-01";

    fn head(revision: u64) -> Head {
        Head {
            revision,
            nonce: *b"nonce-xy",
        }
    }

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    #[test]
    fn a_token_comes_back_as_it_was() {
        for revision in [1, 255, 256, u64::MAX] {
            let token = RevisionToken::new(EPOCH, &id("acme"), head(revision));
            let text = token.encode();
            assert_eq!(text.len(), 43);
            let decoded = RevisionToken::decode(&text).unwrap();
            assert_eq!(decoded, token);
            assert_eq!(decoded.head_of(EPOCH, &id("acme")), Ok(head(revision)));
        }
    }

    #[test]
    fn the_wire_form_is_fixed() {
        // A token outlives the process that made it, so its bytes are a contract.
        let text = RevisionToken::new([1; 8], &id("acme"), head(7)).encode();
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        assert_eq!(&bytes[0..8], &[1; 8]);
        assert_eq!(&bytes[8..16], &Sha256::digest(b"acme")[..8]);
        assert_eq!(&bytes[16..24], &[0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(&bytes[24..32], b"nonce-xy");
    }

    #[test]
    fn another_account_and_another_database_are_told_apart() {
        let token = RevisionToken::new(EPOCH, &id("acme"), head(7));
        assert_eq!(
            token.head_of(EPOCH, &id("Acme")),
            Err(RevisionError::OtherAccount)
        );
        assert_eq!(
            token.head_of(*b"epoch-02", &id("acme")),
            Err(RevisionError::OtherHistory)
        );
    }

    #[test]
    fn anything_else_is_malformed() {
        let good = RevisionToken::new(EPOCH, &id("acme"), head(7)).encode();
        let longer = format!("{good}A");
        let padded = format!("{good}=");
        let cut = good.chars().take(42).collect::<String>();
        // The last of 43 characters carries two spare bits, which must be zero: one text a token.
        let mut spare = good.clone();
        let last = spare.pop().unwrap();
        spare.push(if last == 'B' { 'C' } else { 'B' });
        let huge = "A".repeat(1 << 20);
        let before_the_first = RevisionToken::new(EPOCH, &id("acme"), head(0)).encode();
        for text in [
            "",
            " ",
            "garbage",
            "ÄÖÜ",
            "\0",
            &longer,
            &padded,
            &cut,
            &spare,
            &huge,
            &before_the_first,
        ] {
            assert_eq!(
                RevisionToken::decode(text),
                Err(RevisionError::Malformed),
                "{text:.60}"
            );
        }
    }
}
