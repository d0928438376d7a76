//! Who asks: a link or a session, and what the account says of the approver behind it.

use std::sync::Arc;
use std::time::Duration;

use super::acts::{stored, unreadable};
use super::answer::Refused;
use super::pages::FormFields;
use super::session::{Bearer, SESSION_TTL, Session, SessionError};
use super::{Console, Visit};
use crate::authz::access_request::{AccessRequest, RequestEvent, may_resolve};
use crate::authz::model::{Id, UserStatus};
use crate::graph_cache::{Consistency, ReadError, ReadGraph};
use crate::links::{Link, LinkError, Links};

/// Who asks, and by what it is known.
pub(super) enum Caller {
    Link { link: Link, token: String },
    Session(Session),
}

impl Caller {
    pub(super) fn approver(&self) -> &Id {
        match self {
            Self::Link { link, .. } => &link.approver,
            Self::Session(session) => &session.approver,
        }
    }

    pub(super) fn bearer(&self) -> Bearer<'_> {
        match self {
            Self::Link { link, .. } => Bearer::Link(link),
            Self::Session(session) => Bearer::Session(session),
        }
    }

    /// The hidden fields of the forms that are shown to it.
    pub(super) fn form(&self, visit: &Visit, request: Option<&Id>) -> FormFields {
        let (token, request) = match self {
            Self::Link { link, token } => (Some(token.clone()), Some(&link.request)),
            Self::Session(_) => (None, request),
        };
        FormFields {
            mark: visit.sessions().mark(self.bearer()),
            token,
            request: request.map(ToString::to_string).unwrap_or_default(),
            lang: visit.t.code().to_owned(),
        }
    }
}

/// A request as its page needs it.
pub(super) struct Found {
    pub(super) read: Arc<ReadGraph>,
    pub(super) request: AccessRequest,
    pub(super) events: Vec<RequestEvent>,
}

impl Console {
    pub(super) fn session(&self, visit: &Visit) -> Result<Session, Refused> {
        let mut refused = Refused::Denied;
        for cookie in self.parts.site.cookies(&visit.headers) {
            match visit.sessions().decode(cookie, visit.now) {
                Ok(session) => return Ok(session),
                Err(SessionError::Expired) => refused = Refused::SessionExpired,
                Err(SessionError::Invalid) => {}
            }
        }
        Err(refused)
    }

    pub(super) fn link(visit: &Visit, request: &Id, token: &str) -> Result<Link, Refused> {
        let account = &visit.address.account;
        // How long a link is good for, it says itself; where links lead, nobody asks here.
        Links::new(visit.token_key, "", Duration::ZERO)
            .read(account, request, token, visit.now)
            .map_err(|error| match error {
                LinkError::Expired => Refused::LinkExpired,
                LinkError::Invalid => Refused::LinkInvalid,
            })
    }

    pub(super) async fn refuse_spent(&self, visit: &Visit, link: &Link) -> Result<(), Refused> {
        let spent = self
            .parts
            .store
            .is_link_spent(&visit.address.account, link.id)
            .await
            .map_err(stored)?;
        if spent {
            Err(Refused::LinkUsed)
        } else {
            Ok(())
        }
    }

    /// Makes a link's bearer one with a session, and answers the cookie of it.
    pub(super) async fn spend(
        &self,
        visit: &Visit,
        caller: Caller,
    ) -> Result<(Caller, Option<String>), Refused> {
        let link = match caller {
            Caller::Session(_) => return Ok((caller, None)),
            Caller::Link { link, .. } => link,
        };
        let first = self
            .parts
            .store
            .spend_link(&visit.address.account, link.id, link.expires_at, visit.now)
            .await
            .map_err(stored)?;
        if !first {
            return Err(Refused::LinkUsed);
        }
        let session = visit.sessions().open(&link, visit.now);
        let cookie = self.parts.site.set_cookie(
            &visit.address,
            &visit.sessions().encode(&session),
            SESSION_TTL.as_secs(),
        );
        Ok((Caller::Session(session), Some(cookie)))
    }

    /// The account, if the approver is an active user of it.
    pub(super) async fn active(
        &self,
        visit: &Visit,
        approver: &Id,
    ) -> Result<Arc<ReadGraph>, Refused> {
        let consistency = Consistency::MinimizeLatency;
        let account = &visit.address.account;
        let read = self.parts.graphs.read(account, &consistency).await;
        let read = read.map_err(|error| unreadable(&error))?;
        let user = read.graph.user(approver.as_str());
        match user {
            Some(user) if user.status == UserStatus::Active => Ok(read),
            Some(_) | None => Err(Refused::NotApprover),
        }
    }

    /// The request, if it is of the address, and the caller may resolve it now.
    pub(super) async fn find(
        &self,
        visit: &Visit,
        id: &Id,
        caller: &Caller,
        consistency: &Consistency,
    ) -> Result<Found, Refused> {
        let account = &visit.address.account;
        let graphs = &self.parts.graphs;
        let read = match graphs.read(account, consistency).await {
            // A revision of another database, in an address that was kept.
            Err(ReadError::Revision(_)) => {
                graphs.read(account, &Consistency::MinimizeLatency).await
            }
            read => read,
        };
        let read = read.map_err(|error| unreadable(&error))?;
        let store = &self.parts.store;
        let request = store.access_request(account, id).await.map_err(stored)?;
        let request = request.ok_or(Refused::Gone)?;
        if visit.address.user.as_ref() != Some(&request.user) {
            return Err(Refused::NotFound);
        }
        may_resolve(&read.graph, &request, caller.approver(), visit.now)
            .map_err(|_refusal| Refused::NotApprover)?;
        let events = store.access_request_events(account, id).await;
        Ok(Found {
            read,
            request,
            events: events.map_err(stored)?,
        })
    }
}
