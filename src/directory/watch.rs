//! The changes of one account, followed without a gap.

use std::sync::Arc;
use std::time::Duration;

use super::DirectoryError;
use crate::authz::model::{EntityChange, Id};
use crate::graph_cache::{GraphCache, ReadError};
use crate::store::{Changes, Head, Store};

/// How often a quiet watch looks whether its account is still the cached one: an account that was
/// evicted is no longer followed by the feed, and its watch must move to the one loaded anew.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent {
    /// Everything that changed after `from` up to `to`, each entity once, as it is at `to`.
    Changes {
        from: Head,
        to: Head,
        changes: Vec<EntityChange>,
    },
    /// Not known in steps: whoever keeps a copy reads the account anew, then goes on from `to`.
    Reload { to: Head },
    /// Nothing changed; the watch is alive.
    Heartbeat { at: Head },
}

/// Pulled by its reader, so a slow reader costs nothing: what it missed comes as one event.
pub struct ChangeWatch {
    store: Arc<dyn Store>,
    graphs: GraphCache,
    account: Id,
    at: Head,
    heartbeat: Duration,
}

impl ChangeWatch {
    pub(super) fn new(
        store: Arc<dyn Store>,
        graphs: GraphCache,
        account: Id,
        from: Head,
        heartbeat: Duration,
    ) -> Self {
        Self {
            store,
            graphs,
            account,
            at: from,
            heartbeat,
        }
    }

    /// Where the watch has come to: what it continues from.
    pub fn head(&self) -> Head {
        self.at
    }

    /// The next event. After an error the watch is at an end: [`ReadError::UnknownAccount`] where
    /// the account was deleted. Dropped before it is done, nothing is lost.
    pub async fn next(&mut self) -> Result<WatchEvent, DirectoryError> {
        let heartbeat = tokio::time::sleep(self.heartbeat);
        tokio::pin!(heartbeat);
        loop {
            let live = self.graphs.live(&self.account).await?;
            let mut heads = live.subscribe();
            if *heads.borrow_and_update() != self.at
                && let Some(event) = self.step().await?
            {
                return Ok(event);
            }
            tokio::select! {
                // An error would mean that the account left the cache; the next round finds it.
                _ = heads.changed() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = &mut heartbeat => return Ok(WatchEvent::Heartbeat { at: self.at }),
            }
        }
    }

    /// What the store has after the watch's head; `None`: nothing, since the cache is behind.
    async fn step(&mut self) -> Result<Option<WatchEvent>, DirectoryError> {
        match self.store.changes_since(&self.account, self.at).await? {
            Changes::None => Ok(None),
            Changes::Delta { head, changes, .. } => {
                let from = std::mem::replace(&mut self.at, head);
                Ok(Some(WatchEvent::Changes {
                    from,
                    to: head,
                    changes,
                }))
            }
            Changes::Reload => {
                let to = self.store.head(&self.account).await?;
                let to = to.ok_or_else(|| ReadError::UnknownAccount(self.account.clone()))?;
                self.at = to;
                Ok(Some(WatchEvent::Reload { to }))
            }
            Changes::Gone => Err(ReadError::UnknownAccount(self.account.clone()).into()),
        }
    }
}
