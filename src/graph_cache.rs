//! The accounts in memory: from an account's id to its live graph, at the freshness asked for.
//!
//! A read never waits for another account, never holds a lock while it decides, and is never
//! answered from a picture that is older than the staleness bound. What can go wrong has a
//! declared outcome:
//!
//! - **Not cached**: one load for all who ask (moka merges them). A load that fails, or takes
//!   longer than the load timeout, fails those who wait for it and is forgotten: the next reader
//!   begins anew. A reader that goes away does not stop the load of the others.
//! - **The store is gone**: reads go on until the staleness bound, then [`ReadError::Stale`]. A
//!   fully consistent read, or one with a token that is ahead of the cache, is an error at once.
//! - **Memory**: moka bounds all accounts together by bytes and evicts whole accounts.
//!
//! INVARIANT (snapshot only advances): [`LiveAccount`] publishes under its catch-up lock, each
//! snapshot computed from the one before it or from a load that began after it. So whoever saw a
//! revision never sees an earlier one, but for a history that forked.
//!
//! INVARIANT (coverage): the feed vouches for an account from the moment at which it saw the
//! account's head equal in cache and store, after its probe was armed. Until then, and from the
//! moment at which it sees a difference, only what was vouched for before and the account's own
//! catch-ups count. So an account that joins in the middle of a feed pass can't be called fresh by
//! a pass that never looked at it.
//!
//! INVARIANT (era): an era lasts for as long as the database is the same one. Every graph belongs
//! to the era in which its load began, and is answered in that era alone: whoever reads compares
//! the eras last, after the graph is chosen. So no graph of a database's past is answered once its
//! replacement was noticed, whatever loads and catch-ups were under way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moka::future::Cache;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use tokio::sync::Semaphore;

use crate::authz::graph::{AccountGraph, GraphError};
use crate::authz::model::Id;
use crate::clock::Clock;
use crate::revision::{RevisionError, RevisionToken};
use crate::store::{Head, Store, StoreError};

mod computing;
mod identity;
mod live;
mod load;
mod tokens;

pub use computing::{Computing, Pace, Turn};
use identity::KnownIdentity;
pub use live::LiveAccount;
use load::Wish;

/// How fresh an answer must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Consistency {
    /// The cached graph, at most the staleness bound behind.
    #[default]
    MinimizeLatency,
    /// At the token's revision or later.
    AtLeastAsFresh(RevisionToken),
    /// At the head of the store when the question is asked, or later.
    FullyConsistent,
}

/// One account at one revision: what a question is decided on.
#[derive(Debug)]
pub struct ReadGraph {
    pub graph: AccountGraph,
    pub head: Head,
}

/// Why there is nothing to decide on. Never a decision.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("there is no account `{0}`")]
    UnknownAccount(Id),
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// The text is safe to show; the source is for the log.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// What is stored can't be decided on, e.g. after a plain SQL write: mend it, then it loads.
    #[error("the account can't be loaded: {0}")]
    Graph(#[from] GraphError),
    #[error("reading the account took longer than {timeout_ms} ms")]
    Timeout { timeout_ms: u64 },
    #[error(
        "the cached state was last known to be current {age_ms} ms ago, and the staleness bound is {bound_ms} ms: the database can't be followed"
    )]
    Stale { age_ms: u64, bound_ms: u64 },
    /// A defect of this program; the log has the panic.
    #[error("the account could not be read because of an internal error")]
    Internal,
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Of all cached graphs together.
    pub bytes_max: u64,
    /// How old a picture may be that a read is still answered from.
    pub staleness_bound: Duration,
    /// Of one load, and of one catch-up.
    pub load_timeout: Duration,
}

/// What is told how long loads take.
#[derive(Clone)]
pub struct LoadSeconds {
    pub ok: metrics::Histogram,
    pub failed: metrics::Histogram,
}

/// Loads at a time; each keeps a core busy, and the store's readers too.
const LOADS_AT_ONCE: usize = 4;

/// How often a read begins anew because the database became another one under it.
const ERAS_TRIED: usize = 3;

/// moka weighs in `u32`; in units of a KiB an account may have 4 TiB.
const WEIGHT_UNIT_BYTES: u64 = 1_024;

/// Cheap to clone; all clones are the same cache.
#[derive(Clone)]
pub struct GraphCache {
    inner: Arc<Inner>,
    computing: Computing,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    limits: CacheLimits,
    accounts: Cache<Id, Arc<LiveAccount>>,
    loads: Semaphore,
    loads_begun: AtomicU64,
    reloads_begun: AtomicU64,
    catch_ups_begun: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: Arc<AtomicU64>,
    load_seconds: OnceLock<LoadSeconds>,
    /// Monotonic nanoseconds at which an account last took on a new revision.
    advanced_at: AtomicU64,
    /// See INVARIANT (era).
    era: AtomicU64,
    identity: tokio::sync::Mutex<KnownIdentity>,
    /// Monotonic nanoseconds at which the feed last knew all covered accounts to be current.
    verified_at: AtomicU64,
    /// Whether an account may be cached that the feed does not cover.
    has_uncovered: AtomicBool,
}

impl GraphCache {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, limits: CacheLimits) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let evicted = Arc::clone(&evictions);
        let accounts = Cache::builder()
            .max_capacity(limits.bytes_max / WEIGHT_UNIT_BYTES)
            .weigher(|_account: &Id, live: &Arc<LiveAccount>| {
                u32::try_from(live.weigh().div_ceil(WEIGHT_UNIT_BYTES)).unwrap_or(u32::MAX)
            })
            .eviction_listener(move |_account, live: Arc<LiveAccount>, cause| {
                if cause == RemovalCause::Size {
                    evicted.fetch_add(1, Ordering::Relaxed);
                }
                // Re-weighing replaces an account by itself.
                if cause != RemovalCause::Replaced {
                    live.set_covered(false);
                }
            })
            .build();
        let identity = tokio::sync::Mutex::new(KnownIdentity::of(store.as_ref()));
        Self {
            inner: Arc::new(Inner {
                store,
                clock,
                limits,
                accounts,
                loads: Semaphore::new(LOADS_AT_ONCE),
                loads_begun: AtomicU64::new(0),
                reloads_begun: AtomicU64::new(0),
                catch_ups_begun: AtomicU64::new(0),
                hits: AtomicU64::new(0),
                misses: AtomicU64::new(0),
                evictions,
                load_seconds: OnceLock::new(),
                advanced_at: AtomicU64::new(0),
                era: AtomicU64::new(0),
                identity,
                verified_at: AtomicU64::new(0),
                has_uncovered: AtomicBool::new(false),
            }),
            computing: Computing::default(),
        }
    }

    /// The same accounts, with other bounds of long computations.
    pub fn computing(self, computing: Computing) -> Self {
        Self { computing, ..self }
    }

    /// Runs work on a whole graph where it holds up no other request, when it is its account's turn.
    ///
    /// # Errors
    /// [`ReadError::Internal`] where it panics.
    pub async fn compute<T: Send + 'static>(
        &self,
        account: &Id,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        self.computing.run(account, work).await
    }

    /// The same for work of many seconds, which pauses. It ends early where nobody waits for it.
    ///
    /// # Errors
    /// [`ReadError::Internal`] where it panics.
    pub async fn compute_paced<T: Send + 'static>(
        &self,
        account: &Id,
        work: impl FnOnce(&mut Pace) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        self.computing.run_paced(account, work).await
    }

    /// Waits for an account's turn to compute a part of what is longer, on the worker that asks.
    pub async fn turn(&self, account: &Id) -> Turn {
        self.computing.turn(account).await
    }

    /// The account's graph at the freshness asked for.
    ///
    /// Bounded: at most the load timeout for an account that is not cached, and once more for each
    /// question that the store must be asked.
    pub async fn read(
        &self,
        account: &Id,
        consistency: &Consistency,
    ) -> Result<Arc<ReadGraph>, ReadError> {
        for _ in 0..ERAS_TRIED {
            let asked_at = self.now_nanos();
            let (live, read) = match consistency {
                Consistency::MinimizeLatency => {
                    let live = self.live(account).await?;
                    let read = self.within_bound(&live)?;
                    (live, read)
                }
                Consistency::AtLeastAsFresh(token) => {
                    self.at_least(account, token, asked_at).await?
                }
                Consistency::FullyConsistent => {
                    let live = self.live(account).await?;
                    self.catch_up(&live, asked_at).await?;
                    let read = live.snapshot();
                    (live, read)
                }
            };
            if self.is_of_this_era(&live) {
                return Ok(read);
            }
        }
        Err(unsettled())
    }

    /// The token of a head of an account, to be handed to callers.
    pub fn token(&self, account: &Id, head: Head) -> RevisionToken {
        RevisionToken::new(self.epoch(), account, head)
    }

    /// The account's live side, loaded if it isn't cached. How fresh it is, is not looked at.
    pub async fn live(&self, account: &Id) -> Result<Arc<LiveAccount>, ReadError> {
        for _ in 0..ERAS_TRIED {
            let live = match self.inner.accounts.get(account).await {
                Some(live) => {
                    tracing::Span::current().record("ambit.cache", "hit");
                    self.inner.hits.fetch_add(1, Ordering::Relaxed);
                    live
                }
                None => {
                    tracing::Span::current().record("ambit.cache", "load");
                    self.inner.misses.fetch_add(1, Ordering::Relaxed);
                    self.load_for_all(account).await?
                }
            };
            if self.is_of_this_era(&live) {
                return Ok(live);
            }
            self.remove(&live).await;
        }
        Err(unsettled())
    }

    /// Brings a live account to the store's present head. Done by another caller after
    /// `asked_at` (monotonic nanoseconds), it isn't done again.
    async fn catch_up(&self, live: &Arc<LiveAccount>, asked_at: u64) -> Result<(), ReadError> {
        self.fulfil(live, Wish::fresher_than(asked_at)).await
    }

    async fn fulfil(&self, live: &Arc<LiveAccount>, wish: Wish<'_>) -> Result<(), ReadError> {
        let caught_up = self
            .within_timeout(self.catch_up_snapshot(live, wish))
            .await;
        match caught_up {
            Ok(()) => {
                self.weigh_again(live).await;
                Ok(())
            }
            Err(error) => {
                if matches!(error, ReadError::UnknownAccount(_)) {
                    self.remove(live).await;
                }
                Err(error)
            }
        }
    }

    /// Brings an account to the store's present head if it is cached.
    ///
    /// A write calls it so that its effect is in memory when it is acknowledged.
    pub async fn catch_up_cached(&self, account: &Id) -> Result<(), ReadError> {
        let asked_at = self.now_nanos();
        match self.inner.accounts.get(account).await {
            Some(live) => self.catch_up(&live, asked_at).await,
            None => Ok(()),
        }
    }

    /// The same for the feed, which follows many accounts: it asks the store only while it has one
    /// of its permits, and not at all where the account already stands at an announced revision.
    pub(crate) async fn catch_up_followed(
        &self,
        live: &Arc<LiveAccount>,
        announced: Option<u64>,
        permits: &Semaphore,
    ) -> Result<(), ReadError> {
        let wish = Wish {
            fresher_than: self.now_nanos(),
            announced,
            permits: Some(permits),
        };
        self.fulfil(live, wish).await
    }

    /// An account if it is cached.
    pub(crate) async fn cached_account(&self, account: &Id) -> Option<Arc<LiveAccount>> {
        let live = self.inner.accounts.get(account).await?;
        self.is_of_this_era(&live).then_some(live)
    }

    /// Whether an account is cached; asking makes it no likelier to stay.
    pub(crate) fn is_cached(&self, account: &Id) -> bool {
        self.inner.accounts.contains_key(account)
    }

    /// Drops an account that is gone from the store.
    pub async fn forget(&self, account: &Id) {
        if let Some(live) = self.inner.accounts.remove(account).await {
            live.set_covered(false);
        }
    }

    /// How long ago the feed last knew all covered accounts to be current; `None` before the
    /// first time.
    pub fn staleness(&self) -> Option<Duration> {
        match self.inner.verified_at.load(Ordering::SeqCst) {
            0 => None,
            at => Some(Duration::from_nanos(self.now_nanos().saturating_sub(at))),
        }
    }

    /// Whether the feed keeps within the staleness bound: what readiness means.
    pub fn is_fresh(&self) -> bool {
        self.staleness()
            .is_some_and(|age| age <= self.inner.limits.staleness_bound)
    }

    pub fn limits(&self) -> CacheLimits {
        self.inner.limits
    }

    /// Bytes of all cached graphs together, as they were last weighed.
    pub async fn bytes(&self) -> u64 {
        self.inner.accounts.run_pending_tasks().await;
        self.inner
            .accounts
            .weighted_size()
            .saturating_mul(WEIGHT_UNIT_BYTES)
    }

    /// Accounts in memory, as they were last counted.
    pub fn accounts(&self) -> u64 {
        self.inner.accounts.entry_count()
    }

    /// Loads from the store since the start, failed ones and reloads included.
    pub fn loads_begun(&self) -> u64 {
        self.inner.loads_begun.load(Ordering::SeqCst)
    }

    /// Loads of accounts that were cached, but could not be brought to the head in steps.
    pub fn reloads_begun(&self) -> u64 {
        self.inner.reloads_begun.load(Ordering::SeqCst)
    }

    /// Questions to the store what changed in a cached account.
    pub fn catch_ups_begun(&self) -> u64 {
        self.inner.catch_ups_begun.load(Ordering::SeqCst)
    }

    /// Reads whose account was cached.
    pub fn hits(&self) -> u64 {
        self.inner.hits.load(Ordering::Relaxed)
    }

    /// Reads that waited for a load.
    pub fn misses(&self) -> u64 {
        self.inner.misses.load(Ordering::Relaxed)
    }

    /// Accounts that were dropped for want of room.
    pub fn evictions(&self) -> u64 {
        self.inner.evictions.load(Ordering::Relaxed)
    }

    /// Time since a cached account last took on a new revision; `None` before the first time.
    pub fn revision_age(&self) -> Option<Duration> {
        match self.inner.advanced_at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Duration::from_nanos(self.now_nanos().saturating_sub(at))),
        }
    }

    /// Has the time of loads told from here on; the first one to ask is told.
    pub fn tell_load_seconds(&self, seconds: LoadSeconds) {
        // A cache belongs to one server, so there is no second one to ask.
        let _first = self.inner.load_seconds.set(seconds);
    }

    fn note_advance(&self) {
        self.inner
            .advanced_at
            .store(self.now_nanos(), Ordering::Relaxed);
    }

    /// Cached accounts with the heads that they stand at, in no order.
    pub fn cached(&self) -> Vec<Arc<LiveAccount>> {
        self.inner
            .accounts
            .iter()
            .map(|(_account, live)| live)
            .filter(|live| self.is_of_this_era(live))
            .collect()
    }

    /// Whether the feed must compare heads even where its probe says nothing; asking resets it.
    pub(crate) fn take_uncovered(&self) -> bool {
        self.inner.has_uncovered.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn note_uncovered(&self) {
        self.inner.has_uncovered.store(true, Ordering::SeqCst);
    }

    /// The feed vouches for all covered accounts as they were at that moment.
    pub(crate) fn set_verified_at(&self, at: Duration) {
        self.inner.verified_at.store(nanos(at), Ordering::SeqCst);
    }

    /// The feed no longer vouches for an account; what it vouched for before remains true.
    pub(crate) fn uncover(&self, live: &LiveAccount) {
        live.uncover(self.inner.verified_at.load(Ordering::SeqCst));
        self.note_uncovered();
    }

    fn epoch(&self) -> [u8; 8] {
        self.inner.store.identity().epoch
    }

    fn now_nanos(&self) -> u64 {
        nanos(self.inner.clock.monotonic())
    }

    fn within_bound(&self, live: &Arc<LiveAccount>) -> Result<Arc<ReadGraph>, ReadError> {
        // The order matters: the snapshot read last is at least as new as what was vouched for.
        let fed_at = self.inner.verified_at.load(Ordering::SeqCst);
        let verified_at = live.verified_at(fed_at);
        let age = Duration::from_nanos(self.now_nanos().saturating_sub(verified_at));
        if age > self.inner.limits.staleness_bound {
            return Err(ReadError::Stale {
                age_ms: millis(age),
                bound_ms: millis(self.inner.limits.staleness_bound),
            });
        }
        Ok(live.snapshot())
    }

    async fn within_timeout<T>(
        &self,
        work: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        within(self.inner.limits.load_timeout, work).await
    }

    /// Tells moka that a graph has grown; an account that left the cache stays out.
    async fn weigh_again(&self, live: &Arc<LiveAccount>) {
        if !live.has_outgrown_its_weight() {
            return;
        }
        let entry = self.inner.accounts.entry_by_ref(live.id());
        entry
            .and_compute_with(async |present| match present {
                Some(present) if Arc::ptr_eq(present.value(), live) => Op::Put(Arc::clone(live)),
                Some(_) | None => Op::Nop,
            })
            .await;
    }

    /// Takes this very account out, and not one that was loaded in its place.
    async fn remove(&self, live: &Arc<LiveAccount>) {
        live.set_covered(false);
        let entry = self.inner.accounts.entry_by_ref(live.id());
        entry
            .and_compute_with(async |present| match present {
                Some(present) if Arc::ptr_eq(present.value(), live) => Op::Remove,
                Some(_) | None => Op::Nop,
            })
            .await;
    }
}

async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, ReadError>>,
) -> Result<T, ReadError> {
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or_else(|_elapsed| {
            Err(ReadError::Timeout {
                timeout_ms: millis(timeout),
            })
        })
}

/// Runs work on a whole graph where it holds up no other request.
pub(crate) async fn off_worker<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_panic_or_shutdown| ReadError::Internal)
}

/// The chain of sources of an error, for the log alone.
struct Causes<'a>(&'a ReadError);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ReadError::Store(error) = self.0 else {
            return formatter.write_str("none");
        };
        let mut source = std::error::Error::source(error.as_ref());
        while let Some(cause) = source {
            write!(formatter, "{cause}; ")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// A database that becomes another one again and again, faster than an account can be read.
fn unsettled() -> ReadError {
    StoreError::Unavailable("the database was replaced while it was read".into()).into()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
