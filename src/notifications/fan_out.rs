//! From an event to those who are told of it.

use super::delivery::{mail_destination, webhook_destination};
use super::matter::Matter;
use super::{Inner, PassError, bounded};
use crate::authz::model::Id;
use crate::graph_cache::{Consistency, ReadError};
use crate::store::outbox::Event;

/// Events of one look. Those of an account that can't be read stay, and others get their turn.
const EVENTS_MAX: u32 = 500;

/// Mails about one event; beyond it, whoever looks into the console still finds the request.
const MAILS_MAX: usize = 1_000;

#[derive(Debug, thiserror::Error)]
enum EventError {
    #[error(transparent)]
    Pass(#[from] PassError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Inner {
    /// Makes new events deliveries.
    pub(super) async fn fan_out(&self) -> Result<(), PassError> {
        let events = bounded(self.around.outbox.unsent_events(EVENTS_MAX)).await?;
        for (account, event) in events {
            let destinations = match self.destinations(&account, &event).await {
                Ok(destinations) => destinations,
                Err(EventError::Pass(error)) => return Err(error),
                Err(EventError::Read(error)) => {
                    tracing::debug!(account = %account, error = %error, "an event waits for its account");
                    continue;
                }
            };
            let now = self.around.clock.now();
            let (subject, ordinal) = (event.subject(), event.ordinal());
            let outbox = &self.around.outbox;
            let made = outbox.fan_out(&account, &subject, ordinal, &destinations, now);
            if bounded(made).await? {
                tracing::debug!(
                    account = %account,
                    subject = %subject,
                    kind = event.kind(),
                    destinations = destinations.len(),
                    "an event is told"
                );
            }
        }
        Ok(())
    }

    async fn destinations(&self, account: &Id, event: &Event) -> Result<Vec<String>, EventError> {
        let mut destinations: Vec<String> = self
            .settings
            .webhooks
            .iter()
            .filter(|webhook| webhook.accounts.is_empty() || webhook.accounts.contains(account))
            .map(|webhook| webhook_destination(&webhook.name))
            .collect();
        if self.mail.is_none() {
            return Ok(destinations);
        }
        let Some(matter) = self.matter(account, event).await? else {
            return Ok(destinations);
        };
        if !matter.may_be_mailed() {
            return Ok(destinations);
        }
        match self.recipients(account, matter).await {
            Ok(users) => {
                destinations.extend(users.iter().map(mail_destination));
                Ok(destinations)
            }
            // With their account everybody is gone who could be told.
            Err(ReadError::UnknownAccount(_)) => Ok(destinations),
            Err(error) => Err(error.into()),
        }
    }

    async fn recipients(&self, account: &Id, matter: Matter) -> Result<Vec<Id>, ReadError> {
        let consistency = Consistency::FullyConsistent;
        let read = self.around.graphs.read(account, &consistency).await?;
        let now = self.around.clock.now();
        // Judging many users takes a while, and the feed has its turn on this thread too.
        let recipients =
            tokio::task::spawn_blocking(move || matter.recipients(&read.graph, now)).await;
        let mut recipients = recipients.map_err(|panic| {
            tracing::error!(problem = %panic, "the judging of recipients ended in a panic");
            ReadError::Internal
        })?;
        if recipients.len() > MAILS_MAX {
            tracing::warn!(account = %account, recipients = recipients.len(), most = MAILS_MAX, "not everybody who is concerned gets mail");
            recipients.truncate(MAILS_MAX);
        }
        Ok(recipients)
    }
}
