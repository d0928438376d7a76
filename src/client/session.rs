//! What a client has seen, so that no later answer is older.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::revision::RevisionToken;

use super::error::ClientError;

/// Most accounts that one session remembers.
const ACCOUNTS_MAX: usize = 100_000;

/// The newest revision of each account that a user, a page or a piece of work has met. Cheap to
/// clone; clones share what they remember.
///
/// Its scope is the caller's choice: one for each end user makes that user read their own writes; one
/// for a whole service makes all its reads monotonic. To carry it to another process, send
/// [`revision`](Self::revision) along and hand it to [`saw`](Self::saw) there.
#[derive(Debug, Clone, Default)]
pub struct Session {
    seen: Arc<Mutex<HashMap<String, String>>>,
}

impl Session {
    /// A session that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest revision of an account that was met.
    pub fn revision(&self, account: &str) -> Option<String> {
        self.lock().get(account).cloned()
    }

    /// Takes note of a revision, such as one that another service or the user's browser sent along.
    /// An older one than is known already changes nothing.
    ///
    /// # Errors
    /// [`ClientError::Configuration`] at 100,000 accounts: a further one is not dropped in silence.
    pub fn saw(&self, account: &str, revision: &str) -> Result<(), ClientError> {
        if revision.is_empty() {
            return Ok(());
        }
        let mut seen = self.lock();
        let is_full = seen.len() >= ACCOUNTS_MAX;
        match seen.get_mut(account) {
            Some(known) => {
                if !is_older(revision, known) {
                    revision.clone_into(known);
                }
            }
            None if is_full => {
                return Err(ClientError::Configuration(format!(
                    "a session remembers at most {ACCOUNTS_MAX} accounts: use one for each user or piece of work"
                )));
            }
            None => {
                seen.insert(account.to_owned(), revision.to_owned());
            }
        }
        Ok(())
    }

    /// Forgets what is known of an account, unless it is another revision by now.
    pub(super) fn forget(&self, account: &str, revision: &str) {
        let mut seen = self.lock();
        if seen.get(account).is_some_and(|known| known == revision) {
            seen.remove(account);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        // Each entry is whole whatever happened to a thread that held the lock.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a revision is before another one of the same history. Where they can't be compared, the
/// one that came last counts: it is of the database that answers now.
fn is_older(revision: &str, than: &str) -> bool {
    match (RevisionToken::decode(revision), RevisionToken::decode(than)) {
        (Ok(revision), Ok(than)) => revision.is_before(&than),
        (Ok(_), Err(_)) | (Err(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::model::Id;
    use crate::store::Head;

    fn token(epoch: u8, revision: u64) -> String {
        let head = Head {
            revision,
            nonce: *b"nonce-xy",
        };
        RevisionToken::new([epoch; 8], &Id::parse("acme").unwrap(), head).encode()
    }

    #[test]
    fn a_session_keeps_the_newest_revision_whatever_the_order() {
        let session = Session::new();
        for revision in [3, 9, 4] {
            session.saw("acme", &token(1, revision)).unwrap();
        }
        session.saw("acme", "").unwrap();
        assert_eq!(session.revision("acme"), Some(token(1, 9)));
        assert_eq!(session.clone().revision("acme"), Some(token(1, 9)));
        assert_eq!(session.revision("lumen"), None);
    }

    #[test]
    fn another_history_takes_the_place_of_the_former_one() {
        let session = Session::new();
        session.saw("acme", &token(1, 9)).unwrap();
        session.saw("acme", &token(2, 1)).unwrap();
        assert_eq!(session.revision("acme"), Some(token(2, 1)));
    }

    #[test]
    fn what_is_forgotten_is_only_what_was_refused() {
        let session = Session::new();
        session.saw("acme", &token(1, 9)).unwrap();
        session.forget("acme", &token(1, 8));
        assert_eq!(session.revision("acme"), Some(token(1, 9)));
        session.forget("acme", &token(1, 9));
        assert_eq!(session.revision("acme"), None);
    }

    #[test]
    fn a_full_session_says_so() {
        let session = Session::new();
        for number in 0..ACCOUNTS_MAX {
            session.saw(&number.to_string(), &token(1, 1)).unwrap();
        }
        assert!(session.saw("one more", &token(1, 1)).is_err());
        session.saw("7", &token(1, 2)).unwrap();
    }
}
