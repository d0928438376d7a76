//! The tokens of one source, as they were when it was last asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::authz::model::Timestamp;
use crate::callers::{Caller, SecretHash, TokenId};
use crate::clock::Clock;
use crate::store::tokens::StoredToken;

#[derive(Default)]
pub(super) struct TokenTable {
    tokens: ArcSwap<HashMap<TokenId, Entry>>,
    /// When the last look that succeeded began, in nanoseconds of the monotonic clock; 0: none did.
    verified_at: AtomicU64,
    /// Whether the last look failed, so that a long failure is logged once.
    is_failing: AtomicBool,
}

struct Entry {
    hash: SecretHash,
    caller: Caller,
    expires_at: Option<Timestamp>,
}

pub(super) enum Found {
    Caller(Caller),
    Expired,
    /// A token of this id with another secret.
    Other,
    Nothing,
}

impl TokenTable {
    pub(super) fn replace<'a>(&self, tokens: impl IntoIterator<Item = &'a StoredToken>) {
        let entry = |token: &StoredToken| {
            let caller = Caller {
                name: Arc::from(format!("token:{}", token.name)),
                roles: token.roles,
                accounts: Arc::new(token.accounts.clone()),
            };
            let entry = Entry {
                hash: token.hash,
                caller,
                expires_at: token.expires_at,
            };
            (token.id.clone(), entry)
        };
        let tokens = tokens.into_iter().map(entry).collect();
        self.tokens.store(Arc::new(tokens));
    }

    /// What a look that began then has found is so.
    pub(super) fn verified(&self, begun_at: Duration) {
        let nanos = u64::try_from(begun_at.as_nanos()).unwrap_or(u64::MAX);
        self.verified_at.store(nanos.max(1), Ordering::SeqCst);
        if self.is_failing.swap(false, Ordering::SeqCst) {
            tracing::info!("tokens of callers are followed again");
        }
    }

    pub(super) fn failed(&self, source: &'static str, problem: &str) {
        if !self.is_failing.swap(true, Ordering::SeqCst) {
            tracing::warn!(
                source,
                problem,
                "tokens of callers can't be followed; they are refused from the staleness bound on"
            );
        }
    }

    pub(super) fn is_fresh(&self, clock: &dyn Clock, bound: Duration) -> bool {
        match self.verified_at.load(Ordering::SeqCst) {
            0 => false,
            nanos => {
                clock
                    .monotonic()
                    .saturating_sub(Duration::from_nanos(nanos))
                    <= bound
            }
        }
    }

    pub(super) fn find(&self, id: &TokenId, hash: &SecretHash, now: Timestamp) -> Found {
        let tokens = self.tokens.load();
        let Some(entry) = tokens.get(id) else {
            return Found::Nothing;
        };
        if !entry.hash.matches(hash) {
            return Found::Other;
        }
        if entry.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Found::Expired;
        }
        Found::Caller(entry.caller.clone())
    }
}
