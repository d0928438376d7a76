//! The kinds of entities that every store reads alike.

use std::collections::{BTreeSet, HashMap};

use super::StoreError;
use super::request_rows::RequestRow;
use super::rows::{AccessGroupRow, PermissionSetRow, SegmentRow, TeamRow, UserRow, parse_rows};
use crate::authz::model::{Entity, EntityKey, Id, ResourceKey, Team};

/// How many entities a page holds, and so a chunk of a snapshot.
pub(super) const PAGE: i64 = 1_000;

/// All but the account itself and resources, in the order of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Team,
    PermissionSet,
    User,
    AccessGroup,
    Segment,
    AccessRequest,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Team,
        Self::PermissionSet,
        Self::User,
        Self::AccessGroup,
        Self::Segment,
        Self::AccessRequest,
    ];

    /// The table of the entities themselves, and the column of their ids.
    pub(super) fn table(self) -> (&'static str, &'static str) {
        match self {
            Self::Team => ("team", "team_id"),
            Self::PermissionSet => ("permission_set", "permission_set_id"),
            Self::User => ("app_user", "user_id"),
            Self::AccessGroup => ("access_group", "access_group_id"),
            Self::Segment => ("segment", "segment_id"),
            Self::AccessRequest => ("access_request", "access_request_id"),
        }
    }

    /// Which of a text for each kind, in the order of [`Self::ALL`], is this one's.
    pub(super) fn of(self, texts: &[String; 6]) -> &str {
        let [team, set, user, group, segment, request] = texts;
        match self {
            Self::Team => team,
            Self::PermissionSet => set,
            Self::User => user,
            Self::AccessGroup => group,
            Self::Segment => segment,
            Self::AccessRequest => request,
        }
    }

    /// What a load reads of its table, to be put before other conditions: what has ended is
    /// history, which nothing is decided by.
    pub(super) fn loaded(self) -> &'static str {
        match self {
            Self::AccessRequest => "state = 'pending' AND ",
            Self::Team | Self::PermissionSet | Self::User | Self::AccessGroup | Self::Segment => "",
        }
    }

    pub(super) fn parse(self, json: &[u8], near: &str) -> Result<Vec<Entity>, StoreError> {
        let (table, _) = self.table();
        match self {
            Self::Team => parse_rows(table, near, json, |row: TeamRow| {
                row.team().map(Entity::Team)
            }),
            Self::PermissionSet => parse_rows(table, near, json, |row: PermissionSetRow| {
                row.permission_set().map(Entity::PermissionSet)
            }),
            Self::User => parse_rows(table, near, json, |row: UserRow| {
                row.user().map(Entity::User)
            }),
            Self::AccessGroup => parse_rows(table, near, json, |row: AccessGroupRow| {
                row.access_group().map(Entity::AccessGroup)
            }),
            Self::Segment => parse_rows(table, near, json, |row: SegmentRow| {
                row.segment().map(Entity::Segment)
            }),
            Self::AccessRequest => parse_rows(table, near, json, |row: RequestRow| {
                row.request().map(Entity::AccessRequest)
            }),
        }
    }
}

/// Keys to look up, by what they are looked up in.
#[derive(Default)]
pub(super) struct Sought<'a> {
    pub(super) account: bool,
    /// In the order of [`Kind::ALL`].
    pub(super) by_kind: [Vec<&'a str>; 6],
    pub(super) resources: Vec<&'a ResourceKey>,
}

impl<'a> Sought<'a> {
    pub(super) fn new(keys: impl IntoIterator<Item = &'a EntityKey>) -> Self {
        let mut sought = Self::default();
        let [teams, sets, users, groups, segments, requests] = &mut sought.by_kind;
        for key in keys {
            match key {
                EntityKey::Account => sought.account = true,
                EntityKey::Team(id) => teams.push(id.as_str()),
                EntityKey::PermissionSet(id) => sets.push(id.as_str()),
                EntityKey::User(id) => users.push(id.as_str()),
                EntityKey::AccessGroup(id) => groups.push(id.as_str()),
                EntityKey::Segment(id) => segments.push(id.as_str()),
                EntityKey::AccessRequest(id) => requests.push(id.as_str()),
                EntityKey::Resource(key) => sought.resources.push(key),
            }
        }
        sought
    }
}

/// Puts the teams among entities of one kind in the order of a snapshot.
pub(super) fn in_order(kind: Kind, entities: Vec<Entity>) -> Vec<Entity> {
    if kind != Kind::Team {
        return entities;
    }
    let teams = entities
        .into_iter()
        .filter_map(|entity| match entity {
            Entity::Team(team) => Some(team),
            _ => None,
        })
        .collect();
    parents_first(teams).map(Entity::Team).collect()
}

/// The id of an entity that is read by [`Kind`].
pub(super) fn id_of(entity: &Entity) -> Option<&Id> {
    match entity {
        Entity::Team(team) => Some(&team.id),
        Entity::PermissionSet(set) => Some(&set.id),
        Entity::User(user) => Some(&user.id),
        Entity::AccessGroup(group) => Some(&group.id),
        Entity::Segment(segment) => Some(&segment.id),
        Entity::AccessRequest(request) => Some(&request.id),
        Entity::Account(_) | Entity::Resource(..) => None,
    }
}

/// Orders teams so that a parent comes before its children where both are there; those of a cycle,
/// which only a writer that switched the rules off can have stored, come last.
pub(super) fn parents_first(teams: Vec<Team>) -> impl Iterator<Item = Team> {
    let mut children: HashMap<Id, Vec<usize>> = HashMap::new();
    let present: BTreeSet<Id> = teams.iter().map(|team| team.id.clone()).collect();
    let mut order = Vec::with_capacity(teams.len());
    for (index, team) in teams.iter().enumerate() {
        match &team.parent {
            Some(parent) if present.contains(parent) => {
                children.entry(parent.clone()).or_default().push(index);
            }
            _ => order.push(index),
        }
    }
    let mut next = 0;
    while let Some(index) = order.get(next) {
        if let Some(mut below) = teams.get(*index).and_then(|team| children.remove(&team.id)) {
            order.append(&mut below);
        }
        next += 1;
    }
    let mut slots: Vec<Option<Team>> = teams.into_iter().map(Some).collect();
    let mut ordered: Vec<Team> = order
        .into_iter()
        .filter_map(|index| slots.get_mut(index).and_then(Option::take))
        .collect();
    ordered.extend(slots.into_iter().flatten());
    ordered.into_iter()
}
