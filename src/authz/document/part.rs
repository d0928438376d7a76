//! What a document says about each entity, checked one by one; what it leaves out is `None`.

use std::collections::BTreeSet;

use crate::authz::model::{
    AccessGroup, Assignment, Attributes, Grant, Id, Membership, ObjectGrant, PartitionMode,
    Partner, PartnerProgram, PermissionKey, PermissionSet, Principal, Resource, ResourceKey,
    Segment, Settings, Team, UnpartitionedDefault, User, UserKind, UserStatus,
};
use crate::authz::yaml::{At, Place};

/// All that a document, or the `given` of a case, says about an account.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pub account: AccountPart,
    pub teams: Vec<TeamPart>,
    pub permission_sets: Vec<PermissionSetPart>,
    pub users: Vec<UserPart>,
    pub access_groups: Vec<AccessGroupPart>,
    pub resources: Vec<ResourcePart>,
    pub segments: Vec<SegmentPart>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct AccountPart {
    pub plan: Option<Id>,
    pub partner_program: Option<PartnerProgram>,
    pub payment_method_valid: Option<bool>,
    pub settings: SettingsPart,
}

/// An inner `None` takes a setting back to its default.
#[derive(Debug, Clone, Default)]
pub(super) struct SettingsPart {
    pub partition_mode: Vec<(Id, Option<PartitionMode>)>,
    pub unpartitioned: Vec<(Id, Option<UnpartitionedDefault>)>,
    pub request_ttl_seconds: Option<Option<u64>>,
    pub request_cool_down_seconds: Option<Option<u64>>,
    pub request_limit_per_user: Option<Option<u32>>,
}

impl SettingsPart {
    pub fn apply_to(&self, settings: &mut Settings) {
        for (key, value) in &self.partition_mode {
            match value {
                Some(value) => settings.partition_mode.insert(key.clone(), *value),
                None => settings.partition_mode.remove(key),
            };
        }
        for (key, value) in &self.unpartitioned {
            match value {
                Some(value) => settings.unpartitioned.insert(key.clone(), *value),
                None => settings.unpartitioned.remove(key),
            };
        }
        if let Some(value) = self.request_ttl_seconds {
            settings.request_ttl_seconds = value;
        }
        if let Some(value) = self.request_cool_down_seconds {
            settings.request_cool_down_seconds = value;
        }
        if let Some(value) = self.request_limit_per_user {
            settings.request_limit_per_user = value;
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct TeamPart {
    pub id: At<Id>,
    pub parent: Option<Option<At<Id>>>,
}

impl TeamPart {
    pub fn overlay(&mut self, given: &Self) {
        replace(&mut self.parent, given.parent.as_ref());
    }

    pub fn entity(&self) -> Team {
        Team {
            id: self.id.value.clone(),
            parent: bare(self.parent.as_ref()),
        }
    }
}

/// The grants of one key; there may be none, where the key is listed to be emptied.
#[derive(Debug, Clone)]
pub(super) struct KeyGrants {
    pub place: Place,
    pub key: PermissionKey,
    pub grants: Vec<Grant>,
}

#[derive(Debug, Clone)]
pub(super) struct PermissionSetPart {
    pub id: At<Id>,
    pub grants: Option<Vec<KeyGrants>>,
}

impl PermissionSetPart {
    pub fn overlay(&mut self, given: &Self) {
        replace(&mut self.grants, given.grants.as_ref());
    }

    pub fn entity(&self) -> PermissionSet {
        PermissionSet {
            id: self.id.value.clone(),
            grants: flat(self.grants.as_deref()),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct UserPart {
    pub id: At<Id>,
    pub status: Option<UserStatus>,
    pub kind: Option<UserKind>,
    pub account_owner: Option<bool>,
    pub super_admin: Option<bool>,
    pub partner_admin: Option<bool>,
    pub main_team: Option<Option<At<Id>>>,
    pub teams: Option<Vec<At<Id>>>,
    pub seats: Option<BTreeSet<Id>>,
    pub person: Option<Option<Id>>,
    pub email: Option<Option<String>>,
    pub partner: Option<Option<Partner>>,
    pub permission_sets: Option<Vec<At<Id>>>,
    pub memberships: Option<Vec<At<Membership>>>,
    pub grants: Option<Vec<KeyGrants>>,
    pub object_grants: Option<Vec<At<ObjectGrant>>>,
}

impl UserPart {
    pub fn overlay(&mut self, given: &Self) {
        replace(&mut self.status, given.status.as_ref());
        replace(&mut self.kind, given.kind.as_ref());
        replace(&mut self.account_owner, given.account_owner.as_ref());
        replace(&mut self.super_admin, given.super_admin.as_ref());
        replace(&mut self.partner_admin, given.partner_admin.as_ref());
        replace(&mut self.main_team, given.main_team.as_ref());
        replace(&mut self.teams, given.teams.as_ref());
        replace(&mut self.seats, given.seats.as_ref());
        replace(&mut self.person, given.person.as_ref());
        replace(&mut self.email, given.email.as_ref());
        replace(&mut self.partner, given.partner.as_ref());
        replace(&mut self.permission_sets, given.permission_sets.as_ref());
        replace(&mut self.memberships, given.memberships.as_ref());
        replace(&mut self.grants, given.grants.as_ref());
        replace(&mut self.object_grants, given.object_grants.as_ref());
    }

    pub fn entity(&self) -> User {
        let new = User::new(self.id.value.clone());
        User {
            status: self.status.unwrap_or(new.status),
            kind: self.kind.unwrap_or(new.kind),
            account_owner: self.account_owner.unwrap_or_default(),
            super_admin: self.super_admin.unwrap_or_default(),
            partner_admin: self.partner_admin.unwrap_or_default(),
            main_team: bare(self.main_team.as_ref()),
            teams: set(self.teams.as_deref()),
            seats: self.seats.clone().unwrap_or_default(),
            person: self.person.clone().flatten(),
            email: self.email.clone().flatten(),
            partner: self.partner.clone().flatten(),
            permission_sets: set(self.permission_sets.as_deref()),
            memberships: set(self.memberships.as_deref()),
            grants: flat(self.grants.as_deref()),
            object_grants: set(self.object_grants.as_deref()),
            ..new
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct AccessGroupPart {
    pub id: At<Id>,
    /// Each principal once, with all masks that were listed for it.
    pub members: Option<Vec<MemberPart>>,
}

#[derive(Debug, Clone)]
pub(super) struct MemberPart {
    pub principal: At<Principal>,
    pub actions: BTreeSet<Id>,
}

impl AccessGroupPart {
    pub fn overlay(&mut self, given: &Self) {
        replace(&mut self.members, given.members.as_ref());
    }

    pub fn entity(&self) -> AccessGroup {
        AccessGroup {
            id: self.id.value.clone(),
            members: self
                .members
                .iter()
                .flatten()
                .map(|member| (member.principal.value.clone(), member.actions.clone()))
                .collect(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct ResourcePart {
    pub key: ResourceKey,
    pub place: Place,
    pub owners: Option<Vec<At<Id>>>,
    pub owning_team: Option<Option<At<Id>>>,
    pub partitioned: Option<bool>,
    pub assigned_to: Option<Vec<At<Assignment>>>,
    pub attributes: Option<Attributes>,
}

impl ResourcePart {
    /// `partitioned: false` alone unpartitions, as `apply` would do; assignments alone partition a
    /// resource that was said to be open.
    pub fn overlay(&mut self, given: &Self) {
        let was_open = self.partitioned == Some(false);
        replace(&mut self.owners, given.owners.as_ref());
        replace(&mut self.owning_team, given.owning_team.as_ref());
        replace(&mut self.partitioned, given.partitioned.as_ref());
        replace(&mut self.assigned_to, given.assigned_to.as_ref());
        replace(&mut self.attributes, given.attributes.as_ref());
        match (given.partitioned, &given.assigned_to) {
            (Some(false), None) => self.assigned_to = None,
            (None, Some(_)) if was_open => self.partitioned = None,
            _ => {}
        }
    }

    pub fn partitioned(&self) -> bool {
        let assigned = self
            .assigned_to
            .as_ref()
            .is_some_and(|rows| !rows.is_empty());
        self.partitioned.unwrap_or(assigned)
    }

    pub fn entity(&self) -> Resource {
        Resource {
            key: self.key.clone(),
            owners: set(self.owners.as_deref()),
            owning_team: bare(self.owning_team.as_ref()),
            partitioned: self.partitioned(),
            assignments: set(self.assigned_to.as_deref()),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct SegmentPart {
    pub id: At<Id>,
    pub resource_type: Option<Id>,
    pub when: Option<String>,
    pub assign_to: Option<Vec<At<Principal>>>,
    pub enabled: Option<bool>,
    pub may_partition: Option<bool>,
}

impl SegmentPart {
    /// `None` where the type or the condition, which a new segment needs, is left out.
    pub fn entity(&self) -> Option<Segment> {
        Some(Segment {
            id: self.id.value.clone(),
            resource_type: self.resource_type.clone()?,
            when: self.when.clone()?,
            assign_to: set(self.assign_to.as_deref()),
            enabled: self.enabled.unwrap_or(true),
            may_partition: self.may_partition.unwrap_or(true),
        })
    }
}

fn replace<T: Clone>(slot: &mut Option<T>, given: Option<&T>) {
    if let Some(value) = given {
        *slot = Some(value.clone());
    }
}

pub(super) fn set<T: Clone + Ord>(list: Option<&[At<T>]>) -> BTreeSet<T> {
    list.unwrap_or_default()
        .iter()
        .map(|item| item.value.clone())
        .collect()
}

fn bare<T: Clone>(field: Option<&Option<At<T>>>) -> Option<T> {
    field.cloned().flatten().map(|at| at.value)
}

fn flat(grants: Option<&[KeyGrants]>) -> BTreeSet<Grant> {
    grants
        .unwrap_or_default()
        .iter()
        .flat_map(|of_key| of_key.grants.iter().cloned())
        .collect()
}
