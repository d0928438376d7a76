//! The end of a partnership, by either side: all of the agency's users in the client are
//! PARTNERSHIP_INACTIVE from the commit on, by one transaction in the client's account.

use std::sync::Arc;

use async_trait::async_trait;

use super::links::of;
use super::news::Happening;
use super::{PartnerError, Partners, accounts};
use crate::authz::model::Id;
use crate::authz::partner_event::PartnerEventKind;
use crate::authz::partnership::{end, require_admin, require_approver, require_management};
use crate::directory::{AccountWrite, PlannedAcross, PlanningAcross, Present, entity_changes};
use crate::revision::RevisionToken;
use crate::store::audit::Author;

/// Who ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// A user of the client, who lets people in and out.
    Client(Id),
    /// A user of the agency, who manages its people and is partner admin in the client (D2).
    Agency(Id),
}

#[derive(Debug, Clone)]
pub struct EndPartnership {
    pub client: Id,
    pub agency: Id,
    pub by: Side,
    /// Who asks for it, for the audit.
    pub author: Author,
}

#[derive(Debug, Clone)]
pub struct Ended {
    /// Users whose partnership it ended; none where it had ended before.
    pub users: u64,
    /// The client's revision.
    pub token: RevisionToken,
}

impl Partners {
    pub async fn end_partnership(&self, request: EndPartnership) -> Result<Ended, PartnerError> {
        let planning = PlanEnd {
            partners: self,
            request: &request,
        };
        let both = accounts([&request.client, &request.agency]);
        let store = self.store.as_ref();
        let written = self.directory.write_across(store, &both, &planning).await?;
        self.written.notify_one();
        Ok(Ended {
            users: written.told,
            token: self.token(&request.client, written.heads.get(&request.client))?,
        })
    }
}

struct PlanEnd<'a> {
    partners: &'a Partners,
    request: &'a EndPartnership,
}

#[async_trait]
impl PlanningAcross for PlanEnd<'_> {
    type Told = u64;
    type Error = PartnerError;

    async fn plan(&self, present: &Present) -> Result<PlannedAcross<u64>, PartnerError> {
        let Self { partners, request } = self;
        let now = partners.clock.now();
        let actor = match &request.by {
            Side::Client(user) => {
                let client = of(present, &request.client)?;
                require_approver(&client.graph, user, now)?;
                user.clone()
            }
            Side::Agency(user) => {
                let agency = of(present, &request.agency)?;
                require_management(&agency.graph, user, now)?;
                let client = present
                    .get(&request.client)
                    .ok_or_else(|| PartnerError::NoSuchCounterpart(request.client.clone()))?;
                let admin = require_admin(&client.graph, &request.agency, user)?;
                admin.id.clone()
            }
        };
        let client = Arc::clone(of(present, &request.client)?);
        let agency = request.agency.clone();
        let work = move || {
            let changes = end(&client.graph, &agency)?;
            let users = u64::try_from(changes.len()).unwrap_or(u64::MAX);
            let changes = entity_changes(&client.graph, &changes)?;
            Ok::<_, PartnerError>((users, changes))
        };
        let graphs = partners.directory.graphs();
        let (users, changes) = graphs.compute(&request.client, work).await??;
        let mut writes = Vec::new();
        let mut news = Vec::new();
        if users > 0 {
            let kind = PartnerEventKind::PartnershipEnded;
            let happening = Happening {
                client_actor: Some(&actor),
                agency_actor: match &request.by {
                    Side::Client(_) => None,
                    Side::Agency(user) => Some(user),
                },
                ..Happening::new(&request.agency, &request.client, kind, now)
            };
            let [in_agency, in_client] = happening.news();
            news.push(in_client);
            writes.push(AccountWrite {
                account: request.client.clone(),
                changes,
                author: request.author.clone().for_actor(Some(actor)),
            });
            // An agency that is gone doesn't keep a client from ending it.
            let is_there = present.contains_key(&request.agency);
            if is_there && request.agency != request.client {
                news.push(in_agency);
                writes.push(AccountWrite {
                    account: request.agency.clone(),
                    changes: Vec::new(),
                    author: request.author.clone(),
                });
            }
        }
        Ok(PlannedAcross {
            writes,
            link: None,
            news,
            told: users,
        })
    }
}
