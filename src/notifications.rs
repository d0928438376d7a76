//! Tells admins and requesters of access requests (S1.4, S1.5), and agencies and clients of what
//! happens between them (S4.6): webhooks and mail.
//!
//! Every event is in the outbox from the commit of its change on. This worker, one in each server,
//! makes it deliveries and sends them, at least once: a delivery is claimed by a lease, so that of
//! several servers one sends it, and another takes over where that one died.
//!
//! A lane is a destination with its own share of the sending: a receiver that is slow or dead fills
//! its own lane and no other. Within a lane the events of one subject go in order, since the store
//! gives out none before the one that precedes it is settled.
//!
//! Who is told is judged when it is sent, on a graph at least as fresh as the event, so nobody is
//! told, or given a link, by a right that they have lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{Id as TaskId, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::NotificationSettings;
use crate::graph_cache::GraphCache;
use crate::metrics::NotificationMetrics;
use crate::randomness::Randomness;
use crate::store::outbox::{ClaimedDelivery, Lane, Outbox};
use crate::store::{Store, StoreError};

mod cloud_event;
mod delivery;
mod fan_out;
mod guard;
mod letter;
mod mail;
mod matter;
mod message;
mod partner;
mod schedule;
mod webhook;

pub use letter::WordsError;
use mail::Mail;
use webhook::Webhooks;

/// Between two looks at an outbox that nobody told us of.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long a delivery is ours: longer than the longest attempt with all its reading, and no longer
/// than it must, since what a server had in hand when it died waits for the end.
const WEBHOOK_LEASE: Duration = Duration::from_secs(30);
const MAIL_LEASE: Duration = Duration::from_secs(45);

/// Of an attempt, what its lease leaves to note what became of it.
const LEASE_RESERVE: Duration = Duration::from_secs(5);

/// Deliveries of one lane at a time; of one that fails, a single one finds out whether it is back.
const AT_ONCE: u32 = 8;
const AT_ONCE_FAILING: u32 = 1;

/// A question to the database that takes longer is given up.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long running attempts are waited for when the server ends. What is cut off is sent again.
const ENDING_GRACE: Duration = Duration::from_millis(500);

/// How long it is remembered what became of a delivery.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const TRIM_INTERVAL: Duration = Duration::from_secs(600);
const TRIM_STEP: u32 = 500;

/// Between two looks at the oldest delivery, for the metrics.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// Longest pause that a receiver can ask of its whole lane.
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// Why nobody can be told with these settings.
#[derive(Debug, thiserror::Error)]
pub enum NotificationsError {
    #[error("no webhook can be sent: {0}")]
    Client(reqwest::Error),
    #[error("webhook_ca_file has a certificate that can't be read")]
    Authorities,
    #[error("smtp_url names no server that mail can be handed in to")]
    SmtpUrl,
    #[error("email_from `{0}` is no address that mail can come from")]
    Sender(String),
    #[error(transparent)]
    Words(#[from] WordsError),
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Attempt {
    Delivered,
    Failed {
        problem: String,
        retry_after: Option<Duration>,
    },
    /// Trying again would change nothing.
    GivenUp {
        problem: String,
    },
}

impl Attempt {
    fn failed(problem: String) -> Self {
        Self::Failed {
            problem,
            retry_after: None,
        }
    }
}

/// What the worker works with.
pub struct Surroundings {
    pub store: Arc<dyn Store>,
    pub outbox: Arc<dyn Outbox>,
    pub graphs: GraphCache,
    pub clock: Arc<dyn Clock>,
    pub randomness: Arc<dyn Randomness>,
    pub metrics: NotificationMetrics,
    /// Notified after a write of this server that has something to tell, so that it is told at
    /// once.
    pub written: Arc<Notify>,
    /// Where links lead.
    pub console_url: String,
}

/// The worker of one server.
pub struct Notifications {
    inner: Arc<Inner>,
    lanes: Vec<LaneState>,
}

struct Inner {
    around: Surroundings,
    settings: NotificationSettings,
    webhooks: Webhooks,
    mail: Option<Mail>,
}

struct LaneState {
    of: LaneOf,
    in_flight: u32,
    is_failing: bool,
    /// On the monotonic clock.
    paused_until: Duration,
}

enum LaneOf {
    Webhook(String),
    Mail,
    /// What is for a webhook that is not configured (any more).
    Others(Vec<String>),
}

impl LaneOf {
    fn lane(&self) -> Lane<'_> {
        match self {
            Self::Webhook(destination) => Lane::Destination(destination),
            Self::Mail => Lane::Mail,
            Self::Others(known) => Lane::Others(known),
        }
    }

    fn lease(&self) -> Duration {
        match self {
            Self::Webhook(_) | Self::Others(_) => WEBHOOK_LEASE,
            Self::Mail => MAIL_LEASE,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Webhook(destination) => destination,
            Self::Mail => "email",
            Self::Others(_) => "webhooks that are not configured",
        }
    }
}

/// How one attempt ended.
struct Ended {
    has_failed: bool,
    /// How long the receiver asked to be left alone, from the moment of its answer.
    paused_until: Option<Duration>,
}

impl Ended {
    const FAILED: Self = Self {
        has_failed: true,
        paused_until: None,
    };
}

/// Attempts that run.
#[derive(Default)]
struct Sends {
    tasks: JoinSet<Ended>,
    /// The lane that each belongs to.
    lanes: HashMap<TaskId, usize>,
}

#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database did not answer in time")]
    Timeout,
}

impl Notifications {
    /// Nothing is connected to yet; what is wrong with the settings is told now.
    pub fn new(
        around: Surroundings,
        settings: NotificationSettings,
    ) -> Result<Self, NotificationsError> {
        let known: Vec<String> = settings
            .webhooks
            .iter()
            .map(|webhook| delivery::webhook_destination(&webhook.name))
            .collect();
        let lanes = known.iter().cloned().map(LaneOf::Webhook);
        let lanes = lanes.chain([LaneOf::Mail, LaneOf::Others(known.clone())]);
        let lane = |of| LaneState {
            of,
            in_flight: 0,
            is_failing: false,
            paused_until: Duration::ZERO,
        };
        Ok(Self {
            lanes: lanes.map(lane).collect(),
            inner: Arc::new(Inner {
                webhooks: Webhooks::new(
                    &settings.webhook_allowed_networks,
                    settings.webhook_authorities.as_deref(),
                )?,
                mail: settings.mail.as_ref().map(Mail::new).transpose()?,
                around,
                settings,
            }),
        })
    }

    /// Runs until told to end.
    pub async fn run(mut self, ending: CancellationToken) {
        let mut sends = Sends::default();
        ending.run_until_cancelled(self.work(&mut sends)).await;
        let running = async { while sends.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(ENDING_GRACE, running).await.is_err() {
            tracing::debug!("notifications that were being sent are sent again later");
        }
    }

    async fn work(&mut self, sends: &mut Sends) {
        let inner = Arc::clone(&self.inner);
        let mut failures = 0_u32;
        let (mut trimmed_at, mut measured_at) = (None, None);
        loop {
            match self.pass(sends).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        tracing::warn!(error = %error, "notifications wait for the database");
                    }
                }
            }
            if failures == 0 {
                self.now_and_then(&mut trimmed_at, TRIM_INTERVAL, Inner::trim)
                    .await;
                self.now_and_then(&mut measured_at, MEASURE_INTERVAL, Inner::measure)
                    .await;
            }
            tokio::select! {
                () = inner.around.written.notified(), if failures == 0 => {}
                Some(ended) = sends.tasks.join_next_with_id() => self.note(sends, ended),
                () = tokio::time::sleep(INTERVAL) => {}
            }
            while let Some(ended) = sends.tasks.try_join_next_with_id() {
                self.note(sends, ended);
            }
        }
    }

    /// One look at the outbox: what is new becomes deliveries, what is due is begun to be sent.
    async fn pass(&mut self, sends: &mut Sends) -> Result<(), PassError> {
        self.inner.fan_out().await?;
        for at in 0..self.lanes.len() {
            for claimed in self.claim(at).await? {
                if let Some(lane) = self.lanes.get_mut(at) {
                    lane.in_flight += 1;
                }
                let inner = Arc::clone(&self.inner);
                let longest = self
                    .lanes
                    .get(at)
                    .map_or(WEBHOOK_LEASE, |lane| lane.of.lease());
                let longest = longest.saturating_sub(LEASE_RESERVE);
                let send = async move { inner.deliver(claimed, longest).await };
                let task = sends.tasks.spawn(send);
                sends.lanes.insert(task.id(), at);
            }
        }
        Ok(())
    }

    async fn claim(&self, at: usize) -> Result<Vec<ClaimedDelivery>, PassError> {
        let around = &self.inner.around;
        let Some(lane) = self.lanes.get(at) else {
            return Ok(Vec::new());
        };
        let most = if lane.is_failing {
            AT_ONCE_FAILING
        } else {
            AT_ONCE
        };
        let free = most.saturating_sub(lane.in_flight);
        if free == 0 || around.clock.monotonic() < lane.paused_until {
            return Ok(Vec::new());
        }
        let now = around.clock.now();
        let lease_until = now.later_by(lane.of.lease().as_micros());
        bounded(
            around
                .outbox
                .claim_deliveries(lane.of.lane(), now, lease_until, free),
        )
        .await
    }

    /// Learns from an attempt how its lane does.
    fn note(&mut self, sends: &mut Sends, ended: Result<(TaskId, Ended), JoinError>) {
        let (task, ended) = match ended {
            Ok((task, ended)) => (task, ended),
            Err(panic) => {
                // Its lease ends, and then it is attempted again.
                tracing::error!(problem = %panic, "a notification ended in a panic");
                (panic.id(), Ended::FAILED)
            }
        };
        let lane = sends
            .lanes
            .remove(&task)
            .and_then(|at| self.lanes.get_mut(at));
        let Some(lane) = lane else {
            return;
        };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        if let Some(until) = ended.paused_until {
            lane.paused_until = until;
        }
        if ended.has_failed != lane.is_failing {
            let destination = lane.of.name();
            if ended.has_failed {
                tracing::warn!(destination, "notifications fail and are attempted again");
            } else {
                tracing::info!(destination, "notifications are taken again");
            }
        }
        lane.is_failing = ended.has_failed;
    }

    async fn now_and_then(
        &self,
        last: &mut Option<Duration>,
        interval: Duration,
        work: impl AsyncFn(&Inner) -> Result<(), PassError>,
    ) {
        let now = self.inner.around.clock.monotonic();
        if last.is_some_and(|last| now.saturating_sub(last) < interval) {
            return;
        }
        *last = Some(now);
        if let Err(error) = work(&self.inner).await {
            tracing::debug!(error = %error, "the outbox could not be looked after");
        }
    }
}

impl Inner {
    /// Forgets what was settled long ago.
    async fn trim(&self) -> Result<(), PassError> {
        let before = self.around.clock.now().earlier_by(REMEMBERED.as_micros());
        let trim = || bounded(self.around.outbox.trim_deliveries(before, TRIM_STEP));
        while trim().await? >= u64::from(TRIM_STEP) {}
        Ok(())
    }

    async fn measure(&self) -> Result<(), PassError> {
        let oldest = bounded(self.around.outbox.undelivered()).await?;
        let now = self.around.clock.now();
        let age = oldest.map_or(0, |oldest| now.unix_micros() - oldest.unix_micros());
        let age = Duration::from_micros(u64::try_from(age).unwrap_or(0));
        self.around.metrics.oldest_undelivered(age);
        let depth = bounded(self.around.outbox.depth()).await?;
        self.around.metrics.outbox_depth(depth);
        Ok(())
    }
}

async fn bounded<T>(question: impl Future<Output = Result<T, StoreError>>) -> Result<T, PassError> {
    match tokio::time::timeout(QUESTION_TIMEOUT, question).await {
        Ok(answer) => Ok(answer?),
        Err(_elapsed) => Err(PassError::Timeout),
    }
}
