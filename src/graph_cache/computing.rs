//! Long computations: few at a time, and accounts in turn.
//!
//! What takes more than a moment would hold up whatever else runs on its core, and a thousand of
//! them at once would hold up everything. So only so many run, and of one account no more than half
//! of those: a list of one account waits behind its own, and behind one or two of anybody else's.

use std::collections::HashMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ReadError, off_worker};
use crate::authz::model::Id;

/// Cheap to clone; all clones are in turn with each other.
#[derive(Clone)]
pub struct Computing(Arc<Inner>);

struct Inner {
    of_account: usize,
    all: Arc<Semaphore>,
    /// Of those accounts that compute, or wait for their turn.
    accounts: Mutex<HashMap<Id, Arc<Semaphore>>>,
}

/// The right to compute, until it is dropped.
#[must_use]
pub struct Turn {
    _all: Option<OwnedSemaphorePermit>,
    _own: Own,
}

/// What a computation of many seconds lets others go first by.
pub struct Pace {
    computing: Computing,
    account: Id,
    turn: Option<Turn>,
    runtime: Handle,
    is_wanted: Arc<AtomicBool>,
}

/// Who waits for a computation.
struct Waiting(Arc<AtomicBool>);

/// An account that computes, or waits for its turn.
struct Own {
    computing: Computing,
    account: Id,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Default for Computing {
    /// One fewer than there are cores: the last one is for those who ask little.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self::new(cores.saturating_sub(1))
    }
}

impl Computing {
    /// So many at a time, at least one.
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            of_account: most.div_ceil(2),
            all: Arc::new(Semaphore::new(most)),
            accounts: Mutex::default(),
        }))
    }

    /// Runs work where it holds up no other request, when it is its account's turn. Whoever goes
    /// away gives up a turn that has not come; what has begun goes on to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        account: &Id,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let turn = self.turn(account).await;
        off_worker(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
    }

    /// The same for work that pauses: its turn is over with each pause, and comes again after those
    /// who wait. Where nobody waits for it any more, the next pause tells it to end.
    pub(super) async fn run_paced<T: Send + 'static>(
        &self,
        account: &Id,
        work: impl FnOnce(&mut Pace) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let turn = self.turn(account).await;
        let waiting = Waiting(Arc::new(AtomicBool::new(true)));
        let mut pace = Pace {
            computing: self.clone(),
            account: account.clone(),
            turn: Some(turn),
            runtime: Handle::current(),
            is_wanted: Arc::clone(&waiting.0),
        };
        off_worker(move || work(&mut pace)).await
    }

    /// Waits until it is an account's turn.
    pub(super) async fn turn(&self, account: &Id) -> Turn {
        let mut own = self.own(account);
        // Either fails only where its semaphore is closed, which nobody does.
        own.permit = Arc::clone(&own.semaphore).acquire_owned().await.ok();
        let all = Arc::clone(&self.0.all).acquire_owned().await.ok();
        Turn {
            _all: all,
            _own: own,
        }
    }

    fn own(&self, account: &Id) -> Own {
        let mut accounts = self.accounts();
        let semaphore = accounts
            .entry(account.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.0.of_account)));
        Own {
            computing: self.clone(),
            account: account.clone(),
            semaphore: Arc::clone(semaphore),
            permit: None,
        }
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<Id, Arc<Semaphore>>> {
        // Whole at every step.
        let accounts = self.0.accounts.lock();
        accounts.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    /// Does something that may wait for others, such as a reader, without holding a turn.
    pub fn aside<T>(&mut self, waiting: impl FnOnce() -> T) -> ControlFlow<(), T> {
        self.turn = None;
        let done = waiting();
        self.pause().map_continue(|()| done)
    }

    /// Lets others go first. Called where the computation holds a thread of its own.
    pub fn pause(&mut self) -> ControlFlow<()> {
        self.turn = None;
        if !self.is_wanted.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        self.turn = Some(self.runtime.block_on(self.computing.turn(&self.account)));
        ControlFlow::Continue(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // It holds the semaphore too.
        self.permit = None;
        let mut accounts = self.computing.accounts();
        // The table's and this one: nobody else computes or waits.
        if Arc::strong_count(&self.semaphore) == 2 {
            accounts.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    /// Lets all tasks that can go on do so.
    async fn settle() {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }

    /// How many computations of a crowd end before the one of an account that asks once, after all
    /// of them. All wait at first.
    async fn ahead(of_crowd: impl Fn(usize) -> String) -> usize {
        let computing = Computing::new(2);
        let held = [
            computing.turn(&id("held")).await,
            computing.turn(&id("held too")).await,
        ];
        let ended = Arc::new(AtomicUsize::new(0));
        let mut crowd = Vec::new();
        for number in 0..100 {
            let (computing, account) = (computing.clone(), id(&of_crowd(number)));
            let ended = Arc::clone(&ended);
            crowd.push(tokio::spawn(async move {
                let turn = computing.turn(&account).await;
                tokio::task::yield_now().await;
                ended.fetch_add(1, Ordering::SeqCst);
                drop(turn);
            }));
        }
        settle().await;
        let quiet = {
            let (computing, ended) = (computing.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let _turn = computing.turn(&id("quiet")).await;
                ended.load(Ordering::SeqCst)
            })
        };
        settle().await;
        drop(held);
        let ahead = quiet.await.unwrap();
        for one in crowd {
            one.await.unwrap();
        }
        ahead
    }

    #[tokio::test]
    async fn an_account_that_asks_once_waits_for_few_of_one_that_asks_a_hundred_times() {
        let of_one = ahead(|_| "crowd".to_owned()).await;
        assert!(of_one <= 2, "{of_one} of the crowd came first");
        // The control: were each an account of its own, all of them would.
        let of_many = ahead(|number| format!("crowd {number}")).await;
        assert!(of_many >= 98, "{of_many} of the crowd came first");
    }

    #[tokio::test]
    async fn no_more_run_than_may() {
        let computing = Computing::new(4);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let counted = Arc::new((running, most));
        let mut works = Vec::new();
        for number in 0..200 {
            let (computing, counted) = (computing.clone(), Arc::clone(&counted));
            works.push(tokio::spawn(async move {
                let account = id(&format!("a{}", number % 7));
                let _turn = computing.turn(&account).await;
                let running = counted.0.fetch_add(1, Ordering::SeqCst) + 1;
                counted.1.fetch_max(running, Ordering::SeqCst);
                tokio::task::yield_now().await;
                counted.0.fetch_sub(1, Ordering::SeqCst);
            }));
        }
        for work in works {
            work.await.unwrap();
        }
        assert_eq!(counted.1.load(Ordering::SeqCst), 4);
        assert!(computing.accounts().is_empty(), "accounts are kept");
    }

    #[tokio::test]
    async fn whoever_goes_away_leaves_its_turn_to_the_next() {
        let computing = Computing::new(1);
        let held = computing.turn(&id("a")).await;
        let waiting = {
            let computing = computing.clone();
            tokio::spawn(async move { drop(computing.turn(&id("a")).await) })
        };
        settle().await;
        waiting.abort();
        assert!(waiting.await.is_err());
        drop(held);
        drop(computing.turn(&id("a")).await);
        assert!(computing.accounts().is_empty());
    }

    #[tokio::test]
    async fn a_computation_that_panics_gives_its_turn_back() {
        let computing = Computing::new(1);
        let failed = computing.run::<()>(&id("a"), || panic!("on purpose")).await;
        assert!(matches!(failed, Err(ReadError::Internal)));
        assert_eq!(computing.run(&id("a"), || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_computation_that_pauses_lets_others_go_first() {
        let computing = Computing::new(1);
        let (begun, running) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let order = Arc::new(Mutex::new(Vec::new()));
        let long = {
            let (computing, order) = (computing.clone(), Arc::clone(&order));
            tokio::spawn(async move {
                let work = move |pace: &mut Pace| {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    assert!(pace.pause().is_continue());
                    order.lock().unwrap().push("long");
                };
                computing.run_paced(&id("a"), work).await.unwrap();
            })
        };
        running.await.unwrap();
        let short = {
            let (computing, order) = (computing.clone(), Arc::clone(&order));
            tokio::spawn(async move {
                let _turn = computing.turn(&id("b")).await;
                order.lock().unwrap().push("short");
            })
        };
        settle().await;
        go_on.send(()).unwrap();
        long.await.unwrap();
        short.await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["short", "long"]);
    }

    #[tokio::test]
    async fn a_computation_that_nobody_waits_for_ends_at_its_next_pause() {
        let computing = Computing::new(1);
        let (begun, running) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let (said, ended) = tokio::sync::oneshot::channel();
        let long = {
            let computing = computing.clone();
            tokio::spawn(async move {
                let work = move |pace: &mut Pace| {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    said.send(pace.pause().is_break()).unwrap();
                };
                computing.run_paced(&id("a"), work).await
            })
        };
        running.await.unwrap();
        long.abort();
        assert!(long.await.is_err());
        go_on.send(()).unwrap();
        assert!(ended.await.unwrap());
        drop(computing.turn(&id("a")).await);
    }
}
