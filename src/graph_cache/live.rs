//! One cached account: its present snapshot, and what is known of how it got there.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::ReadGraph;
use crate::authz::model::Id;
use crate::store::{Head, Nonce};

/// Heads that are remembered, so that a token of the recent past costs no query.
const RECENT_HEADS_MAX: usize = 1_024;

/// What an account costs beside its graph: itself, its entry in the cache, its recent heads.
const OVERHEAD_BYTES: u64 = 1_024;

/// Growth since the last weighing that moka is told about: an eighth, and at least this much.
const GROWTH_BYTES_MIN: u64 = 64 * 1_024;

/// An account whose snapshot is swapped as it changes. Readers take the snapshot and go on with
/// it; nothing waits for them.
#[derive(Debug)]
pub struct LiveAccount {
    id: Id,
    /// See INVARIANT (era) in the parent module.
    era: u64,
    snapshot: ArcSwap<ReadGraph>,
    head: watch::Sender<Head>,
    known_heads: Mutex<KnownHeads>,
    catching_up: tokio::sync::Mutex<()>,
    writing: tokio::sync::Mutex<()>,
    /// Monotonic nanoseconds at which the last successful catch-up began, or for which the feed
    /// last vouched before it saw a difference.
    own_verified_at: AtomicU64,
    /// See INVARIANT (coverage) in the parent module.
    covered: AtomicBool,
    weighed_bytes: AtomicU64,
}

/// The right to publish: held by the one catch-up that runs.
pub(super) struct CatchUpTurn<'a>(#[expect(dead_code, reason = "held")] CatchUpGuard<'a>);

type CatchUpGuard<'a> = tokio::sync::MutexGuard<'a, ()>;

/// What is remembered of a revision in the past of a snapshot.
pub(super) enum Memory {
    /// `None`: the store no longer knows, for it is older than the log.
    Nonce(Option<Nonce>),
    /// The store must be asked; the answer belongs to this history.
    Unknown(History),
    /// The snapshot is not of the history that is remembered by now.
    Superseded,
}

/// Counts how often the remembered past was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct History(u64);

#[derive(Debug, Default)]
struct KnownHeads {
    history: History,
    /// Heads that this process saw go by; oldest first, without a gap.
    recent: VecDeque<Head>,
    /// What the store said of older ones; `None`: it no longer knows.
    asked: HashMap<u64, Option<Nonce>>,
}

impl LiveAccount {
    pub(super) fn new(id: Id, era: u64, read: ReadGraph) -> Self {
        let head = read.head;
        Self {
            id,
            era,
            snapshot: ArcSwap::from_pointee(read),
            head: watch::Sender::new(head),
            known_heads: Mutex::new(KnownHeads {
                history: History::default(),
                recent: VecDeque::from([head]),
                asked: HashMap::new(),
            }),
            catching_up: tokio::sync::Mutex::new(()),
            writing: tokio::sync::Mutex::new(()),
            own_verified_at: AtomicU64::new(0),
            covered: AtomicBool::new(false),
            weighed_bytes: AtomicU64::new(0),
        }
    }

    pub fn id(&self) -> &Id {
        &self.id
    }

    pub(super) fn era(&self) -> u64 {
        self.era
    }

    /// The present snapshot, however old it is.
    pub fn snapshot(&self) -> Arc<ReadGraph> {
        self.snapshot.load_full()
    }

    pub fn head(&self) -> Head {
        self.snapshot.load().head
    }

    /// Wakes on every new head.
    pub fn subscribe(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// A place in the queue of this process's writers to the account: they would only make each
    /// other plan again. Correctness rests on the store's expected head, not on this.
    pub async fn write_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writing.lock().await
    }

    pub(super) async fn catch_up_turn(&self) -> CatchUpTurn<'_> {
        CatchUpTurn(self.catching_up.lock().await)
    }

    /// Publishes the next snapshot; `history` leads to it from the present one without a gap.
    pub(super) fn publish(&self, _turn: &CatchUpTurn<'_>, read: ReadGraph, history: &[Head]) {
        let head = read.head;
        self.lock_known_heads().follow(history, head);
        self.snapshot.store(Arc::new(read));
        self.head.send_replace(head);
    }

    /// Publishes a snapshot whose way from the present one is not known.
    pub(super) fn publish_reloaded(&self, _turn: &CatchUpTurn<'_>, read: ReadGraph) {
        let head = read.head;
        self.lock_known_heads().begin_anew(head);
        self.snapshot.store(Arc::new(read));
        self.head.send_replace(head);
    }

    /// What is known of a revision in the past of a snapshot that was taken before.
    pub(super) fn memory_of(&self, read: &ReadGraph, revision: u64) -> Memory {
        self.lock_known_heads().memory_of(read.head, revision)
    }

    /// Keeps what the store said of a revision, unless the history has been replaced since it was
    /// asked: then it may have spoken of the other one.
    pub(super) fn remember_nonce(&self, history: History, revision: u64, nonce: Option<Nonce>) {
        self.lock_known_heads().remember(history, revision, nonce);
    }

    /// When the snapshot was last known to be current, given when the feed last vouched.
    pub(super) fn verified_at(&self, fed_at: u64) -> u64 {
        let own = self.own_verified_at();
        if self.is_covered() {
            own.max(fed_at)
        } else {
            own
        }
    }

    pub(super) fn own_verified_at(&self) -> u64 {
        self.own_verified_at.load(Ordering::SeqCst)
    }

    pub(super) fn set_own_verified_at(&self, at: u64) {
        self.own_verified_at.fetch_max(at, Ordering::SeqCst);
    }

    /// No longer covered from here on; what the feed has vouched for until now is kept.
    pub(super) fn uncover(&self, fed_at: u64) {
        if self.is_covered() {
            self.set_own_verified_at(fed_at);
            self.set_covered(false);
        }
    }

    pub(crate) fn is_covered(&self) -> bool {
        self.covered.load(Ordering::SeqCst)
    }

    pub(crate) fn set_covered(&self, covered: bool) {
        self.covered.store(covered, Ordering::SeqCst);
    }

    /// Bytes now, remembered as what the cache was told.
    pub(super) fn weigh(&self) -> u64 {
        let bytes = self.bytes();
        self.weighed_bytes.store(bytes, Ordering::SeqCst);
        bytes
    }

    pub(super) fn has_outgrown_its_weight(&self) -> bool {
        let weighed = self.weighed_bytes.load(Ordering::SeqCst);
        let growth = (weighed / 8).max(GROWTH_BYTES_MIN);
        self.bytes() > weighed.saturating_add(growth)
    }

    fn bytes(&self) -> u64 {
        u64::try_from(self.snapshot.load().graph.bytes())
            .unwrap_or(u64::MAX)
            .saturating_add(OVERHEAD_BYTES)
    }

    fn lock_known_heads(&self) -> MutexGuard<'_, KnownHeads> {
        // Each change to it is one step; a panic elsewhere can't leave it half made.
        self.known_heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownHeads {
    fn follow(&mut self, history: &[Head], head: Head) {
        self.recent.extend(history.iter().copied());
        if self.recent.back() != Some(&head) {
            // A history with a gap can't be looked up by position.
            self.begin_anew(head);
        }
        while self.recent.len() > RECENT_HEADS_MAX {
            self.recent.pop_front();
        }
    }

    fn begin_anew(&mut self, head: Head) {
        *self = Self {
            history: History(self.history.0.wrapping_add(1)),
            recent: VecDeque::from([head]),
            asked: HashMap::new(),
        };
    }

    fn memory_of(&self, present: Head, revision: u64) -> Memory {
        if self.nonce_at(present.revision) != Some(Some(present.nonce)) {
            return Memory::Superseded;
        }
        match self.nonce_at(revision) {
            Some(nonce) => Memory::Nonce(nonce),
            None => Memory::Unknown(self.history),
        }
    }

    fn remember(&mut self, history: History, revision: u64, nonce: Option<Nonce>) {
        if history != self.history {
            return;
        }
        if self.asked.len() >= RECENT_HEADS_MAX {
            self.asked.clear();
        }
        self.asked.insert(revision, nonce);
    }

    /// `None` if the store must be asked, `Some(None)` if it was and no longer knows.
    fn nonce_at(&self, revision: u64) -> Option<Option<Nonce>> {
        let in_recent = self.recent.front().and_then(|oldest| {
            let at = usize::try_from(revision.checked_sub(oldest.revision)?).ok()?;
            self.recent.get(at).filter(|head| head.revision == revision)
        });
        match in_recent {
            Some(head) => Some(Some(head.nonce)),
            None => self.asked.get(&revision).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(revision: u64) -> Head {
        Head {
            revision,
            nonce: revision.to_le_bytes(),
        }
    }

    fn known(first: u64) -> KnownHeads {
        KnownHeads {
            recent: VecDeque::from([head(first)]),
            ..KnownHeads::default()
        }
    }

    #[test]
    fn heads_that_went_by_are_known_up_to_the_limit() {
        let mut heads = known(1);
        for revision in 2..=3_000 {
            heads.follow(&[head(revision)], head(revision));
        }
        assert_eq!(heads.recent.len(), RECENT_HEADS_MAX);
        assert_eq!(heads.nonce_at(3_000), Some(Some(head(3_000).nonce)));
        let oldest = 3_001 - u64::try_from(RECENT_HEADS_MAX).unwrap();
        assert_eq!(heads.nonce_at(oldest), Some(Some(head(oldest).nonce)));
        assert_eq!(heads.nonce_at(oldest - 1), None);
        assert_eq!(heads.nonce_at(3_001), None);
        assert_eq!(heads.nonce_at(0), None);
    }

    #[test]
    fn a_history_of_several_revisions_is_followed() {
        let mut heads = known(5);
        heads.follow(&[head(6), head(7)], head(7));
        assert_eq!(heads.nonce_at(6), Some(Some(head(6).nonce)));
    }

    #[test]
    fn a_gap_in_the_history_forgets_rather_than_guesses() {
        let mut heads = known(5);
        heads.follow(&[], head(9));
        assert_eq!(heads.nonce_at(5), None);
        assert_eq!(heads.nonce_at(9), Some(Some(head(9).nonce)));
    }

    #[test]
    fn what_the_store_no_longer_knows_is_not_asked_again() {
        let mut heads = known(500);
        heads.remember(heads.history, 3, None);
        assert_eq!(heads.nonce_at(3), Some(None));
    }

    #[test]
    fn what_the_store_said_of_a_history_that_was_replaced_meanwhile_is_not_kept() {
        let mut heads = known(500);
        let Memory::Unknown(asked_of) = heads.memory_of(head(500), 3) else {
            panic!("nothing is known of revision 3");
        };
        heads.begin_anew(Head {
            revision: 400,
            nonce: [7; 8],
        });
        heads.remember(asked_of, 3, Some(head(3).nonce));
        assert_eq!(heads.nonce_at(3), None);
        // The control: of the same history it is kept.
        heads.remember(heads.history, 3, Some([9; 8]));
        assert_eq!(heads.nonce_at(3), Some(Some([9; 8])));
    }

    #[test]
    fn a_snapshot_of_a_replaced_history_is_told() {
        let mut heads = known(5);
        heads.follow(&[head(6)], head(6));
        let of = |heads: &KnownHeads, present: Head| {
            matches!(heads.memory_of(present, 5), Memory::Superseded)
        };
        // One that is behind, but of the same history, is not.
        assert!(!of(&heads, head(5)));
        assert!(!of(&heads, head(6)));
        heads.begin_anew(Head {
            revision: 6,
            nonce: [7; 8],
        });
        assert!(of(&heads, head(6)));
    }
}
