//! The account as the changes made so far leave it: touched entities over the present snapshot.
//!
//! Two lists grow beside the entities. **Claims** are the references that changes make, with the
//! index of the change: the end checks that each one that still holds has its target. **Referrers**
//! are, for each target, the entities that were ever made to refer to it: a deletion looks there
//! and at the snapshot. Both may hold what is true no longer; whoever reads them looks at the
//! entity itself, so nothing has to be taken out when a later change wins.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::graph::AccountGraph;
use super::super::model::{
    AccessGroup, Attributes, EntityKey, Id, PermissionSet, Principal, PrincipalKind, Provenance,
    Resource, ResourceKey, Segment, Team, User,
};
use super::{ChangeError, ChangeProblem};

/// One entity over the snapshot.
#[derive(Debug)]
pub(super) struct Slot<T> {
    value: Option<T>,
    /// The first change that needed the entity while it wasn't there. An entity with a need is
    /// not there yet: only parts of it were named.
    need: Option<Need>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    pub index: usize,
    pub field: &'static str,
}

impl<T> Slot<T> {
    fn new(value: Option<T>) -> Self {
        Self { value, need: None }
    }

    /// Makes the entity be there, with the parts that were named before it.
    pub fn put(&mut self, new: impl FnOnce() -> T) -> &mut T {
        self.need = None;
        self.value.get_or_insert_with(new)
    }

    /// Makes the entity be there, just so.
    pub fn set(&mut self, value: T) {
        self.need = None;
        self.value = Some(value);
    }

    /// The entity for a change of one of its parts; if it isn't there, it must be at the end.
    pub fn part(&mut self, index: usize, field: &'static str, new: impl FnOnce() -> T) -> &mut T {
        if self.value.is_none() {
            self.need = Some(Need { index, field });
        }
        self.value.get_or_insert_with(new)
    }

    pub fn remove(&mut self) -> Option<T> {
        self.need = None;
        self.value.take()
    }

    pub fn is_there(&self) -> bool {
        self.value.is_some() && self.need.is_none()
    }

    /// There or only needed.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut()
    }

    pub fn need(&self) -> Option<Need> {
        self.need
    }
}

/// A resource and what the list has said of its partition.
#[derive(Debug)]
pub(super) struct ResourceSlot {
    pub resource: Slot<Resource>,
    /// `None` leaves what is stored.
    pub attributes: Option<Attributes>,
    /// A change of the list unpartitions it.
    pub unpartitioned: bool,
    /// A change of the list assigns it.
    pub assigned: bool,
    /// The change that makes it, where it names who does.
    pub created: Option<(usize, Id)>,
    /// The last change that turned `partitioned` on.
    pub partitioned_by: Option<Need>,
}

/// What kind of reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Parent,
    MainTeam,
    AdditionalTeam,
    PermissionSet,
    Membership,
    ObjectGrant,
    Member,
    Owner,
    OwningTeam,
    Assignment,
    Target,
}

impl Link {
    pub fn field(self) -> &'static str {
        match self {
            Self::Parent => "team.parent",
            Self::MainTeam => "user.main_team",
            Self::AdditionalTeam => "user.teams",
            Self::PermissionSet => "user.permission_sets",
            Self::Membership => "membership.of",
            Self::ObjectGrant => "object_grant.resource",
            Self::Member => "group_member.principal",
            Self::Owner => "resource.owners",
            Self::OwningTeam => "resource.owning_team",
            Self::Assignment => "assignment.principal",
            Self::Target => "segment.assign_to",
        }
    }
}

/// A reference that a change made.
#[derive(Debug)]
pub(super) struct Claim {
    pub index: usize,
    pub link: Link,
    pub from: EntityKey,
    pub to: EntityKey,
}

pub(super) struct Overlay<'g> {
    pub graph: Option<&'g AccountGraph>,
    /// Index of the change that is being made.
    pub at: usize,
    pub teams: BTreeMap<Id, Slot<Team>>,
    pub permission_sets: BTreeMap<Id, Slot<PermissionSet>>,
    pub users: BTreeMap<Id, Slot<User>>,
    pub access_groups: BTreeMap<Id, Slot<AccessGroup>>,
    pub segments: BTreeMap<Id, Slot<Segment>>,
    pub resources: BTreeMap<ResourceKey, ResourceSlot>,
    pub claims: Vec<Claim>,
    pub referrers: HashMap<EntityKey, HashSet<EntityKey>>,
}

impl<'g> Overlay<'g> {
    pub fn new(graph: Option<&'g AccountGraph>) -> Self {
        Self {
            graph,
            at: 0,
            teams: BTreeMap::new(),
            permission_sets: BTreeMap::new(),
            users: BTreeMap::new(),
            access_groups: BTreeMap::new(),
            segments: BTreeMap::new(),
            resources: BTreeMap::new(),
            claims: Vec::new(),
            referrers: HashMap::new(),
        }
    }

    /// The problem of the change that is being made.
    pub fn error(&self, field: &str, problem: ChangeProblem) -> ChangeError {
        ChangeError {
            index: self.at,
            field: field.to_owned(),
            problem,
        }
    }

    pub fn invalid(&self, field: &str, why: impl Into<String>) -> ChangeError {
        self.error(field, ChangeProblem::Invalid(why.into()))
    }

    pub fn within(
        &self,
        count: usize,
        limit: usize,
        field: &str,
        what: &'static str,
    ) -> Result<(), ChangeError> {
        if count > limit {
            return Err(self.error(field, ChangeProblem::TooMany { what, limit }));
        }
        Ok(())
    }

    pub fn team(&mut self, id: &Id) -> &mut Slot<Team> {
        let graph = self.graph;
        self.teams
            .entry(id.clone())
            .or_insert_with(|| Slot::new(graph.and_then(|graph| graph.team(id.as_str()).cloned())))
    }

    pub fn permission_set(&mut self, id: &Id) -> &mut Slot<PermissionSet> {
        let graph = self.graph;
        self.permission_sets.entry(id.clone()).or_insert_with(|| {
            Slot::new(graph.and_then(|graph| graph.permission_set(id.as_str()).cloned()))
        })
    }

    pub fn user(&mut self, id: &Id) -> &mut Slot<User> {
        let graph = self.graph;
        self.users
            .entry(id.clone())
            .or_insert_with(|| Slot::new(graph.and_then(|graph| graph.user(id.as_str()).cloned())))
    }

    pub fn access_group(&mut self, id: &Id) -> &mut Slot<AccessGroup> {
        let graph = self.graph;
        self.access_groups.entry(id.clone()).or_insert_with(|| {
            Slot::new(graph.and_then(|graph| graph.access_group(id.as_str()).cloned()))
        })
    }

    pub fn segment(&mut self, id: &Id) -> &mut Slot<Segment> {
        let graph = self.graph;
        self.segments.entry(id.clone()).or_insert_with(|| {
            Slot::new(graph.and_then(|graph| graph.segment(id.as_str()).cloned()))
        })
    }

    pub fn resource(&mut self, key: &ResourceKey) -> &mut ResourceSlot {
        let graph = self.graph;
        self.resources
            .entry(key.clone())
            .or_insert_with(|| ResourceSlot {
                resource: Slot::new(graph.and_then(|graph| graph.resource(key))),
                attributes: None,
                unpartitioned: false,
                assigned: false,
                created: None,
                partitioned_by: None,
            })
    }

    /// Notes that the change being made lets `from` refer to `to`.
    pub fn claim(&mut self, link: Link, from: &EntityKey, to: EntityKey) {
        self.refer(from, to.clone());
        self.claims.push(Claim {
            index: self.at,
            link,
            from: from.clone(),
            to,
        });
    }

    pub fn refer(&mut self, from: &EntityKey, to: EntityKey) {
        self.referrers.entry(to).or_default().insert(from.clone());
    }

    /// Whether the entity is there now.
    pub fn is_there(&self, key: &EntityKey) -> bool {
        let base = self.graph;
        match key {
            EntityKey::Account => true,
            EntityKey::Team(id) => match self.teams.get(id) {
                Some(slot) => slot.is_there(),
                None => base.is_some_and(|graph| graph.team(id.as_str()).is_some()),
            },
            EntityKey::PermissionSet(id) => match self.permission_sets.get(id) {
                Some(slot) => slot.is_there(),
                None => base.is_some_and(|graph| graph.permission_set(id.as_str()).is_some()),
            },
            EntityKey::User(id) => match self.users.get(id) {
                Some(slot) => slot.is_there(),
                None => base.is_some_and(|graph| graph.user(id.as_str()).is_some()),
            },
            EntityKey::AccessGroup(id) => match self.access_groups.get(id) {
                Some(slot) => slot.is_there(),
                None => base.is_some_and(|graph| graph.access_group(id.as_str()).is_some()),
            },
            EntityKey::Segment(id) => match self.segments.get(id) {
                Some(slot) => slot.is_there(),
                None => base.is_some_and(|graph| graph.segment(id.as_str()).is_some()),
            },
            EntityKey::Resource(key) => match self.resources.get(key) {
                Some(slot) => slot.resource.is_there(),
                None => base.is_some_and(|graph| graph.resource(key).is_some()),
            },
            // Not planned: no change of a list writes one.
            EntityKey::AccessRequest(_) => false,
        }
    }

    /// Whether the reference is still made: a later change may have taken it back.
    pub fn holds(&self, claim: &Claim) -> bool {
        match &claim.from {
            EntityKey::Account => false,
            EntityKey::PermissionSet(_) | EntityKey::AccessRequest(_) => false,
            EntityKey::Team(id) => self
                .teams
                .get(id)
                .and_then(Slot::get)
                .is_some_and(|team| team.parent.as_ref() == team_id(&claim.to)),
            EntityKey::User(id) => self
                .users
                .get(id)
                .and_then(Slot::get)
                .is_some_and(|user| user_holds(user, claim)),
            EntityKey::AccessGroup(id) => self
                .access_groups
                .get(id)
                .and_then(Slot::get)
                .zip(principal(&claim.to))
                .is_some_and(|(group, member)| group.members.contains_key(&member)),
            EntityKey::Segment(id) => self
                .segments
                .get(id)
                .and_then(Slot::get)
                .zip(principal(&claim.to))
                .is_some_and(|(segment, target)| segment.assign_to.contains(&target)),
            EntityKey::Resource(key) => self
                .resources
                .get(key)
                .and_then(|slot| slot.resource.get())
                .is_some_and(|resource| resource_holds(resource, claim)),
        }
    }
}

fn user_holds(user: &User, claim: &Claim) -> bool {
    match (claim.link, &claim.to) {
        (Link::MainTeam, EntityKey::Team(team)) => user.main_team.as_ref() == Some(team),
        (Link::AdditionalTeam, EntityKey::Team(team)) => user.teams.contains(team),
        (Link::PermissionSet, EntityKey::PermissionSet(set)) => user.permission_sets.contains(set),
        (Link::Membership, to) => user
            .memberships
            .iter()
            .any(|membership| super::membership::entity_of(&membership.of) == *to),
        (Link::ObjectGrant, EntityKey::Resource(key)) => user
            .object_grants
            .iter()
            .any(|grant| grant.resource == *key),
        _ => false,
    }
}

fn resource_holds(resource: &Resource, claim: &Claim) -> bool {
    match (claim.link, &claim.to) {
        (Link::Owner, EntityKey::User(user)) => resource.owners.contains(user),
        (Link::OwningTeam, EntityKey::Team(team)) => resource.owning_team.as_ref() == Some(team),
        (Link::Assignment, to) => principal(to).is_some_and(|principal| {
            resource
                .assignments
                .iter()
                .any(|assignment| assignment.principal == principal)
        }),
        _ => false,
    }
}

fn team_id(key: &EntityKey) -> Option<&Id> {
    match key {
        EntityKey::Team(id) => Some(id),
        EntityKey::Account
        | EntityKey::PermissionSet(_)
        | EntityKey::User(_)
        | EntityKey::AccessGroup(_)
        | EntityKey::Resource(_)
        | EntityKey::Segment(_)
        | EntityKey::AccessRequest(_) => None,
    }
}

/// The entity that a principal names.
pub(super) fn entity_of(principal: &Principal) -> EntityKey {
    match principal {
        Principal::User(id) => EntityKey::User(id.clone()),
        Principal::Team(id) => EntityKey::Team(id.clone()),
        Principal::Group(id) => EntityKey::AccessGroup(id.clone()),
    }
}

/// The principal that an entity is, if it is one.
pub(super) fn principal(key: &EntityKey) -> Option<Principal> {
    let (kind, id) = match key {
        EntityKey::User(id) => (PrincipalKind::User, id),
        EntityKey::Team(id) => (PrincipalKind::Team, id),
        EntityKey::AccessGroup(id) => (PrincipalKind::Group, id),
        EntityKey::Account
        | EntityKey::PermissionSet(_)
        | EntityKey::Resource(_)
        | EntityKey::Segment(_)
        | EntityKey::AccessRequest(_) => return None,
    };
    Some(Principal::new(kind, id.clone()))
}

/// The segment whose rows carry this provenance.
pub(super) fn segment_of(provenance: &Provenance) -> Option<EntityKey> {
    match provenance {
        Provenance::Segment(id) => Some(EntityKey::Segment(id.clone())),
        Provenance::Manual
        | Provenance::Import(_)
        | Provenance::Form(_)
        | Provenance::Default
        | Provenance::Request(_) => None,
    }
}

/// How error messages call an entity, and its id.
pub(super) fn describe(key: &EntityKey) -> (&'static str, String) {
    match key {
        EntityKey::Account => ("account", String::new()),
        EntityKey::Team(id) => ("team", id.to_string()),
        EntityKey::PermissionSet(id) => ("permission set", id.to_string()),
        EntityKey::User(id) => ("user", id.to_string()),
        EntityKey::AccessGroup(id) => ("access group", id.to_string()),
        EntityKey::Resource(key) => ("resource", key.to_string()),
        EntityKey::Segment(id) => ("segment", id.to_string()),
        EntityKey::AccessRequest(id) => ("access request", id.to_string()),
    }
}
