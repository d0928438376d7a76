//! Which database the graphs are of: an era ends when the store says that it has become another.

use std::sync::atomic::Ordering;

use super::{GraphCache, LiveAccount, ReadError, within};
use crate::store::{Store, StoreError};

/// Who the database was when it was last asked.
pub(super) struct KnownIdentity {
    epoch: [u8; 8],
    /// Monotonic nanoseconds at which the last successful question began.
    asked_at: u64,
}

impl KnownIdentity {
    pub(super) fn of(store: &dyn Store) -> Self {
        Self {
            epoch: store.identity().epoch,
            asked_at: 0,
        }
    }
}

impl GraphCache {
    /// Asks the database who it is. Where it was restored, promoted or replaced, every graph is
    /// dropped, and none that is being loaded from the old one will be answered; true then.
    pub(crate) async fn verify_identity(&self) -> Result<bool, StoreError> {
        let mut known = self.inner.identity.lock().await;
        self.ask_identity(&mut known).await
    }

    /// The same for a read that met a token of another epoch: it may come from a replica that has
    /// noticed earlier than this one. All who ask at once share one question, and none of them
    /// may keep the feed from its own for longer than the staleness bound.
    pub(super) async fn verify_identity_after(&self, asked_at: u64) -> Result<(), ReadError> {
        let asked = async {
            let mut known = self.inner.identity.lock().await;
            if known.asked_at <= asked_at {
                self.ask_identity(&mut known).await?;
            }
            Ok(())
        };
        let limits = self.inner.limits;
        within(limits.staleness_bound.min(limits.load_timeout), asked).await
    }

    async fn ask_identity(&self, known: &mut KnownIdentity) -> Result<bool, StoreError> {
        let asked_at = self.now_nanos();
        let identity = self.inner.store.refresh_identity().await?;
        // From here on without a point at which this could be cancelled: the store answers the new
        // identity from now on, so the graphs must go now.
        let is_another = identity.epoch != known.epoch;
        if is_another {
            self.inner.era.fetch_add(1, Ordering::SeqCst);
            self.inner.accounts.invalidate_all();
            tracing::warn!(
                accounts = self.inner.accounts.entry_count(),
                "the database was restored, promoted or replaced: all graphs are dropped, and tokens of its past are refused"
            );
        }
        *known = KnownIdentity {
            epoch: identity.epoch,
            asked_at,
        };
        Ok(is_another)
    }

    pub(super) fn era(&self) -> u64 {
        self.inner.era.load(Ordering::SeqCst)
    }

    pub(super) fn is_of_this_era(&self, live: &LiveAccount) -> bool {
        live.era() == self.era()
    }
}
