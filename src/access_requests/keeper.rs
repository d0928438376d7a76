//! Ends the requests that nobody ends: what has expired, whose requester is gone, what is allowed by
//! now or has no resource any more (R7).
//!
//! Every server runs this loop, and none keeps anything: what is to be ended is told by what is
//! stored. A request is ended once, since the write rests on the head that it was judged at; who
//! comes second finds it ended. An account is looked at when it has changed, and when a boundary of
//! time is reached that its pending requests depend on.
//!
//! It costs little, however many accounts have requests and however often they are written. An
//! account that is in no memory is loaded for an expiry alone: whoever changes it has it in memory,
//! and so has whoever asks for it. And one whose judging takes long rests before it is judged again;
//! nobody resolves a request that has lost its ground in the meantime, since each act judges anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::resolving::{ENDING_ORDINAL, changes_of, request_check};
use super::{AccessRequestError, AccessRequests, RequestWrite};
use crate::authz::access_request::{RequestState, settle};
use crate::authz::model::{Id, Timestamp};
use crate::directory::{DirectoryError, Planned, Planning, Written};
use crate::graph_cache::{ReadError, ReadGraph, off_worker};
use crate::store::audit::Author;
use crate::store::{Head, PendingAccount};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);

/// Accounts that one look at the store reads.
const ACCOUNTS_STEP: u32 = 500;

/// After the judging of an account it rests so many times as long as that took, but not longer than
/// the second.
const REST_FACTOR: u32 = 20;
const REST_MAX: Duration = Duration::from_secs(60);

/// How long an account rests that could not be looked at.
const FAILED_REST: Duration = Duration::from_secs(5);

pub struct Keeper {
    requests: AccessRequests,
    looked: HashMap<Id, Looked>,
}

/// What was found at an account with pending requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Looked {
    /// Where it was judged; `None`: it was not.
    head: Option<Head>,
    /// Without a change, nothing is to be ended before this moment.
    due: Timestamp,
    /// On the monotonic clock.
    rests_until: Duration,
}

impl Looked {
    /// Nothing is known but when the first request expires, which the store says each time.
    const UNJUDGED: Self = Self {
        head: None,
        due: Timestamp::MAX,
        rests_until: Duration::ZERO,
    };
}

/// The pending requests of an account, judged.
#[derive(Debug, PartialEq, Eq)]
struct Judged {
    /// To be ended.
    over: Vec<Id>,
    due: Timestamp,
}

impl Keeper {
    pub fn new(requests: AccessRequests) -> Self {
        Self {
            requests,
            looked: HashMap::new(),
        }
    }

    /// Runs until told to end.
    pub async fn run(mut self, ending: CancellationToken) {
        ending
            .run_until_cancelled(async {
                let mut failures = 0_u32;
                loop {
                    match self.round().await {
                        Ok(()) => failures = 0,
                        Err(error) => {
                            failures = failures.saturating_add(1);
                            if failures == 1 {
                                tracing::warn!(error = %error, "pending access requests could not be looked at");
                            }
                        }
                    }
                    tokio::time::sleep(self.spread()).await;
                }
            })
            .await;
    }

    /// Looks at every account that may have something to end.
    pub async fn round(&mut self) -> Result<(), AccessRequestError> {
        let mut looked = HashMap::new();
        let mut after: Option<Id> = None;
        loop {
            let store = &self.requests.store;
            let step = store
                .accounts_with_pending(after.as_ref(), ACCOUNTS_STEP)
                .await?;
            let is_last = step.len() < usize::try_from(ACCOUNTS_STEP).unwrap_or(usize::MAX);
            for pending in step {
                let found = self.look(&pending).await;
                looked.insert(pending.account.clone(), found);
                after = Some(pending.account);
            }
            if is_last {
                break;
            }
        }
        self.looked = looked;
        Ok(())
    }

    /// Ends what is over in an account, if it is to be looked at now.
    async fn look(&self, pending: &PendingAccount) -> Looked {
        let clock = &self.requests.clock;
        let now = clock.now();
        let before = self.looked.get(&pending.account).copied();
        let before = before.unwrap_or(Looked::UNJUDGED);
        let is_due = pending.next_expiry <= now || before.due <= now;
        let is_judged = before.head == Some(pending.head);
        let is_worth_it = || self.requests.directory.graphs().is_cached(&pending.account);
        if clock.monotonic() < before.rests_until || !is_due && (is_judged || !is_worth_it()) {
            return before;
        }
        match self.settle_account(&pending.account, now).await {
            Ok(looked) => looked,
            // Gone meanwhile, with its requests.
            Err(AccessRequestError::Directory(DirectoryError::Read(
                ReadError::UnknownAccount(_),
            ))) => Looked::UNJUDGED,
            Err(error) => {
                tracing::warn!(account = %pending.account, error = %error, "pending access requests could not be settled");
                Looked {
                    rests_until: clock.monotonic().saturating_add(FAILED_REST),
                    ..Looked::UNJUDGED
                }
            }
        }
    }

    async fn settle_account(
        &self,
        account: &Id,
        now: Timestamp,
    ) -> Result<Looked, AccessRequestError> {
        let read = self.requests.present(account).await?;
        let head = read.head;
        let began = self.requests.clock.monotonic();
        let judged = off_worker(move || judge(&read, now)).await?;
        let ended = self.requests.clock.monotonic();
        for id in &judged.over {
            let planning = PlanSettling {
                requests: &self.requests,
                id,
            };
            let write = RequestWrite::of(
                account.clone(),
                Author::named("ambit:keeper", "SettleAccessRequest"),
            );
            if let Written::Made {
                told: Some(state), ..
            } = self.requests.write(&write, &planning).await?
            {
                tracing::info!(account = %account, request = %id, state = state.as_str(), "an access request has ended by itself");
            }
        }
        Ok(Looked {
            head: Some(head),
            due: judged.due,
            rests_until: ended.saturating_add(rest_after(ended.saturating_sub(began))),
        })
    }

    /// Up to a half longer, so that replicas don't look in step.
    fn spread(&self) -> Duration {
        let part = self.requests.clock.monotonic().subsec_nanos() % 1_000;
        INTERVAL + INTERVAL.mul_f64(f64::from(part) / 2_000.0)
    }
}

fn rest_after(judging: Duration) -> Duration {
    judging.saturating_mul(REST_FACTOR).min(REST_MAX)
}

fn judge(read: &ReadGraph, now: Timestamp) -> Judged {
    let mut judged = Judged {
        over: Vec::new(),
        due: Timestamp::MAX,
    };
    for request in read.graph.pending_requests() {
        if settle(&read.graph, request, ENDING_ORDINAL, now).is_some() {
            judged.over.push(request.id.clone());
            continue;
        }
        let boundary = request_check(&read.graph, request, now)
            .ok()
            .and_then(|decision| decision.valid_until);
        judged.due = judged.due.min(request.expires_at);
        judged.due = judged.due.min(boundary.unwrap_or(Timestamp::MAX));
    }
    judged
}

/// Ends one request as what it is by now, if it still is anything.
struct PlanSettling<'a> {
    requests: &'a AccessRequests,
    id: &'a Id,
}

#[async_trait]
impl Planning for PlanSettling<'_> {
    type Told = Option<RequestState>;
    type Error = AccessRequestError;

    async fn plan(
        &self,
        present: Option<Arc<ReadGraph>>,
    ) -> Result<Planned<Self::Told>, AccessRequestError> {
        let now = self.requests.clock.now();
        let settled = present.and_then(|read| {
            let request = read.graph.pending_request_by_id(self.id.as_str())?;
            settle(&read.graph, request, ENDING_ORDINAL, now)
        });
        Ok(match settled {
            None => Planned {
                changes: Vec::new(),
                events: Vec::new(),
                answer: None,
                batch: None,
                remembered: false,
                stored: false,
                told: None,
            },
            Some(transition) => Planned {
                events: vec![transition.event.clone()],
                answer: None,
                batch: None,
                remembered: false,
                stored: true,
                told: Some(transition.request.state),
                changes: changes_of(transition),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However large an account and however often it is written, its judging takes a twentieth of
    /// the time at most, and no request waits longer than a minute for it.
    #[test]
    fn an_account_whose_judging_takes_long_rests_and_is_not_forgotten() {
        let millis = Duration::from_millis;
        assert_eq!(rest_after(Duration::ZERO), Duration::ZERO);
        assert_eq!(rest_after(millis(40)), millis(800));
        assert_eq!(rest_after(millis(3_000)), REST_MAX);
        assert_eq!(rest_after(Duration::MAX), REST_MAX);
    }
}
