//! What an event is about, and what is said of it: to whom, in a webhook and in a mail.

use std::sync::Arc;

use super::letter::{self, Letter, Words};
use super::message::{LinkMaker, Told};
use super::{cloud_event, partner};
use crate::authz::access_request::{
    AccessRequest, RequestEvent, RequestEventKind, RequestState, approvers, may_resolve,
};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Timestamp};
use crate::authz::partner_event::PartnerEvent;
use crate::links::Links;
use crate::randomness::Randomness;

/// Why there is nothing to send.
pub(super) enum Unsent {
    /// For now.
    Failed(String),
    /// For good.
    GivenUp(String),
}

/// An event with what is known of its subject now.
pub(super) enum Matter {
    Request(Box<AccessRequest>, RequestEvent),
    Partner(PartnerEvent),
}

/// What a message is written with.
pub(super) struct Writing {
    pub(super) links: Links,
    pub(super) randomness: Arc<dyn Randomness>,
    pub(super) now: Timestamp,
}

impl Matter {
    /// Whether there may be anybody who gets mail about it, whoever that is.
    pub(super) fn may_be_mailed(&self) -> bool {
        match self {
            Self::Request(request, event) if event.kind == RequestEventKind::Filed => {
                request.state == RequestState::Pending
            }
            Self::Request(request, event) => event.actor.as_ref() != Some(&request.user),
            Self::Partner(event) => partner::may_be_mailed(event),
        }
    }

    /// Users with an address, for whom the event is news; judged on a graph at least as fresh as the
    /// event.
    pub(super) fn recipients(&self, graph: &AccountGraph, now: Timestamp) -> Vec<Id> {
        let users = match self {
            Self::Request(request, event) if event.kind == RequestEventKind::Filed => {
                approvers(graph, request, now)
            }
            Self::Request(request, _) => vec![request.user.clone()],
            Self::Partner(event) => partner::recipients(graph, event, now),
        };
        let has_address = |user: &Id| {
            let user = graph.user(user.as_str());
            user.is_some_and(|user| user.email.is_some())
        };
        users.into_iter().filter(has_address).collect()
    }

    /// The body of a webhook, under the id that the message has.
    pub(super) fn body(
        self,
        graph: &AccountGraph,
        id: &str,
        writing: &Writing,
    ) -> Result<Vec<u8>, Unsent> {
        let body = match self {
            Self::Request(request, event) => {
                let told = Told::gather(graph, *request, event, writing.now);
                let maker = LinkMaker {
                    links: &writing.links,
                    randomness: writing.randomness.as_ref(),
                };
                let approvers = maker
                    .approvers(graph, &told, writing.now)
                    .map_err(|error| Unsent::Failed(error.to_string()))?;
                cloud_event::of_request(&told, &approvers, id, &writing.links)
            }
            Self::Partner(event) => cloud_event::of_partner(&event, id, &writing.links),
        };
        body.map_err(|error| Unsent::GivenUp(format!("it can't be written: {error}")))
    }

    /// The mail to a user, where it is news for them still.
    pub(super) fn letter(
        self,
        graph: &AccountGraph,
        user: Id,
        words: &Words,
        writing: &Writing,
    ) -> Result<Letter, Unsent> {
        let no_news = || Unsent::GivenUp("it is no news for this user (any more)".to_owned());
        let now = writing.now;
        let (request, event) = match self {
            Self::Request(request, event) => (request, event),
            Self::Partner(event) => {
                let is_told = partner::is_told(graph, &event, &user, now);
                let letter = letter::of_partner(words, &event).filter(|_| is_told);
                return letter.ok_or_else(no_news);
            }
        };
        let told = Told::gather(graph, *request, event, now);
        if told.event.kind != RequestEventKind::Filed {
            let is_theirs = told.request.user == user;
            let letter = letter::to_requester(words, &told).filter(|_| is_theirs);
            return letter.ok_or_else(no_news);
        }
        if told.request.state != RequestState::Pending {
            let state = told.request.state;
            return Err(Unsent::GivenUp(format!("the request is {state} meanwhile")));
        }
        may_resolve(graph, &told.request, &user, now).map_err(|_refusal| {
            Unsent::GivenUp("the user may not decide this request (any more)".to_owned())
        })?;
        let maker = LinkMaker {
            links: &writing.links,
            randomness: writing.randomness.as_ref(),
        };
        let approver = maker
            .approver(graph, &told, user, now)
            .map_err(|error| Unsent::Failed(error.to_string()))?;
        let until = writing.links.expiry(now);
        Ok(letter::to_approver(words, &told, &approver, until))
    }
}
