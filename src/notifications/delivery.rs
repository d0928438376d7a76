//! One delivery: read what is so now, send, and settle what became of it.

use std::sync::Arc;
use std::time::Duration;

use super::matter::{Matter, Unsent, Writing};
use super::message::message_id;
use super::webhook::Message;
use super::{Attempt, Ended, Inner, PAUSE_MAX, PassError, bounded, schedule};
use crate::authz::model::Id;
use crate::graph_cache::{Consistency, ReadError, ReadGraph};
use crate::links::Links;
use crate::metrics::NotificationChannel;
use crate::store::outbox::{ClaimedDelivery, DeliveryOutcome, Event};

const WEBHOOK: &str = "webhook:";
const MAIL: &str = "email:";

pub(super) fn webhook_destination(name: &str) -> String {
    format!("{WEBHOOK}{name}")
}

pub(super) fn mail_destination(user: &Id) -> String {
    format!("{MAIL}{user}")
}

impl From<Unsent> for Attempt {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Failed(problem) => Self::failed(problem),
            Unsent::GivenUp(problem) => Self::GivenUp { problem },
        }
    }
}

impl From<PassError> for Unsent {
    fn from(error: PassError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Inner {
    /// An attempt that takes longer than `longest` is given up, so that its lease outlasts it.
    pub(super) async fn deliver(&self, claimed: ClaimedDelivery, longest: Duration) -> Ended {
        let attempt = match tokio::time::timeout(longest, self.attempt(&claimed)).await {
            Ok(attempt) => attempt.unwrap_or_else(Attempt::from),
            Err(_elapsed) => Attempt::failed("it took too long to be written and sent".to_owned()),
        };
        let pause = match &attempt {
            Attempt::Failed { retry_after, .. } => *retry_after,
            Attempt::Delivered | Attempt::GivenUp { .. } => None,
        };
        let now = self.around.clock.monotonic();
        let ended = Ended {
            has_failed: matches!(attempt, Attempt::Failed { .. }),
            paused_until: pause.map(|pause| now.saturating_add(pause.min(PAUSE_MAX))),
        };
        self.settle(&claimed, attempt).await;
        ended
    }

    async fn attempt(&self, claimed: &ClaimedDelivery) -> Result<Attempt, Unsent> {
        let key = &claimed.delivery.key;
        let matter = self
            .matter(&key.account, &claimed.event)
            .await?
            .ok_or_else(|| Unsent::GivenUp("the request is gone".to_owned()))?;
        let consistency = Consistency::FullyConsistent;
        let read = match self.around.graphs.read(&key.account, &consistency).await {
            Ok(read) => read,
            Err(error @ ReadError::UnknownAccount(_)) => {
                return Err(Unsent::GivenUp(error.to_string()));
            }
            Err(error) => return Err(Unsent::Failed(error.to_string())),
        };
        let destination = key.destination.as_str();
        if let Some(name) = destination.strip_prefix(WEBHOOK) {
            self.to_webhook(name, claimed, matter, read).await
        } else if let Some(user) = destination.strip_prefix(MAIL) {
            self.to_mailbox(user, claimed, matter, read).await
        } else {
            Err(Unsent::GivenUp("there is no such destination".to_owned()))
        }
    }

    /// What an event is about, as it is known now; `None`: that is gone.
    pub(super) async fn matter(
        &self,
        account: &Id,
        event: &Event,
    ) -> Result<Option<Matter>, PassError> {
        Ok(match event {
            Event::Request(event) => {
                let request = self.around.store.access_request(account, &event.request);
                let request = bounded(request).await?;
                request.map(|request| Matter::Request(Box::new(request), event.clone()))
            }
            Event::Partner(event) => Some(Matter::Partner(event.clone())),
        })
    }

    async fn to_webhook(
        &self,
        name: &str,
        claimed: &ClaimedDelivery,
        matter: Matter,
        read: Arc<ReadGraph>,
    ) -> Result<Attempt, Unsent> {
        let mut webhooks = self.settings.webhooks.iter();
        let webhook = webhooks.find(|webhook| webhook.name == name);
        let webhook = webhook
            .ok_or_else(|| Unsent::Failed("no webhook of this name is configured".to_owned()))?;
        let key = &claimed.delivery.key;
        if !webhook.accounts.is_empty() && !webhook.accounts.contains(&key.account) {
            let problem = "the webhook is not configured for this account (any more)";
            return Err(Unsent::GivenUp(problem.to_owned()));
        }
        let writing = self.writing();
        let now = writing.now;
        let id = message_id(key, &claimed.event);
        let message = blocking(move || {
            let body = matter.body(&read.graph, &id, &writing)?;
            Ok(Message { id, body })
        })
        .await?;
        Ok(self.webhooks.send(webhook, message, now).await)
    }

    async fn to_mailbox(
        &self,
        user: &str,
        claimed: &ClaimedDelivery,
        matter: Matter,
        read: Arc<ReadGraph>,
    ) -> Result<Attempt, Unsent> {
        let Some(mail) = &self.mail else {
            return Err(Unsent::Failed("no mail server is configured".to_owned()));
        };
        let gone = || Unsent::GivenUp("the user is gone, or has no email (any more)".to_owned());
        let address = read.graph.user(user).and_then(|user| user.email.clone());
        let address = address.ok_or_else(gone)?;
        let user = Id::parse(user).map_err(|_no_id| gone())?;
        let writing = self.writing();
        let now = writing.now;
        let words = mail.words.clone();
        let written = blocking(move || matter.letter(&read.graph, user, &words, &writing)).await?;
        let id = message_id(&claimed.delivery.key, &claimed.event);
        Ok(mail.send(&address, &written, &id, now).await)
    }

    async fn settle(&self, claimed: &ClaimedDelivery, attempt: Attempt) {
        let key = &claimed.delivery.key;
        let attempts = claimed.delivery.attempts;
        let channel = match key.destination.strip_prefix(MAIL) {
            Some(_) => NotificationChannel::Email,
            None => NotificationChannel::Webhook,
        };
        let metrics = &self.around.metrics;
        let now = self.around.clock.now();
        let outcome = match attempt {
            Attempt::Delivered => {
                metrics.sent(channel);
                DeliveryOutcome::Delivered
            }
            Attempt::GivenUp { problem } => DeliveryOutcome::Dead { problem },
            Attempt::Failed {
                problem,
                retry_after,
            } => {
                metrics.failed(channel);
                match self.wait_after(attempts, retry_after) {
                    Some(wait) => DeliveryOutcome::Retry {
                        at: now.later_by(wait.as_micros()),
                        problem,
                    },
                    None => DeliveryOutcome::Dead { problem },
                }
            }
        };
        match &outcome {
            DeliveryOutcome::Delivered => {
                tracing::debug!(delivery = %key, attempts, "a notification was taken");
            }
            DeliveryOutcome::Retry { problem, .. } => {
                tracing::debug!(delivery = %key, attempts, problem, "a notification failed");
            }
            DeliveryOutcome::Dead { problem } => {
                metrics.dead(channel);
                tracing::warn!(delivery = %key, attempts, problem, "a notification is given up");
            }
        }
        let settled = self.around.outbox.settle_delivery(claimed, outcome, now);
        match bounded(settled).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!(delivery = %key, "another server has taken a notification over");
            }
            Err(error) => {
                tracing::warn!(delivery = %key, error = %error, "a notification may be sent twice");
            }
        }
    }

    /// Without randomness all wait for as long as they may.
    fn wait_after(&self, attempts: u32, retry_after: Option<Duration>) -> Option<Duration> {
        let random = self.around.randomness.bytes().unwrap_or([0xff; 16]);
        schedule::wait_after(attempts, random, retry_after)
    }

    /// Links are made under the key that the database has now.
    fn writing(&self) -> Writing {
        let identity = self.around.store.identity();
        let ttl = self.settings.link_ttl;
        Writing {
            links: Links::new(identity.token_key, &self.around.console_url, ttl),
            randomness: Arc::clone(&self.around.randomness),
            now: self.around.clock.now(),
        }
    }
}

/// Judging many users takes a while, and the feed has its turn on this thread too.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unsent> + Send + 'static,
) -> Result<T, Unsent> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => {
            tracing::error!(problem = %panic, "the writing of a notification ended in a panic");
            Err(Unsent::Failed(
                "an internal error, which the log has".to_owned(),
            ))
        }
    }
}
