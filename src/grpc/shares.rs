//! How many of the server's places each account has, so that none takes them all.
//!
//! An account may have as many calls as there are places free. So one that takes all it gets leaves
//! half of them, two leave a third, and whoever has none yet finds one: nobody has to be told how
//! many accounts there will be, and a server that has only one still gives it half.

use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::authz::model::Id;

/// Locks of accounts; each is held for a look into a small table.
const SHARDS: usize = 32;

/// What a call takes a place among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call,
    Stream,
}

#[derive(Debug, Default)]
struct Held {
    calls: u64,
    streams: u64,
}

impl Held {
    fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Call => &mut self.calls,
            Kind::Stream => &mut self.streams,
        }
    }
}

type Accounts = HashMap<Id, Held, RandomState>;

/// Holds accounts that have a call, and no others.
pub struct Shares {
    /// Of the places that are free, what one account may have.
    percent: u64,
    hasher: RandomState,
    shards: [Mutex<Accounts>; SHARDS],
}

impl Shares {
    pub fn new(percent: u64) -> Self {
        Self {
            percent,
            hasher: RandomState::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// One more call of an account, which has found its place when so many others are free still;
    /// whether it may keep it.
    pub fn take(&self, account: &Id, kind: Kind, free: u64) -> bool {
        let mut accounts = self.shard(account);
        let held = accounts.entry(account.clone()).or_default();
        let count = held.of(kind);
        // Its own place was one of the free ones; an account without any is in nobody's way.
        let most = free.saturating_add(1).saturating_mul(self.percent);
        let may = *count == 0 || count.saturating_mul(100) < most;
        if may {
            *count += 1;
        }
        may
    }

    pub fn give_back(&self, account: &Id, kind: Kind) {
        let mut accounts = self.shard(account);
        let Some(held) = accounts.get_mut(account) else {
            return;
        };
        let count = held.of(kind);
        *count = count.saturating_sub(1);
        if held.calls == 0 && held.streams == 0 {
            accounts.remove(account);
        }
    }

    fn shard(&self, account: &Id) -> MutexGuard<'_, Accounts> {
        let hash = self.hasher.hash_one(account);
        let at = usize::try_from(hash % (SHARDS as u64)).unwrap_or(0);
        let [first, ..] = &self.shards;
        let shard = self.shards.get(at).unwrap_or(first);
        // Counts are whole at every step, so one that panicked has left nothing half done.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    /// Takes places for an account until it is refused; how many it got.
    fn hammer(shares: &Shares, account: &Id, free: &mut u64) -> u64 {
        let mut got = 0;
        // The call that asks has its place already.
        while *free > 0 && shares.take(account, Kind::Call, *free - 1) {
            *free -= 1;
            got += 1;
        }
        got
    }

    #[test]
    fn whoever_takes_all_it_gets_leaves_as_much() {
        let shares = Shares::new(100);
        let mut free = 100;
        assert_eq!(hammer(&shares, &id("a"), &mut free), 50);
        assert_eq!(hammer(&shares, &id("b"), &mut free), 25);
        assert_eq!(hammer(&shares, &id("a"), &mut free), 0);
        assert!(shares.take(&id("c"), Kind::Call, free - 1));
        // The control: with the bound out of reach one takes everything.
        let boundless = Shares::new(1_000_000);
        let mut free = 100;
        assert_eq!(hammer(&boundless, &id("a"), &mut free), 100);
    }

    #[test]
    fn the_first_call_of_an_account_needs_only_its_place() {
        let shares = Shares::new(100);
        assert!(shares.take(&id("a"), Kind::Call, 0));
        assert!(!shares.take(&id("a"), Kind::Call, 0));
        // Streams are counted among themselves.
        assert!(shares.take(&id("a"), Kind::Stream, 0));
        shares.give_back(&id("a"), Kind::Call);
        assert!(shares.take(&id("a"), Kind::Call, 0));
    }

    #[test]
    fn nothing_is_kept_of_accounts_without_calls() {
        let shares = Shares::new(100);
        for number in 0..1_000 {
            let account = id(&format!("a{number}"));
            assert!(shares.take(&account, Kind::Call, 10));
            assert!(shares.take(&account, Kind::Stream, 10));
            shares.give_back(&account, Kind::Call);
            shares.give_back(&account, Kind::Stream);
            // A refusal leaves nothing either.
            shares.give_back(&account, Kind::Stream);
        }
        let kept: usize = shares.shards.iter().map(|s| s.lock().unwrap().len()).sum();
        assert_eq!(kept, 0);
    }
}
