//! Personal access links (S4.4-S4.6, D1): ISSUED -> APPROVED, once a client, or REVOKED.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::news::Happening;
use super::{LinkText, PartnerError, Partners, accounts};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, PartnerRole, Timestamp, User};
use crate::authz::partner_event::{PartnerEventKind, PartnerPerson};
use crate::authz::partnership::{
    self, LetIn, PartnerRefusal, let_in, require_approver, require_management, require_partner,
};
use crate::directory::{
    AccountWrite, DirectoryError, PlannedAcross, PlanningAcross, Present, entity_changes,
};
use crate::graph_cache::{ReadError, ReadGraph};
use crate::revision::RevisionToken;
use crate::store::audit::Author;
use crate::store::partners::{AccessLink, LinkApproval, LinkEvent, LinkStep, ListedLink};

/// How long a link may be approved (D1: 30 days), in microseconds.
pub const LINK_TTL_MICROS: i64 = 30 * 24 * 60 * 60 * 1_000_000;

/// A link that was just made, with the only sight of its text.
#[derive(Debug)]
pub struct NewLink {
    pub link: AccessLink,
    pub text: LinkText,
}

/// What a client's admin approves.
#[derive(Debug, Clone)]
pub struct ApproveLink {
    pub client: Id,
    /// The client's user who approves.
    pub approver: Id,
    pub link: LinkText,
    /// The id that the agency's user is to have in the client; `None`: one that fits.
    pub user: Option<Id>,
    /// Who asks for it, for the audit.
    pub author: Author,
}

#[derive(Debug, Clone)]
pub struct ApprovedLink {
    /// Who the agency's user is in the client.
    pub user: Id,
    /// The client approved the link before; nothing was written.
    pub already: bool,
    /// The client's revision.
    pub token: RevisionToken,
}

impl Partners {
    /// Makes a personal link of the user who asks.
    pub async fn create_link(
        &self,
        agency: &Id,
        actor: &Id,
        author: Author,
    ) -> Result<NewLink, PartnerError> {
        let text = LinkText::make(agency, self.randomness.as_ref())?;
        let issued_at = self.clock.now();
        let expires_at = issued_at.unix_micros().saturating_add(LINK_TTL_MICROS);
        let link = AccessLink {
            id: text.link().clone(),
            user: actor.clone(),
            secret: text.hash(),
            issued_at,
            expires_at: Timestamp::from_unix_micros(expires_at).unwrap_or(Timestamp::MAX),
            revoked_at: None,
        };
        let planning = PlanLink {
            partners: self,
            agency,
            actor,
            event: LinkEvent::Issued(link.clone()),
            author,
        };
        let store = self.store.as_ref();
        self.directory
            .write_across(store, &accounts([agency]), &planning)
            .await?;
        Ok(NewLink { link, text })
    }

    /// Revokes a link of anybody of the agency; what was approved with it stays. One that is revoked
    /// already is left as it is.
    pub async fn revoke_link(
        &self,
        agency: &Id,
        link: &Id,
        actor: &Id,
        author: Author,
    ) -> Result<(), PartnerError> {
        let planning = PlanLink {
            partners: self,
            agency,
            actor,
            event: LinkEvent::Revoked {
                link: link.clone(),
                at: self.clock.now(),
            },
            author,
        };
        let store = self.store.as_ref();
        self.directory
            .write_across(store, &accounts([agency]), &planning)
            .await?;
        Ok(())
    }

    /// Links of an agency after an id, in byte order of ids, at most `limit`; of their approvals those
    /// of clients that the caller may name (`visible`; `None`: all).
    pub async fn links(
        &self,
        agency: &Id,
        actor: &Id,
        visible: Option<&BTreeSet<Id>>,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<ListedLink>, PartnerError> {
        let read = self.read(agency).await?;
        require_management(&read.graph, actor, self.clock.now())?;
        let links = self.store.access_links(agency, visible, after, limit);
        Ok(links.await?)
    }

    /// Lets the user of a link into a client (S4.5).
    pub async fn approve_link(&self, request: ApproveLink) -> Result<ApprovedLink, PartnerError> {
        let planning = PlanApproval {
            partners: self,
            request: &request,
        };
        let both = accounts([&request.client, request.link.agency()]);
        let store = self.store.as_ref();
        let written = self.directory.write_across(store, &both, &planning).await?;
        self.written.notify_one();
        let (user, already) = written.told;
        let token = self.token(&request.client, written.heads.get(&request.client))?;
        Ok(ApprovedLink {
            user,
            already,
            token,
        })
    }
}

/// A link that is made or revoked, in the agency's account alone.
struct PlanLink<'a> {
    partners: &'a Partners,
    agency: &'a Id,
    actor: &'a Id,
    event: LinkEvent,
    author: Author,
}

#[async_trait]
impl PlanningAcross for PlanLink<'_> {
    type Told = ();
    type Error = PartnerError;

    async fn plan(&self, present: &Present) -> Result<PlannedAcross<()>, PartnerError> {
        let read = of(present, self.agency)?;
        require_management(&read.graph, self.actor, self.partners.clock.now())?;
        let mut is_done = false;
        match &self.event {
            LinkEvent::Issued(_) => require_partner(&read.graph)?,
            LinkEvent::Revoked { link, .. } => {
                let stored = self.partners.store.access_link(self.agency, link).await?;
                let stored = stored.ok_or(PartnerRefusal::LinkNotFound)?;
                is_done = stored.revoked_at.is_some();
            }
            LinkEvent::Approved(_) => {}
        }
        let write = AccountWrite {
            account: self.agency.clone(),
            changes: Vec::new(),
            author: self.author.clone().for_actor(Some(self.actor.clone())),
        };
        let step = LinkStep {
            account: self.agency.clone(),
            event: self.event.clone(),
        };
        Ok(PlannedAcross {
            writes: if is_done { Vec::new() } else { vec![write] },
            link: Some(step).filter(|_| !is_done),
            news: Vec::new(),
            told: (),
        })
    }
}

struct PlanApproval<'a> {
    partners: &'a Partners,
    request: &'a ApproveLink,
}

#[async_trait]
impl PlanningAcross for PlanApproval<'_> {
    type Told = (Id, bool);
    type Error = PartnerError;

    async fn plan(&self, present: &Present) -> Result<PlannedAcross<(Id, bool)>, PartnerError> {
        let Self { partners, request } = self;
        let now = partners.clock.now();
        let client = of(present, &request.client)?;
        // First who asks: whoever approves nothing learns nothing of links.
        require_approver(&client.graph, &request.approver, now)?;
        let agency = request.link.agency();
        if *agency == request.client {
            return Err(PartnerRefusal::OwnClient.into());
        }
        let Some(agency_read) = present.get(agency) else {
            return Err(PartnerRefusal::LinkNotFound.into());
        };
        let link = self.link(agency).await?;
        let before = partners
            .store
            .link_approval(agency, &link.id, &request.client)
            .await?;
        if let Some(before) = before {
            // Read after the approval was, since one of before it would not have them in yet.
            let client = partners.read(&request.client).await?;
            if !partnership::stands(&client.graph, agency, &before.user) {
                return Err(PartnerRefusal::LinkUsed.into());
            }
            return Ok(PlannedAcross {
                writes: Vec::new(),
                link: None,
                news: Vec::new(),
                told: (before.user, true),
            });
        }
        check_link(&link, now)?;
        require_partner(&agency_read.graph)?;
        require_management(&agency_read.graph, &link.user, now)?;
        self.planned(client, agency_read, link, now).await
    }
}

impl PlanApproval<'_> {
    /// The link that the text names, if the text is the one that was given out.
    async fn link(&self, agency: &Id) -> Result<AccessLink, PartnerError> {
        let text = &self.request.link;
        let stored = self.partners.store.access_link(agency, text.link()).await?;
        let link = stored.filter(|link| link.secret.matches(&text.hash()));
        Ok(link.ok_or(PartnerRefusal::LinkNotFound)?)
    }

    async fn planned(
        &self,
        client: &Arc<ReadGraph>,
        agency: &Arc<ReadGraph>,
        link: AccessLink,
        now: Timestamp,
    ) -> Result<PlannedAcross<(Id, bool)>, PartnerError> {
        let request = self.request;
        let (in_client, in_agency) = (Arc::clone(client), Arc::clone(agency));
        let (person, named) = (link.user.clone(), request.user.clone());
        let approver = request.approver.clone();
        let work = move || {
            let agency = &in_agency.graph.account().id;
            let (user, change) = who(&in_agency.graph, &person).and_then(|partner_user| {
                let who = LetIn {
                    approver: &approver,
                    now,
                    agency,
                    partner_user,
                    user: named.as_ref(),
                };
                let_in(&in_client.graph, &who)
            })?;
            let changes = entity_changes(&in_client.graph, &[change])?;
            Ok::<_, PartnerError>((user, changes))
        };
        let graphs = self.partners.directory.graphs();
        let (user, changes) = graphs.compute(&request.client, work).await??;
        let agency = request.link.agency();
        let author = &request.author;
        let kind = PartnerEventKind::LinkApproved;
        let happening = Happening {
            client_actor: Some(&request.approver),
            person: Some(PartnerPerson {
                partner_user: link.user.clone(),
                client_user: user.clone(),
                role: PartnerRole::Admin,
            }),
            link: Some(&link.id),
            ..Happening::new(agency, &request.client, kind, now)
        };
        Ok(PlannedAcross {
            news: happening.news().into(),
            writes: vec![
                AccountWrite {
                    account: request.client.clone(),
                    changes,
                    author: author.clone().for_actor(Some(request.approver.clone())),
                },
                AccountWrite {
                    account: agency.clone(),
                    changes: Vec::new(),
                    author: author.clone(),
                },
            ],
            link: Some(LinkStep {
                account: agency.clone(),
                event: LinkEvent::Approved(LinkApproval {
                    link: link.id,
                    client: request.client.clone(),
                    user: user.clone(),
                    approved_by: request.approver.clone(),
                    approved_at: now,
                }),
            }),
            told: (user, false),
        })
    }
}

fn who<'g>(agency: &'g AccountGraph, person: &Id) -> Result<&'g User, PartnerRefusal> {
    agency
        .user(person.as_str())
        .ok_or_else(|| PartnerRefusal::NoPartnerManagement(person.clone()))
}

fn check_link(link: &AccessLink, now: Timestamp) -> Result<(), PartnerRefusal> {
    if let Some(revoked_at) = link.revoked_at {
        return Err(PartnerRefusal::LinkRevoked(revoked_at));
    }
    if now >= link.expires_at {
        return Err(PartnerRefusal::LinkExpired(link.expires_at));
    }
    Ok(())
}

/// The account of whoever acts.
pub(super) fn of<'a>(
    present: &'a Present,
    account: &Id,
) -> Result<&'a Arc<ReadGraph>, DirectoryError> {
    present
        .get(account)
        .ok_or_else(|| ReadError::UnknownAccount(account.clone()).into())
}
