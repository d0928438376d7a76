//! The notifications: they only make the feed fast.
//!
//! A channel may be dead without a sign: a half-open connection, a pooler that takes LISTEN and
//! delivers nothing, a database that was promoted. So it counts as alive only while this process's
//! own heartbeats, sent through other connections each second, come back on it. One that is silent
//! for too long, or fails in any way, is dropped; after a wait another is opened, and once that has
//! proven itself the poll compares everything, since what was sent in between is lost.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::backoff::Backoff;
use super::catch_ups::CatchUps;
use super::{FeedError, Ground};
use crate::store::{Heartbeat, Nonce, Notification, Notifications, StoreError};

const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Without a heartbeat of its own for so long a channel is dead.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How often it is looked whether the channel is silent.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A channel that lived for so long was a good one: the next wait is a short one.
const GOOD_LIFE: Duration = Duration::from_secs(10);

/// Between channels.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    most: Duration::from_secs(10),
};

const QUEUE_INTERVAL: Duration = Duration::from_secs(5);

/// The database refuses commits that notify when its queue is full; from here on it is worth a
/// word.
const QUEUE_USAGE_WORRYING: f64 = 0.25;

pub(super) struct Listener {
    ground: Ground,
    catch_ups: CatchUps,
}

/// Why a channel was given up.
#[derive(Debug, thiserror::Error)]
enum ChannelEnd {
    #[error(transparent)]
    Open(FeedError),
    #[error(transparent)]
    Broken(#[from] StoreError),
    #[error("heartbeats of this process no longer come back on it")]
    Silent,
    #[error("notifications do not arrive, as behind a pooler in transaction mode")]
    NeverHeard,
    #[error("the system has no randomness to tell this process's heartbeats by")]
    Anonymous,
}

/// One channel's proof of life.
struct Pulse {
    heartbeat: Heartbeat,
    /// Monotonic nanoseconds of the last own heartbeat that came back; 0: none has.
    heard_at: AtomicU64,
    opened_at: Duration,
}

impl Listener {
    pub(super) fn new(ground: Ground, catch_ups: CatchUps) -> Self {
        Self { ground, catch_ups }
    }

    /// Runs until it is dropped; at an end only where the store has no notifications.
    pub(super) async fn run(&mut self) {
        tokio::select! {
            () = self.listen() => {}
            never = self.watch_queue() => match never {},
        }
    }

    async fn listen(&self) {
        let status = &self.ground.status;
        let mut failures = 0;
        loop {
            let opened_at = self.ground.clock.monotonic();
            let opened = self.ground.in_time(self.ground.store.notifications()).await;
            let end = match opened {
                Ok(None) => return,
                Ok(Some(mut channel)) => {
                    status.could_listen.store(true, Ordering::SeqCst);
                    self.follow(channel.as_mut(), opened_at).await
                }
                Err(error) => {
                    status.could_listen.store(true, Ordering::SeqCst);
                    ChannelEnd::Open(error)
                }
            };
            let listened = status.listens.swap(false, Ordering::SeqCst);
            status.reconnects.fetch_add(1, Ordering::SeqCst);
            // Whatever the channel did not deliver; and the poll may be in the middle of an interval
            // that was chosen for a feed that is told.
            self.ground.compare_now.notify_one();
            let lived = self.ground.clock.monotonic().saturating_sub(opened_at);
            if listened && lived >= GOOD_LIFE {
                failures = 0;
            }
            failures += 1;
            if failures == 1 {
                let cause = end.source().map(tracing::field::display);
                tracing::warn!(error = %end, cause, "notifications of the database are lost; changes are found by polling");
            } else {
                tracing::debug!(error = %end, failures, "still no notifications of the database");
            }
            let wait = BACKOFF.after(failures, self.ground.clock.as_ref());
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes from one channel until it ends.
    async fn follow(&self, channel: &mut dyn Notifications, opened_at: Duration) -> ChannelEnd {
        let Some(sender) = sender() else {
            return ChannelEnd::Anonymous;
        };
        let pulse = Pulse {
            heartbeat: Heartbeat {
                sender,
                sequence: 0,
            },
            heard_at: AtomicU64::new(0),
            opened_at,
        };
        tokio::select! {
            end = self.drain(channel, &pulse) => end,
            end = self.watch(&pulse) => end,
            never = self.beat(&pulse) => match never {},
        }
    }

    /// Takes whatever comes, at once: what is not taken is kept in memory on one side or the
    /// other.
    async fn drain(&self, channel: &mut dyn Notifications, pulse: &Pulse) -> ChannelEnd {
        let status = &self.ground.status;
        loop {
            match channel.next().await {
                Ok(Notification::Changed { account, revision }) => {
                    status.notifications.fetch_add(1, Ordering::SeqCst);
                    self.catch_ups.announced(&account, revision).await;
                }
                Ok(Notification::Heartbeat(heartbeat)) => {
                    if heartbeat.sender == pulse.heartbeat.sender {
                        self.heard(pulse);
                    }
                }
                Ok(Notification::Foreign) => {
                    status.foreign.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => return error.into(),
            }
            // A flood must not keep the other futures of this task from their turn.
            tokio::task::consume_budget().await;
        }
    }

    fn heard(&self, pulse: &Pulse) {
        let now = nanos(self.ground.clock.monotonic());
        if pulse.heard_at.swap(now, Ordering::SeqCst) != 0 {
            return;
        }
        tracing::info!("notifications of the database arrive");
        self.ground.status.listens.store(true, Ordering::SeqCst);
        // What was committed before the channel stood was announced to nobody.
        self.ground.compare_now.notify_one();
    }

    /// Sends heartbeats for as long as it is polled. One that can't be sent is not sent again: the
    /// next one follows soon.
    async fn beat(&self, pulse: &Pulse) -> Infallible {
        let mut heartbeat = pulse.heartbeat;
        let mut ticks = tokio::time::interval(HEARTBEAT_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            heartbeat.sequence += 1;
            let sent = self.ground.store.send_heartbeat(heartbeat);
            if let Err(error) = self.ground.in_time(sent).await {
                tracing::debug!(error = %error, "a heartbeat could not be sent");
            }
        }
    }

    async fn watch(&self, pulse: &Pulse) -> ChannelEnd {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let heard_at = match pulse.heard_at.load(Ordering::SeqCst) {
                0 => None,
                at => Some(Duration::from_nanos(at)),
            };
            let since = heard_at.unwrap_or(pulse.opened_at);
            if self.ground.clock.monotonic().saturating_sub(since) > SILENCE_MAX {
                return match heard_at {
                    Some(_) => ChannelEnd::Silent,
                    None => ChannelEnd::NeverHeard,
                };
            }
        }
    }

    /// Keeps an eye on the queue that a wedged listener of anyone fills.
    async fn watch_queue(&self) -> Infallible {
        let mut worried = false;
        loop {
            let asked = self.ground.store.notification_queue_usage();
            match self.ground.in_time(asked).await {
                Ok(usage) => {
                    self.ground.status.set_queue_usage(usage);
                    let worrying = usage.is_some_and(|usage| usage > QUEUE_USAGE_WORRYING);
                    if worrying && !worried {
                        tracing::warn!(
                            usage,
                            "the database's queue of notifications fills up: a session that listens does not take them, or stays in a transaction"
                        );
                    }
                    worried = worrying;
                }
                Err(_away) => self.ground.status.set_queue_usage(None),
            }
            tokio::time::sleep(QUEUE_INTERVAL).await;
        }
    }
}

/// Random, so that no two feeds take each other's heartbeats for their own.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that makes the sender's nonce"
)]
fn sender() -> Option<Nonce> {
    getrandom::u64().ok().map(u64::to_be_bytes)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}
