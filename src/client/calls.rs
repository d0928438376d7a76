//! How a call travels: to which server, with which credential, how long, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::FixedState;
use std::hash::BuildHasher as _;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tower::retry::backoff::Backoff as _;

use crate::clock::{Clock, SystemClock};
use crate::grpc::wire;
use crate::grpc::wire::access_request_service_client::AccessRequestServiceClient;
use crate::grpc::wire::consistency::Requirement;
use crate::grpc::wire::decision_service_client::DecisionServiceClient;
use crate::grpc::wire::directory_service_client::DirectoryServiceClient;
use crate::grpc::wire::partner_service_client::PartnerServiceClient;

use super::credential::Credential;
use super::error::ClientError;
use super::retry::{Repeat, Retries};
use super::{Client, Consistency};

/// Largest message that is taken from a server. Its chunks have about 64 KiB; a batch of 10,000
/// answers has under 4 MiB.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a server that failed is tried only after the others.
const REST: Duration = Duration::from_secs(1);

/// What all clones of a client share.
#[derive(Debug)]
pub struct Shared {
    pub endpoints: Vec<Endpoint>,
    pub credential: Option<Arc<dyn Credential>>,
    pub retries: Retries,
    pub clock: SystemClock,
}

/// One server.
#[derive(Debug)]
pub struct Endpoint {
    url: String,
    channel: Channel,
    /// On the client's clock, in milliseconds.
    rests_until: AtomicU64,
}

impl Endpoint {
    pub fn new(url: String, channel: Channel) -> Self {
        Self {
            url,
            channel,
            rests_until: AtomicU64::new(0),
        }
    }
}

/// One try of a call.
#[derive(Debug)]
pub struct Attempt {
    channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
    /// What is left of the call's time; the server is told.
    time_left: Duration,
}

impl Attempt {
    pub fn decisions(&self) -> DecisionServiceClient<Channel> {
        DecisionServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn directory(&self) -> DirectoryServiceClient<Channel> {
        DirectoryServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn access_requests(&self) -> AccessRequestServiceClient<Channel> {
        AccessRequestServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn partners(&self) -> PartnerServiceClient<Channel> {
        PartnerServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// A request that ends with the call's time.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = self.unlimited(message);
        request.set_timeout(self.time_left);
        request
    }

    /// A request that may go on after its first answer, as a list does.
    pub fn unlimited<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(authorization) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", authorization.clone());
        }
        request
    }
}

impl Client {
    /// Makes a call about an account, as often as is safe and needed, within its time.
    pub(super) async fn call<Answer, Sent>(
        &self,
        account: &str,
        repeat: Repeat,
        send: impl Fn(Attempt) -> Sent,
    ) -> Result<Answer, ClientError>
    where
        Sent: Future<Output = Result<Response<Answer>, Status>>,
    {
        let shared = &self.shared;
        let ends = shared.clock.monotonic() + self.deadline;
        let tried = self.try_until(ends, account, repeat, send);
        match tokio::time::timeout(self.deadline, tried).await {
            Ok(answered) => answered,
            Err(_over) => Err(ClientError::Timeout(self.deadline)),
        }
    }

    async fn try_until<Answer, Sent>(
        &self,
        ends: Duration,
        account: &str,
        repeat: Repeat,
        send: impl Fn(Attempt) -> Sent,
    ) -> Result<Answer, ClientError>
    where
        Sent: Future<Output = Result<Response<Answer>, Status>>,
    {
        let shared = &self.shared;
        shared.retries.called();
        let mut waits = shared.retries.waits();
        let mut refreshed = false;
        let mut tries: u32 = 0;
        loop {
            let order = shared.order(account);
            let Some(endpoint) = order.first() else {
                return Err(ClientError::Configuration("there is no server".to_owned()));
            };
            tries += 1;
            let left = ends.saturating_sub(shared.clock.monotonic());
            let attempt = Attempt {
                channel: endpoint.channel.clone(),
                authorization: shared.authorization().await?,
                time_left: left,
            };
            let error = match send(attempt).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => ClientError::of_status(&status, self.deadline),
            };
            if is_unauthenticated(&error) && shared.refresh() {
                // The token may have been exchanged a moment ago; nothing was carried out.
                if !std::mem::replace(&mut refreshed, true) && repeat == Repeat::Safe {
                    continue;
                }
                return Err(error);
            }
            let others_stand_in = shared.rest(endpoint, &error);
            if !shared.retries.again(&error, repeat, tries) {
                return Err(error);
            }
            let asked = match &error {
                ClientError::Refused(refusal) => refusal.retry_after,
                ClientError::Configuration(_)
                | ClientError::Credential(_)
                | ClientError::Unreachable(_)
                | ClientError::Timeout(_)
                | ClientError::Unreadable(_) => None,
            };
            let wait = waits.next_backoff();
            if asked.is_none() && others_stand_in {
                continue;
            }
            let until = later(wait.deadline(), asked, &shared.clock, ends);
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                // The time is over before the next try could begin, so this is the answer.
                None => return Err(error),
            }
        }
    }

    /// What a question about an account asks for, the session taken into account.
    pub(super) fn asked_consistency(
        &self,
        account: &str,
    ) -> Result<Option<wire::Consistency>, ClientError> {
        let met = match &self.session {
            Some(session) => {
                if let Consistency::AtLeastAsFresh(revision) = &self.consistency {
                    session.saw(account, revision)?;
                }
                session.revision(account)
            }
            None => None,
        };
        let requirement = match (&self.consistency, met) {
            (Consistency::FullyConsistent, _) => Requirement::FullyConsistent(true),
            (_, Some(revision)) => Requirement::AtLeastAsFresh(revision),
            (Consistency::AtLeastAsFresh(revision), None) => {
                Requirement::AtLeastAsFresh(revision.clone())
            }
            (Consistency::MinimizeLatency, None) => return Ok(None),
        };
        Ok(Some(wire::Consistency {
            requirement: Some(requirement),
        }))
    }

    /// Remembers the revision of an answer.
    pub(super) fn saw(&self, account: &str, revision: &str) -> Result<(), ClientError> {
        match &self.session {
            Some(session) => session.saw(account, revision),
            None => Ok(()),
        }
    }

    /// A question: asked with what the session has met, which is forgotten where the server has
    /// another history since. That is told once, as an error, and not asked around.
    pub(super) async fn ask<Answer, Sent>(
        &self,
        account: &str,
        send: impl Fn(Attempt, Option<wire::Consistency>) -> Sent,
    ) -> Result<Answer, ClientError>
    where
        Sent: Future<Output = Result<Response<Answer>, Status>>,
    {
        let consistency = self.asked_consistency(account)?;
        let answered = self
            .call(account, Repeat::Safe, |attempt| {
                send(attempt, consistency.clone())
            })
            .await;
        if let (Err(error), Some(session)) = (&answered, &self.session)
            && matches!(
                error.reason(),
                Some("REVISION_OF_ANOTHER_HISTORY" | "REVISION_NOT_REACHED")
            )
            && let Some(Requirement::AtLeastAsFresh(revision)) =
                consistency.and_then(|consistency| consistency.requirement)
        {
            session.forget(account, &revision);
        }
        answered
    }
}

impl Shared {
    /// The servers in the order in which this account tries them: its home first, those that failed
    /// a moment ago last.
    fn order(&self, account: &str) -> Vec<&Endpoint> {
        let now = self.now_ms();
        let mut order: Vec<&Endpoint> = self.endpoints.iter().collect();
        if order.len() > 1 {
            let hasher = FixedState::default();
            order.sort_by_cached_key(|endpoint| {
                let rests = endpoint.rests_until.load(Ordering::Relaxed);
                let rests = if rests > now { rests } else { 0 };
                (rests, hasher.hash_one((account, &endpoint.url)))
            });
        }
        order
    }

    /// Lets a server rest that can't answer just now; whether another one is awake.
    fn rest(&self, endpoint: &Endpoint, error: &ClientError) -> bool {
        let fails = match error {
            ClientError::Unreachable(_) => true,
            ClientError::Refused(refusal) => refusal.code == Code::Unavailable,
            ClientError::Configuration(_)
            | ClientError::Credential(_)
            | ClientError::Timeout(_)
            | ClientError::Unreadable(_) => false,
        };
        if !fails || self.endpoints.len() == 1 {
            return false;
        }
        let now = self.now_ms();
        let until = now.saturating_add(u64::try_from(REST.as_millis()).unwrap_or(u64::MAX));
        endpoint.rests_until.store(until, Ordering::Relaxed);
        self.endpoints
            .iter()
            .any(|other| other.rests_until.load(Ordering::Relaxed) <= now)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    async fn authorization(&self) -> Result<Option<MetadataValue<Ascii>>, ClientError> {
        let Some(credential) = &self.credential else {
            return Ok(None);
        };
        let token = credential.token().await.map_err(ClientError::Credential)?;
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| {
            ClientError::Credential("the token has characters that no header can carry".to_owned())
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Makes the credential anew; whether there is one.
    fn refresh(&self) -> bool {
        match &self.credential {
            Some(credential) => {
                credential.refused();
                true
            }
            None => false,
        }
    }
}

fn is_unauthenticated(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(refusal) if refusal.code == Code::Unauthenticated)
}

/// When the next try begins: after our own wait and not before the server asked for it. `None` where
/// the call's time is over by then.
fn later(
    wait: Instant,
    asked: Option<Duration>,
    clock: &SystemClock,
    ends: Duration,
) -> Option<Instant> {
    let left = ends.saturating_sub(clock.monotonic());
    // A sleep that is made and dropped tells the present moment of the timer without a second clock.
    let now = tokio::time::sleep(Duration::ZERO).deadline();
    let until = match asked {
        Some(asked) => wait.max(now.checked_add(asked)?),
        None => wait,
    };
    (until < now.checked_add(left)?).then_some(until)
}
