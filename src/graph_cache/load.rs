//! How an account comes into memory, and how it is kept at the store's head.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument as _;

use super::live::CatchUpTurn;
use super::{Causes, GraphCache, LiveAccount, ReadError, ReadGraph, off_worker};
use crate::authz::graph::GraphBuilder;
use crate::authz::model::Id;
use crate::store::{Changes, Chunk, Snapshot};

/// What a catch-up is to achieve; where it is so already, the store is not asked.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    /// A catch-up that began after this moment (monotonic nanoseconds) does.
    pub(super) fresher_than: u64,
    /// So does a snapshot at this revision.
    pub(super) announced: Option<u64>,
    /// The store is asked with one of these only.
    pub(super) permits: Option<&'a Semaphore>,
}

impl Wish<'_> {
    pub(super) fn fresher_than(moment: u64) -> Self {
        Self {
            fresher_than: moment,
            announced: None,
            permits: None,
        }
    }

    fn is_fulfilled(&self, live: &LiveAccount) -> bool {
        live.own_verified_at() > self.fresher_than
            || self
                .announced
                .is_some_and(|revision| live.head().revision >= revision)
    }
}

impl GraphCache {
    /// One load for all who ask, in a task of its own: a caller that goes away must not abort the
    /// load that others wait for.
    pub(super) async fn load_for_all(&self, account: &Id) -> Result<Arc<LiveAccount>, ReadError> {
        let cache = self.clone();
        let account = account.clone();
        let load = async move {
            let loaded = cache
                .inner
                .accounts
                .try_get_with_by_ref(&account, cache.load_within_timeout(&account))
                .await
                .map_err(|error| ReadError::clone(&error));
            // After the insertion, so that the feed finds it when it looks.
            cache.note_uncovered();
            loaded
        };
        // Traced as a part of the call that began it.
        let load = tokio::spawn(load.in_current_span());
        load.await.unwrap_or_else(|_panic| Err(ReadError::Internal))
    }

    async fn load_within_timeout(&self, account: &Id) -> Result<Arc<LiveAccount>, ReadError> {
        self.inner.loads_begun.fetch_add(1, Ordering::SeqCst);
        let begun_at = self.inner.clock.monotonic();
        let loaded = self.within_timeout(self.load(account)).await;
        if let Some(seconds) = self.inner.load_seconds.get() {
            let took = self.inner.clock.monotonic().saturating_sub(begun_at);
            match &loaded {
                Ok(_) => seconds.ok.record(took),
                // An account that does not exist is no failure to load.
                Err(ReadError::UnknownAccount(_)) => {}
                Err(_) => seconds.failed.record(took),
            }
        }
        match &loaded {
            Ok(live) => {
                let bytes = live.weigh();
                tracing::debug!(account = %account, revision = live.head().revision, bytes, "account loaded");
                if bytes > self.inner.limits.bytes_max {
                    tracing::warn!(
                        account = %account,
                        bytes,
                        cache_bytes_max = self.inner.limits.bytes_max,
                        "the account alone is larger than the cache: it is loaded for every read"
                    );
                }
            }
            Err(ReadError::UnknownAccount(_)) => {}
            Err(error) => tracing::warn!(
                account = %account,
                error = %error,
                cause = %Causes(error),
                "account could not be loaded"
            ),
        }
        loaded
    }

    #[tracing::instrument(name = "graph.load", level = "debug", skip_all)]
    async fn load(&self, account: &Id) -> Result<Arc<LiveAccount>, ReadError> {
        let permit = self.load_permit().await?;
        let era = self.era();
        let read = self.build(account).await?;
        drop(permit);
        let live = Arc::new(LiveAccount::new(account.clone(), era, read));
        // A large account takes longer to load than the staleness bound allows; what was committed
        // meanwhile is picked up here, and the picture is as old as this one query.
        self.catch_up_snapshot(&live, Wish::fresher_than(self.now_nanos()))
            .await?;
        Ok(live)
    }

    async fn load_permit(&self) -> Result<SemaphorePermit<'_>, ReadError> {
        let permit = self.inner.loads.acquire().await;
        permit.map_err(|_closed| ReadError::Internal)
    }

    /// Builds the graph from one transaction of the store, off the async workers.
    async fn build(&self, account: &Id) -> Result<ReadGraph, ReadError> {
        let snapshot = self.inner.store.snapshot(account, false).await?;
        let Some(Snapshot { head, mut chunks }) = snapshot else {
            return Err(ReadError::UnknownAccount(account.clone()));
        };
        let mut builder = GraphBuilder::default();
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            builder = off_worker(move || {
                match chunk {
                    Chunk::Entities(entities) => {
                        entities.into_iter().for_each(|entity| builder.push(entity));
                    }
                    Chunk::Resources(rows) => builder.push_rows(&rows),
                }
                builder
            })
            .await?;
        }
        let graph = off_worker(move || builder.finish()).await??;
        Ok(ReadGraph { graph, head })
    }

    /// The part of a catch-up that touches the account alone, so that a load can use it before
    /// the account is in the cache.
    pub(super) async fn catch_up_snapshot(
        &self,
        live: &Arc<LiveAccount>,
        wish: Wish<'_>,
    ) -> Result<(), ReadError> {
        let turn = live.catch_up_turn().await;
        if wish.is_fulfilled(live) {
            return Ok(());
        }
        let permit = match wish.permits {
            Some(permits) => Some(
                permits
                    .acquire()
                    .await
                    .map_err(|_closed| ReadError::Internal)?,
            ),
            None => None,
        };
        let begun_at = self.now_nanos();
        let read = live.snapshot();
        self.inner.catch_ups_begun.fetch_add(1, Ordering::SeqCst);
        let changes = self.inner.store.changes_since(live.id(), read.head).await?;
        // The small query alone: a reload must not keep other accounts from theirs.
        drop(permit);
        match changes {
            Changes::None => {}
            Changes::Delta {
                head,
                history,
                changes,
            } => {
                match off_worker(move || read.graph.apply(&changes)).await? {
                    Ok(graph) => {
                        live.publish(&turn, ReadGraph { graph, head }, &history);
                        self.note_advance();
                    }
                    // What can't be done in steps (a catalog that brings back a type of stored
                    // resources) may still load; if it doesn't, that error is the answer.
                    Err(error) => self.reload(live, &turn, &error).await?,
                }
            }
            Changes::Reload => {
                self.reload(live, &turn, &"its changes are not known in steps")
                    .await?;
            }
            Changes::Gone => return Err(ReadError::UnknownAccount(live.id().clone())),
        }
        live.set_own_verified_at(begun_at);
        Ok(())
    }

    async fn reload(
        &self,
        live: &LiveAccount,
        turn: &CatchUpTurn<'_>,
        reason: &(dyn Display + Sync),
    ) -> Result<(), ReadError> {
        self.inner.loads_begun.fetch_add(1, Ordering::SeqCst);
        self.inner.reloads_begun.fetch_add(1, Ordering::SeqCst);
        tracing::info!(account = %live.id(), reason = %reason, "account is loaded anew");
        let _permit = self.load_permit().await?;
        let read = self.build(live.id()).await?;
        live.publish_reloaded(turn, read);
        self.note_advance();
        Ok(())
    }
}
