//! An agency's people in a client: adding them with a permission set and changing it, under the
//! ceiling of the partner admin who asks (S4.13-S4.17); deactivating employees (D8); and one's own way
//! from super admin to partner admin (D10).

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::links::of;
use super::news::{Happening, person, placing};
use super::{CLIENTS_MAX, PartnerError, Partners, accounts};
use crate::authz::ceiling::Note;
use crate::authz::delegation::{Acting, Placed, Staff, change_set, migrate, place, set_status};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{
    Entity, EntityChange, EntityKey, Id, PartnerRole, Timestamp, UserKind, UserStatus,
};
use crate::authz::on_behalf::{CeilingReport, Noted};
use crate::authz::partner_event::{PartnerEventKind, PartnerNews, PartnerPerson};
use crate::authz::partnership::{
    PartnerRefusal, partner_users, require_admin, require_management, require_partner,
};
use crate::directory::{
    AccountWrite, DirectoryError, PlannedAcross, PlanningAcross, Present, entity_changes,
};
use crate::graph_cache::ReadGraph;
use crate::revision::RevisionToken;
use crate::store::audit::Author;
use crate::store::partners::PartnerUserFilter;

/// Who asks for something in a client, for an agency.
#[derive(Debug, Clone)]
pub struct Asking {
    pub agency: Id,
    pub client: Id,
    /// The user of the agency.
    pub actor: Id,
    /// Of all accounts, those that the caller may name; `None`: all.
    pub visible: Option<BTreeSet<Id>>,
    /// Who calls, for the audit.
    pub author: Author,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Staffing {
    /// People with the ids that they are to have in the client, where these are chosen (S4.13).
    Add {
        people: Vec<(Id, Option<Id>)>,
        set: Id,
    },
    /// A contractor of the agency, wherever they work for it already (S4.14).
    LinkContractor {
        person: Id,
        user: Option<Id>,
        set: Id,
    },
    /// S4.15.
    ChangeSet { person: Id, set: Id },
}

#[derive(Debug, Clone)]
pub struct Staffed {
    /// In the order in which they were named.
    pub placed: Vec<Placed>,
    /// The client's revision.
    pub token: RevisionToken,
}

impl Partners {
    /// Adds people to a client, or changes what they may there.
    pub async fn staff(&self, asking: Asking, staffing: Staffing) -> Result<Staffed, PartnerError> {
        let is_contractor = match &staffing {
            Staffing::LinkContractor { person, .. } => {
                self.works_as_contractor(&asking, person).await?
            }
            Staffing::Add { .. } | Staffing::ChangeSet { .. } => false,
        };
        let planning = PlanStaff {
            partners: self,
            asking: &asking,
            staffing: &staffing,
            is_contractor,
        };
        let both = accounts([&asking.client, &asking.agency]);
        let store = self.store.as_ref();
        let written = self.directory.write_across(store, &both, &planning).await?;
        self.written.notify_one();
        Ok(Staffed {
            placed: written.told,
            token: self.token(&asking.client, written.heads.get(&asking.client))?,
        })
    }

    /// Whether somebody is a contractor of the agency in a client that the caller may name.
    async fn works_as_contractor(
        &self,
        asking: &Asking,
        person: &Id,
    ) -> Result<bool, PartnerError> {
        let agency = &asking.agency;
        let filter = PartnerUserFilter {
            partner_user: Some(person),
            clients: asking.visible.as_ref(),
        };
        let known = self
            .store
            .partner_users(agency, filter, None, CLIENTS_MAX)
            .await?;
        Ok(known.iter().any(|one| one.role == PartnerRole::Contractor))
    }
}

struct PlanStaff<'a> {
    partners: &'a Partners,
    asking: &'a Asking,
    staffing: &'a Staffing,
    /// Of whom a link is asked for, in some client.
    is_contractor: bool,
}

#[async_trait]
impl PlanningAcross for PlanStaff<'_> {
    type Told = Vec<Placed>;
    type Error = PartnerError;

    async fn plan(&self, present: &Present) -> Result<PlannedAcross<Vec<Placed>>, PartnerError> {
        let Self {
            partners, asking, ..
        } = self;
        let now = partners.clock.now();
        let (agency, client) = both(present, asking, now)?;
        let staff = self.people(&agency.graph)?;
        let (work_asking, staffing) = (self.asking.clone(), self.staffing.clone());
        let work = move || placed(&client.graph, &work_asking, &staffing, &staff, now);
        let graphs = partners.directory.graphs();
        let planned = graphs.compute(&asking.client, work).await??;
        Ok(PlannedAcross {
            writes: writes(
                asking,
                planned.actor,
                planned.changes,
                &ceiling_of(&planned.placed),
            ),
            link: None,
            news: planned.news,
            told: planned.placed,
        })
    }
}

impl PlanStaff<'_> {
    /// Who is to be a user of the client, by what the agency's account says of them.
    fn people(&self, agency: &AccountGraph) -> Result<Vec<Staff>, PartnerError> {
        let of_agency = |person: &Id, user: &Option<Id>| {
            let known = agency
                .user(person.as_str())
                .filter(|known| known.status == UserStatus::Active)
                .ok_or_else(|| PartnerRefusal::NotOfAgency(person.clone()))?;
            Ok(Staff {
                partner_user: person.clone(),
                role: match known.kind {
                    UserKind::Contractor => PartnerRole::Contractor,
                    UserKind::Internal | UserKind::PartnerEmployee => PartnerRole::Employee,
                },
                user: user.clone(),
                email: known.email.clone(),
                person: known.person.clone(),
            })
        };
        match self.staffing {
            Staffing::Add { people, .. } => people
                .iter()
                .map(|(person, user)| of_agency(person, user))
                .collect(),
            Staffing::LinkContractor { person, user, .. } => {
                let known = agency.user(person.as_str());
                let is_one = known.is_some_and(|known| known.kind == UserKind::Contractor);
                // One who was let go by the agency works for nobody any more.
                let is_gone = known.is_some_and(|known| known.status != UserStatus::Active);
                if is_gone || !(is_one || self.is_contractor) {
                    return Err(PartnerRefusal::NotAContractor(person.clone()).into());
                }
                Ok(vec![Staff {
                    partner_user: person.clone(),
                    role: PartnerRole::Contractor,
                    user: user.clone(),
                    email: known.and_then(|known| known.email.clone()),
                    person: known.and_then(|known| known.person.clone()),
                }])
            }
            Staffing::ChangeSet { .. } => Ok(Vec::new()),
        }
    }
}

/// Both accounts, where whoever asks may (D2).
fn both(
    present: &Present,
    asking: &Asking,
    now: Timestamp,
) -> Result<(Arc<ReadGraph>, Arc<ReadGraph>), PartnerError> {
    let agency = of(present, &asking.agency)?;
    require_management(&agency.graph, &asking.actor, now)?;
    require_partner(&agency.graph)?;
    let client = present
        .get(&asking.client)
        .ok_or_else(|| PartnerError::NoSuchCounterpart(asking.client.clone()))?;
    require_admin(&client.graph, &asking.agency, &asking.actor)?;
    Ok((Arc::clone(agency), Arc::clone(client)))
}

struct PlannedStaff {
    /// The partner admin, in the client.
    actor: Id,
    placed: Vec<Placed>,
    changes: Vec<EntityChange>,
    news: Vec<PartnerNews>,
}

fn placed(
    client: &AccountGraph,
    asking: &Asking,
    staffing: &Staffing,
    staff: &[Staff],
    now: Timestamp,
) -> Result<PlannedStaff, PartnerError> {
    let admin = require_admin(client, &asking.agency, &asking.actor)?;
    let acting = Acting {
        agency: &asking.agency,
        admin,
        now,
    };
    let placed = match staffing {
        Staffing::Add { set, .. } | Staffing::LinkContractor { set, .. } => staff
            .iter()
            .map(|one| place(client, &acting, one, set))
            .collect::<Result<Vec<_>, _>>()?,
        Staffing::ChangeSet { person, set } => vec![change_set(client, &acting, person, set)?],
    };
    let mut ids = BTreeSet::new();
    for one in &placed {
        if !ids.insert(&one.user.id) {
            return Err(PartnerRefusal::UserTaken(one.user.id.clone()).into());
        }
    }
    let is_new = |one: &&Placed| client.user(one.user.id.as_str()) != Some(&one.user);
    let changed: Vec<&Placed> = placed.iter().filter(is_new).collect();
    let changes: Vec<EntityChange> = changed
        .iter()
        .map(|one| EntityChange::Put(Entity::User(one.user.clone())))
        .collect();
    let set = match staffing {
        Staffing::Add { set, .. }
        | Staffing::LinkContractor { set, .. }
        | Staffing::ChangeSet { set, .. } => set,
    };
    let news = changed.iter().flat_map(|one| {
        let kind = placing(client, &asking.agency, one);
        let happening = Happening {
            agency_actor: Some(&asking.actor),
            client_actor: Some(&admin.id),
            person: person(&one.user),
            permission_set: Some(set),
            ..Happening::new(&asking.agency, &asking.client, kind, now)
        };
        happening.news()
    });
    let news = news.collect();
    // What would be stored can be loaded again.
    client.apply(&changes).map_err(DirectoryError::Unusable)?;
    Ok(PlannedStaff {
        actor: admin.id.clone(),
        placed,
        changes,
        news,
    })
}

/// What the ceiling made of all of them.
fn ceiling_of(placed: &[Placed]) -> CeilingReport {
    let of_all = |notes: fn(&Placed) -> &[Note]| {
        let of_one = |one: &Placed| {
            let of = EntityKey::User(one.user.id.clone());
            let noted = move |note: &Note| Noted {
                of: of.clone(),
                note: note.clone(),
            };
            notes(one).iter().map(noted).collect::<Vec<_>>()
        };
        placed.iter().flat_map(of_one).collect()
    };
    CeilingReport {
        kept: of_all(|one| &one.kept),
        withheld: of_all(|one| &one.withheld),
    }
}

/// The client's changes, on top of the agency's account as it was read.
fn writes(
    asking: &Asking,
    actor: Id,
    changes: Vec<EntityChange>,
    ceiling: &CeilingReport,
) -> Vec<AccountWrite> {
    if changes.is_empty() && ceiling.is_empty() {
        return Vec::new();
    }
    let author = &asking.author;
    vec![
        AccountWrite {
            account: asking.client.clone(),
            changes,
            author: author.clone().for_actor(Some(actor)).under(ceiling),
        },
        AccountWrite {
            account: asking.agency.clone(),
            changes: Vec::new(),
            author: author.clone(),
        },
    ]
}

/// An employee whose status is to change in some clients.
#[derive(Debug, Clone)]
pub struct SetStatus {
    pub agency: Id,
    pub actor: Id,
    pub partner_user: Id,
    /// `None`: all clients that they are a user of.
    pub clients: Option<BTreeSet<Id>>,
    /// Of all accounts, those that the caller may name; `None`: all.
    pub visible: Option<BTreeSet<Id>>,
    /// Active or deactivated.
    pub status: UserStatus,
    pub author: Author,
}

/// What became of somebody in one client.
#[derive(Debug, Clone)]
pub struct InClient {
    pub client: Id,
    /// The id there.
    pub user: Id,
    pub changed: bool,
    pub token: RevisionToken,
}

impl Partners {
    /// Deactivates an employee in clients, or takes that back: in all of them or in none.
    pub async fn set_status(&self, request: SetStatus) -> Result<Vec<InClient>, PartnerError> {
        let visible = request.visible.as_ref();
        let named = request.clients.as_ref();
        let (agency, person) = (&request.agency, &request.partner_user);
        let clients = self.clients_of(agency, person, named, visible).await?;
        let mut all = clients.clone();
        all.insert(request.agency.clone());
        let planning = PlanStatus {
            partners: self,
            request: &request,
            clients: &clients,
        };
        let store = self.store.as_ref();
        let written = self.directory.write_across(store, &all, &planning).await?;
        self.written.notify_one();
        let mut told = Vec::new();
        for (client, user, changed) in written.told {
            let token = self.token(&client, written.heads.get(&client))?;
            told.push(InClient {
                client,
                user,
                changed,
                token,
            });
        }
        Ok(told)
    }

    /// The clients that are named, or else those in which somebody of an agency is a user.
    pub(super) async fn clients_of(
        &self,
        agency: &Id,
        partner_user: &Id,
        named: Option<&BTreeSet<Id>>,
        visible: Option<&BTreeSet<Id>>,
    ) -> Result<BTreeSet<Id>, PartnerError> {
        if let Some(named) = named {
            return match u32::try_from(named.len()) {
                Ok(count) if count <= CLIENTS_MAX => Ok(named.clone()),
                _ => Err(PartnerError::TooManyClients),
            };
        }
        let filter = PartnerUserFilter {
            partner_user: Some(partner_user),
            clients: visible,
        };
        let limit = CLIENTS_MAX + 1;
        let known = self
            .store
            .partner_users(agency, filter, None, limit)
            .await?;
        match u32::try_from(known.len()) {
            Ok(count) if count <= CLIENTS_MAX => {
                Ok(known.into_iter().map(|user| user.client).collect())
            }
            _ => Err(PartnerError::TooManyClients),
        }
    }
}

struct PlanStatus<'a> {
    partners: &'a Partners,
    request: &'a SetStatus,
    clients: &'a BTreeSet<Id>,
}

#[async_trait]
impl PlanningAcross for PlanStatus<'_> {
    type Told = Vec<(Id, Id, bool)>;
    type Error = PartnerError;

    async fn plan(&self, present: &Present) -> Result<PlannedAcross<Self::Told>, PartnerError> {
        let Self {
            partners,
            request,
            clients,
        } = self;
        let now = partners.clock.now();
        let agency = of(present, &request.agency)?;
        require_management(&agency.graph, &request.actor, now)?;
        if clients.is_empty() {
            return Err(PartnerRefusal::NotStaff(request.partner_user.clone()).into());
        }
        let mut writes = Vec::new();
        let mut news = Vec::new();
        let mut told = Vec::new();
        for client in *clients {
            let read = present
                .get(client)
                .ok_or_else(|| PartnerError::NoSuchCounterpart(client.clone()))?;
            let (client, read) = (client.clone(), Arc::clone(read));
            let in_client = Arc::clone(&read);
            let request = SetStatus::clone(request);
            let work = move || status_in(&client, &read.graph, &request, now);
            let computing = partners
                .directory
                .graphs()
                .compute(&self.request.agency, work);
            let (write, user, changed) = computing.await??;
            if changed {
                let happening = Happening {
                    agency_actor: Some(&self.request.actor),
                    client_actor: write.author.actor(),
                    person: in_client.graph.user(user.as_str()).and_then(person),
                    ..Happening::new(&self.request.agency, &write.account, self.kind(), now)
                };
                news.extend(happening.news());
            }
            told.push((write.account.clone(), user, changed));
            if changed {
                writes.push(write);
            }
        }
        if !writes.is_empty() {
            writes.push(AccountWrite {
                account: request.agency.clone(),
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

impl PlanStatus<'_> {
    fn kind(&self) -> PartnerEventKind {
        match self.request.status {
            UserStatus::Active | UserStatus::Invited => PartnerEventKind::StaffReactivated,
            UserStatus::Deactivated | UserStatus::Removed => PartnerEventKind::StaffDeactivated,
        }
    }
}

fn status_in(
    client: &Id,
    graph: &AccountGraph,
    request: &SetStatus,
    now: Timestamp,
) -> Result<(AccountWrite, Id, bool), PartnerError> {
    let refused = |refusal| PartnerError::In {
        client: client.clone(),
        refusal,
    };
    let admin = require_admin(graph, &request.agency, &request.actor).map_err(refused)?;
    let acting = Acting {
        agency: &request.agency,
        admin,
        now,
    };
    let change = set_status(graph, &acting, &request.partner_user, request.status);
    let change = change.map_err(refused)?;
    let user = known_user(graph, &request.agency, &request.partner_user).map_err(refused)?;
    let changes = match &change {
        Some(change) => entity_changes(graph, std::slice::from_ref(change))?,
        None => Vec::new(),
    };
    let changed = !changes.is_empty();
    let write = AccountWrite {
        account: client.clone(),
        changes,
        author: request.author.clone().for_actor(Some(admin.id.clone())),
    };
    Ok((write, user, changed))
}

fn known_user(graph: &AccountGraph, agency: &Id, person: &Id) -> Result<Id, PartnerRefusal> {
    partner_users(graph, agency)
        .find(|user| user.partner.as_ref().is_some_and(|of| of.user == *person))
        .map(|user| user.id.clone())
        .ok_or_else(|| PartnerRefusal::NotStaff(person.clone()))
}

/// One's own way from super admin to partner admin.
#[derive(Debug, Clone)]
pub struct Migrate {
    pub client: Id,
    /// The user of the client who asks.
    pub actor: Id,
    /// Who is to migrate.
    pub user: Id,
    pub keep_billing: bool,
    /// Of all accounts, those that the caller may name; `None`: all.
    pub visible: Option<BTreeSet<Id>>,
    pub author: Author,
}

impl Partners {
    /// S4.24-S4.27, D10.
    pub async fn migrate(&self, request: Migrate) -> Result<RevisionToken, PartnerError> {
        if request.actor != request.user {
            return Err(PartnerRefusal::SelfOnly.into());
        }
        // Of which agency they are is theirs for good: it is looked up before, and again in the plan.
        let read = self.read(&request.client).await?;
        let agency = agency_of(&read.graph, &request.user).filter(|agency| {
            let visible = request.visible.as_ref();
            visible.is_none_or(|visible| visible.contains(agency))
        });
        let mut all = accounts([&request.client]);
        all.extend(agency);
        let planning = PlanMigration {
            partners: self,
            request: &request,
        };
        let store = self.store.as_ref();
        let written = self.directory.write_across(store, &all, &planning).await?;
        self.written.notify_one();
        self.token(&request.client, written.heads.get(&request.client))
    }
}

fn agency_of(client: &AccountGraph, user: &Id) -> Option<Id> {
    let partner = client.user(user.as_str())?.partner.as_ref()?;
    Some(partner.account.clone())
}

struct PlanMigration<'a> {
    partners: &'a Partners,
    request: &'a Migrate,
}

#[async_trait]
impl PlanningAcross for PlanMigration<'_> {
    type Told = ();
    type Error = PartnerError;

    async fn plan(&self, present: &Present) -> Result<PlannedAcross<()>, PartnerError> {
        let Self { partners, request } = self;
        let now = partners.clock.now();
        let client = Arc::clone(of(present, &request.client)?);
        let asked = (*request).clone();
        let work = move || {
            let (agency, changes) = migrate(&client.graph, &asked.user, asked.keep_billing)?;
            let changes = entity_changes(&client.graph, &changes)?;
            Ok::<_, PartnerError>((agency, changes))
        };
        let graphs = partners.directory.graphs();
        let (agency, changes) = graphs.compute(&request.client, work).await??;
        // S4.3.
        let in_agency = present.get(&agency).ok_or(PartnerRefusal::NotAPartner)?;
        require_partner(&in_agency.graph)?;
        let user = of(present, &request.client)?
            .graph
            .user(request.user.as_str());
        let happening = Happening {
            client_actor: Some(&request.actor),
            person: user.and_then(person).map(|person| PartnerPerson {
                role: PartnerRole::Admin,
                ..person
            }),
            ..Happening::new(
                &agency,
                &request.client,
                PartnerEventKind::AdminMigrated,
                now,
            )
        };
        let news = happening.news().into();
        let actor = Some(request.actor.clone());
        let write = AccountWrite {
            account: request.client.clone(),
            changes,
            author: request.author.clone().for_actor(actor),
        };
        let told = AccountWrite {
            account: agency,
            changes: Vec::new(),
            author: request.author.clone(),
        };
        Ok(PlannedAcross {
            writes: vec![write, told],
            link: None,
            news,
            told: (),
        })
    }
}
