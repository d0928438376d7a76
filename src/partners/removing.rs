//! Taking somebody of an agency out of clients (S4.18, S4.20-S4.22, D6, D7): reviewed first, then
//! confirmed with what was reviewed, in all of the clients or in none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::links::of;
use super::news::{Happening, person};
use super::{PartnerError, Partners};
use crate::authz::delegation::removal::{Facts, Removal, facts, removed};
use crate::authz::model::{EntityChange, Id, Timestamp};
use crate::authz::partner_event::PartnerEventKind;
use crate::authz::partnership::{PartnerRefusal, require_admin, require_management};
use crate::directory::{AccountWrite, PlannedAcross, PlanningAcross, Present, entity_changes};
use crate::graph_cache::ReadGraph;
use crate::revision::RevisionToken;
use crate::store::audit::Author;

/// Whom to take out, and of which clients.
#[derive(Debug, Clone)]
pub struct RemovalOf {
    pub agency: Id,
    pub actor: Id,
    pub partner_user: Id,
    /// `None`: all clients that they are a user of.
    pub clients: Option<BTreeSet<Id>>,
    /// Of all accounts, those that the caller may name; `None`: all.
    pub visible: Option<BTreeSet<Id>>,
}

/// What would be touched, client by client.
#[derive(Debug)]
pub struct PreviewedRemoval {
    pub clients: BTreeMap<Id, Facts>,
    /// What a commit confirms.
    pub token: String,
}

/// What becomes of what the user owns and is assigned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// This user of the agency takes over, in each client.
    Reassign(Id),
    Unassign,
}

#[derive(Debug, Clone)]
pub struct CommitRemoval {
    pub of: RemovalOf,
    /// Of the preview.
    pub token: String,
    pub resolution: Resolution,
    /// Leaves out the clients where something stands in the way.
    pub skip_blocked: bool,
    pub author: Author,
}

#[derive(Debug, Clone)]
pub struct RemovedFrom {
    pub client: Id,
    /// Who they were there.
    pub user: Id,
    /// Why it was left out; `None`: it is done.
    pub skipped: Option<PartnerRefusal>,
    pub token: RevisionToken,
}

impl Partners {
    pub async fn preview_removal(
        &self,
        removal: RemovalOf,
    ) -> Result<PreviewedRemoval, PartnerError> {
        let now = self.clock.now();
        let agency = self.read(&removal.agency).await?;
        require_management(&agency.graph, &removal.actor, now)?;
        let mut present = Present::new();
        for client in self.clients_meant(&removal).await? {
            match self.directory.present(&client).await? {
                Some(read) => present.insert(client, read),
                None => return Err(PartnerError::NoSuchCounterpart(client)),
            };
        }
        let clients = self.facts_of(&removal, &present, now).await?;
        Ok(PreviewedRemoval {
            token: token(&removal, &clients),
            clients,
        })
    }

    pub async fn commit_removal(
        &self,
        request: CommitRemoval,
    ) -> Result<Vec<RemovedFrom>, PartnerError> {
        let clients = self.clients_meant(&request.of).await?;
        let mut all = clients.clone();
        all.insert(request.of.agency.clone());
        let planning = PlanRemoval {
            partners: self,
            request: &request,
            clients: &clients,
        };
        let store = self.store.as_ref();
        let written = self.directory.write_across(store, &all, &planning).await?;
        self.written.notify_one();
        let mut told = Vec::new();
        for (client, user, skipped) in written.told {
            let token = self.token(&client, written.heads.get(&client))?;
            told.push(RemovedFrom {
                client,
                user,
                skipped,
                token,
            });
        }
        Ok(told)
    }

    async fn clients_meant(&self, removal: &RemovalOf) -> Result<BTreeSet<Id>, PartnerError> {
        let (named, visible) = (removal.clients.as_ref(), removal.visible.as_ref());
        let (agency, person) = (&removal.agency, &removal.partner_user);
        self.clients_of(agency, person, named, visible).await
    }

    /// What is to be reviewed, of the accounts but the agency's.
    async fn facts_of(
        &self,
        removal: &RemovalOf,
        present: &Present,
        now: Timestamp,
    ) -> Result<BTreeMap<Id, Facts>, PartnerError> {
        let mut found = BTreeMap::new();
        for (client, read) in present {
            if *client == removal.agency {
                continue;
            }
            let (read, asked) = (Arc::clone(read), removal.clone());
            let work = move || facts(&read.graph, &asked.at(now));
            let graphs = self.directory.graphs();
            let facts = graphs.compute(&removal.agency, work).await?;
            let facts = facts.ok_or_else(|| PartnerError::In {
                client: client.clone(),
                refusal: PartnerRefusal::NotStaff(removal.partner_user.clone()),
            })?;
            found.insert(client.clone(), facts);
        }
        match found.is_empty() {
            true => Err(PartnerRefusal::NotStaff(removal.partner_user.clone()).into()),
            false => Ok(found),
        }
    }
}

impl RemovalOf {
    fn at(&self, now: Timestamp) -> Removal<'_> {
        Removal {
            agency: &self.agency,
            actor: &self.actor,
            partner_user: &self.partner_user,
            now,
        }
    }
}

/// A digest of what was reviewed: whom, where, as what, and all that it touches. What else changes in a
/// client in between doesn't matter to it.
fn token(removal: &RemovalOf, clients: &BTreeMap<Id, Facts>) -> String {
    let mut digest = Sha256::new();
    let mut add = |text: &str| {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        digest.update(bytes.to_be_bytes());
        digest.update(text);
    };
    for id in [&removal.agency, &removal.actor, &removal.partner_user] {
        add(id.as_str());
    }
    for (client, facts) in clients {
        add(client.as_str());
        add(facts.user.as_str());
        add(facts.role.map_or("", |role| role.as_str()));
        add(facts.status.as_str());
        add(&facts.pending_requests.to_string());
        add(&facts
            .blocker
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default());
        for (resource_type, ids) in &facts.owned {
            add(resource_type.as_str());
            add(&ids.len().to_string());
            ids.iter().for_each(|id| add(id.as_str()));
        }
        for keys in [&facts.assigned, &facts.orphans] {
            add(&keys.len().to_string());
            for key in keys {
                add(key.resource_type.as_str());
                add(key.id.as_str());
            }
        }
    }
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

struct PlanRemoval<'a> {
    partners: &'a Partners,
    request: &'a CommitRemoval,
    clients: &'a BTreeSet<Id>,
}

#[async_trait]
impl PlanningAcross for PlanRemoval<'_> {
    type Told = Vec<(Id, Id, Option<PartnerRefusal>)>;
    type Error = PartnerError;

    async fn plan(&self, present: &Present) -> Result<PlannedAcross<Self::Told>, PartnerError> {
        let Self {
            partners,
            request,
            clients,
        } = self;
        let now = partners.clock.now();
        let removal = &request.of;
        let agency = of(present, &removal.agency)?;
        require_management(&agency.graph, &removal.actor, now)?;
        // A client that they came to, or that is gone, since the call began.
        if partners.clients_meant(removal).await? != **clients {
            return Err(PartnerError::PreviewStale);
        }
        if let Some(gone) = clients.iter().find(|client| !present.contains_key(*client)) {
            return Err(PartnerError::NoSuchCounterpart(gone.clone()));
        }
        let reviewed = partners.facts_of(removal, present, now).await;
        let reviewed = match reviewed {
            Ok(reviewed) => reviewed,
            // Somebody else took them out.
            Err(PartnerError::Refusal(_) | PartnerError::In { .. }) => {
                return Err(PartnerError::PreviewStale);
            }
            Err(error) => return Err(error),
        };
        if token(removal, &reviewed) != request.token {
            return Err(PartnerError::PreviewStale);
        }
        let mut writes = Vec::new();
        let mut news = Vec::new();
        let mut told = Vec::new();
        for (client, facts) in reviewed {
            let user = facts.user.clone();
            if let Some(refusal) = facts.blocker.clone() {
                if !request.skip_blocked {
                    return Err(PartnerError::In { client, refusal });
                }
                told.push((client, user, Some(refusal)));
                continue;
            }
            let read = Arc::clone(of(present, &client)?);
            let person = read.graph.user(user.as_str()).and_then(person);
            let write = self.write(&client, read, facts, now).await?;
            let kind = PartnerEventKind::StaffRemoved;
            let happening = Happening {
                agency_actor: Some(&removal.actor),
                client_actor: write.author.actor(),
                person,
                ..Happening::new(&removal.agency, &client, kind, now)
            };
            news.extend(happening.news());
            writes.push(write);
            told.push((client, user, None));
        }
        if !writes.is_empty() {
            writes.push(AccountWrite {
                account: removal.agency.clone(),
                changes: Vec::new(),
                author: request.author.clone(),
            });
        }
        Ok(PlannedAcross {
            writes,
            link: None,
            news,
            told,
        })
    }
}

impl PlanRemoval<'_> {
    async fn write(
        &self,
        client: &Id,
        read: Arc<ReadGraph>,
        facts: Facts,
        now: Timestamp,
    ) -> Result<AccountWrite, PartnerError> {
        let (asked, resolution) = (self.request.of.clone(), self.request.resolution.clone());
        let work = move || -> Result<(Id, Vec<EntityChange>), PartnerError> {
            let heir = match &resolution {
                Resolution::Reassign(heir) => Some(heir),
                Resolution::Unassign => None,
            };
            let refused = |refusal| PartnerError::In {
                client: read.graph.account().id.clone(),
                refusal,
            };
            let removal = asked.at(now);
            let admin = require_admin(&read.graph, &asked.agency, &asked.actor).map_err(refused)?;
            let changes = removed(&read.graph, &removal, &facts, heir).map_err(refused)?;
            Ok((admin.id.clone(), entity_changes(&read.graph, &changes)?))
        };
        let graphs = self.partners.directory.graphs();
        let (actor, changes) = graphs.compute(client, work).await??;
        Ok(AccountWrite {
            account: client.clone(),
            changes,
            author: self.request.author.clone().for_actor(Some(actor)),
        })
    }
}
