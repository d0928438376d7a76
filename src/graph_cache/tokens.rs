//! Reads with a revision token: at the token's revision or later, in the token's history.

use std::sync::Arc;
use std::time::Duration;

use super::live::Memory;
use super::{GraphCache, LiveAccount, ReadError, ReadGraph, unsettled};
use crate::authz::model::Id;
use crate::revision::{RevisionError, RevisionToken};
use crate::store::Head;

/// How long a token may be ahead of the database before it is refused: one that a writer got inside
/// its own transaction may arrive here before that transaction is committed.
const AHEAD_WAIT: Duration = Duration::from_millis(250);

/// A token that is further ahead than this is not waited for.
const AHEAD_MAX: u64 = 1_000;

/// Looks at an account's past before it is given up: each further one means that its history was
/// replaced between two of them.
const LOOKS_MAX: usize = 4;

impl GraphCache {
    pub(super) async fn at_least(
        &self,
        account: &Id,
        token: &RevisionToken,
        asked_at: u64,
    ) -> Result<(Arc<LiveAccount>, Arc<ReadGraph>), ReadError> {
        let wanted = match token.head_of(self.epoch(), account) {
            Err(RevisionError::OtherHistory) => {
                self.verify_identity_after(asked_at).await?;
                token.head_of(self.epoch(), account)?
            }
            known => known?,
        };
        let live = self.live(account).await?;
        // A token says how old the picture may not be, not that it may be any older than the
        // bound: past the bound the store is asked as well.
        let suffices = self
            .within_bound(&live)
            .is_ok_and(|read| read.head.revision >= wanted.revision);
        if !suffices {
            self.catch_up(&live, asked_at).await?;
            self.wait_until_at(&live, wanted).await?;
        }
        let read = self.in_history_of(&live, wanted).await?;
        Ok((live, read))
    }

    /// Waits a moment for a revision that the database does not have yet.
    async fn wait_until_at(&self, live: &Arc<LiveAccount>, wanted: Head) -> Result<(), ReadError> {
        let ahead = wanted.revision.saturating_sub(live.head().revision);
        if ahead == 0 || ahead > AHEAD_MAX {
            return Ok(());
        }
        let mut heads = live.subscribe();
        let reached = heads.wait_for(|head| head.revision >= wanted.revision);
        if tokio::time::timeout(AHEAD_WAIT, reached).await.is_err() {
            self.catch_up(live, self.now_nanos()).await?;
        }
        Ok(())
    }

    /// The present snapshot, if the head that a token names is in its past, or is its own. True of
    /// a head that is older than the log too: the epoch alone tells histories apart by then.
    async fn in_history_of(
        &self,
        live: &Arc<LiveAccount>,
        wanted: Head,
    ) -> Result<Arc<ReadGraph>, ReadError> {
        let mut has_caught_up = false;
        for _ in 0..LOOKS_MAX {
            let read = live.snapshot();
            let memory = if read.head.revision < wanted.revision {
                None
            } else {
                Some(live.memory_of(&read, wanted.revision))
            };
            match memory {
                Some(Memory::Nonce(nonce)) if nonce.is_none_or(|nonce| nonce == wanted.nonce) => {
                    return Ok(read);
                }
                // The cached history may be the wrong one, of a database that was put back under
                // a running server: once it is compared with the store's, the answer counts.
                None | Some(Memory::Nonce(_)) if !has_caught_up => {
                    self.catch_up(live, self.now_nanos()).await?;
                    has_caught_up = true;
                }
                None => return Err(RevisionError::BeyondHead.into()),
                Some(Memory::Nonce(_)) => return Err(RevisionError::OtherHistory.into()),
                Some(Memory::Superseded) => {}
                Some(Memory::Unknown(history)) => {
                    let nonce = self
                        .within_timeout(async {
                            let store = &self.inner.store;
                            Ok(store.nonce_at(live.id(), wanted.revision).await?)
                        })
                        .await?;
                    // What the store answered is of the cached history only if that still is the
                    // store's afterwards; if not, this reloads, and the answer is not kept.
                    self.catch_up(live, self.now_nanos()).await?;
                    has_caught_up = true;
                    live.remember_nonce(history, wanted.revision, nonce);
                }
            }
        }
        Err(unsettled())
    }
}
