//! From an event to those who are told of it.

use super::delivery::{mail_destination, webhook_destination};
use super::{Inner, PassError, bounded};
use crate::authz::access_request::{
    AccessRequest, RequestEvent, RequestEventKind, RequestState, approvers,
};
use crate::authz::model::Id;
use crate::graph_cache::{Consistency, ReadError};

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
            let made = self.around.outbox.fan_out(
                &account,
                &event.request,
                event.ordinal,
                &destinations,
                now,
            );
            if bounded(made).await? {
                tracing::debug!(
                    account = %account,
                    request = %event.request,
                    kind = %event.kind,
                    destinations = destinations.len(),
                    "an event is told"
                );
            }
        }
        Ok(())
    }

    async fn destinations(
        &self,
        account: &Id,
        event: &RequestEvent,
    ) -> Result<Vec<String>, EventError> {
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
        let store = &self.around.store;
        let Some(request) = bounded(store.access_request(account, &event.request)).await? else {
            return Ok(destinations);
        };
        match self.recipients(account, &request, event).await {
            Ok(users) => {
                destinations.extend(users.iter().map(mail_destination));
                Ok(destinations)
            }
            // With their account everybody is gone who could be told.
            Err(ReadError::UnknownAccount(_)) => Ok(destinations),
            Err(error) => Err(error.into()),
        }
    }

    /// Users with an address, for whom the event is news.
    async fn recipients(
        &self,
        account: &Id,
        request: &AccessRequest,
        event: &RequestEvent,
    ) -> Result<Vec<Id>, ReadError> {
        let is_filing = event.kind == RequestEventKind::Filed;
        if is_filing && request.state != RequestState::Pending {
            return Ok(Vec::new());
        }
        if !is_filing && event.actor.as_ref() == Some(&request.user) {
            return Ok(Vec::new());
        }
        let consistency = Consistency::FullyConsistent;
        let read = self.around.graphs.read(account, &consistency).await?;
        let (request, now) = (request.clone(), self.around.clock.now());
        // Judging many users takes a while, and the feed has its turn on this thread too.
        let recipients = tokio::task::spawn_blocking(move || {
            let users = if is_filing {
                approvers(&read.graph, &request, now)
            } else {
                vec![request.user]
            };
            let has_address = |user: &Id| {
                let user = read.graph.user(user.as_str());
                user.is_some_and(|user| user.email.is_some())
            };
            users.into_iter().filter(has_address).collect::<Vec<Id>>()
        });
        let mut recipients = recipients.await.map_err(|panic| {
            tracing::error!(problem = %panic, "the judging of approvers ended in a panic");
            ReadError::Internal
        })?;
        if recipients.len() > MAILS_MAX {
            tracing::warn!(account = %account, approvers = recipients.len(), most = MAILS_MAX, "not every approver gets mail");
            recipients.truncate(MAILS_MAX);
        }
        Ok(recipients)
    }
}
