//! A list of changes that comes in several messages.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::convert::{self, Path};
use super::idempotency::update;
use super::status::{Failure, Reason};
use super::wire;
use crate::authz::change::{CHANGES_MAX, Change};

/// Of all messages of one list together.
const LIST_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// The changes of all messages so far. How they were cut into messages means nothing, so the
/// digest doesn't see it.
pub struct ChangeList {
    changes: Vec<Change>,
    digest: Sha256,
    bytes: usize,
}

impl ChangeList {
    /// `about`: what the list is about beside the changes.
    pub fn new<'a>(method: &str, about: impl IntoIterator<Item = &'a String>) -> Self {
        let mut digest = Sha256::new();
        update(&mut digest, method.as_bytes());
        for part in about {
            update(&mut digest, part.as_bytes());
        }
        Self {
            changes: Vec::new(),
            digest,
            bytes: 0,
        }
    }

    /// The changes of the next message.
    pub fn add(&mut self, changes: Vec<wire::Change>) -> Result<(), Failure> {
        if self.changes.len() + changes.len() > CHANGES_MAX {
            return Err(Failure::field(
                Reason::TooManyChanges,
                "changes",
                format_args!("a write has at most {CHANGES_MAX} changes: send several"),
            ));
        }
        for change in changes {
            let encoded = change.encode_to_vec();
            self.bytes += encoded.len();
            if self.bytes > LIST_BYTES_MAX {
                return Err(Failure::field(
                    Reason::TooManyChanges,
                    "changes",
                    format_args!("a write has at most {LIST_BYTES_MAX} bytes: send several"),
                ));
            }
            update(&mut self.digest, &encoded);
            let path = Path::root("changes").at(self.changes.len());
            self.changes.push(convert::change_from_wire(change, path)?);
        }
        Ok(())
    }

    /// All changes, and the digest of what they were sent with.
    pub fn finish(self) -> (Vec<Change>, Sha256) {
        (self.changes, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delete(id: &str) -> wire::Change {
        wire::Change {
            change: Some(wire::change::Change::DeleteTeam(id.to_owned())),
        }
    }

    fn empty() -> ChangeList {
        ChangeList::new("ApplyChanges", [])
    }

    #[test]
    fn the_digest_sees_the_changes_and_not_how_they_were_cut() {
        let digest = |messages: Vec<Vec<wire::Change>>| {
            let mut list = empty();
            for message in messages {
                list.add(message).unwrap();
            }
            list.finish().1.finalize()
        };
        let whole = digest(vec![vec![delete("a"), delete("b")]]);
        let cut = digest(vec![vec![delete("a")], vec![delete("b")]]);
        let other = digest(vec![vec![delete("b"), delete("a")]]);
        assert_eq!(whole, cut);
        assert_ne!(whole, other);
    }

    #[test]
    fn a_list_has_at_most_its_bytes() {
        let mut list = empty();
        list.bytes = LIST_BYTES_MAX - 3;
        list.add(vec![delete("a")]).unwrap();
        assert_eq!(list.bytes, LIST_BYTES_MAX);
        let failure = list.add(vec![delete("b")]).unwrap_err();
        assert_eq!(failure.reason, Reason::TooManyChanges);
        assert_eq!(failure.field.as_deref(), Some("changes"));
    }
}
