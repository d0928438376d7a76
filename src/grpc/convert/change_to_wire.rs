//! Changes, as a client sends them and an export gives them.

use std::collections::BTreeSet;

use super::entity::{
    attributes_to_wire, catalog_to_wire, grant_terms_to_wire, membership_to_wire,
    object_grant_terms_to_wire, partition_mode_to_wire, partner_program_to_wire, partner_to_wire,
    unpartitioned_to_wire, user_kind_to_wire, user_status_to_wire,
};
use super::principal_to_wire;
use crate::authz::change::{
    AccountPatch, Change, GrantHolder, ResourcePatch, SegmentPatch, UserPatch,
};
use crate::authz::model::{Id, MembershipOf, ResourceKey};
use crate::grpc::wire;
use wire::change::Change as WireChange;

/// A change as a client sends it.
#[expect(clippy::too_many_lines, reason = "one kind of change an arm")]
pub fn change_to_wire(change: &Change) -> wire::Change {
    let change = match change {
        Change::PutAccount(patch) => WireChange::PutAccount(account_patch_to_wire(patch)),
        Change::PutTeam(patch) => WireChange::PutTeam(wire::TeamPatch {
            id: patch.id.to_string(),
            parent: emptiable_to_wire(patch.parent.as_ref()),
        }),
        Change::DeleteTeam(team) => WireChange::DeleteTeam(team.to_string()),
        Change::PutPermissionSet(set) => WireChange::PutPermissionSet(set.to_string()),
        Change::DeletePermissionSet(set) => WireChange::DeletePermissionSet(set.to_string()),
        Change::PutUser(patch) => WireChange::PutUser(user_patch_to_wire(patch)),
        Change::DeleteUser(user) => WireChange::DeleteUser(user.to_string()),
        Change::SetGrants {
            holder,
            key,
            provenance,
            grants,
        } => WireChange::SetGrants(wire::SetGrants {
            holder: Some(holder_to_wire(holder)),
            resource_type: key.resource_type.to_string(),
            permission: key.permission.to_string(),
            provenance: provenance.to_string(),
            terms: grants.iter().map(grant_terms_to_wire).collect(),
        }),
        Change::SetObjectGrant {
            user,
            resource,
            action,
            provenance,
            grant,
        } => WireChange::SetObjectGrant(wire::SetObjectGrant {
            user_id: user.to_string(),
            resource_type: resource.resource_type.to_string(),
            resource_id: resource.id.to_string(),
            action: action.to_string(),
            provenance: provenance.to_string(),
            terms: grant.as_ref().map(object_grant_terms_to_wire),
        }),
        Change::PutMembership { user, membership } => {
            WireChange::PutMembership(wire::PutMembership {
                user_id: user.to_string(),
                membership: Some(membership_to_wire(membership)),
            })
        }
        Change::DeleteMembership {
            user,
            of,
            provenance,
        } => WireChange::DeleteMembership(wire::DeleteMembership {
            user_id: user.to_string(),
            of: Some(match of {
                MembershipOf::Team(team) => wire::delete_membership::Of::TeamId(team.to_string()),
                MembershipOf::PermissionSet(set) => {
                    wire::delete_membership::Of::PermissionSetId(set.to_string())
                }
            }),
            provenance: provenance.to_string(),
        }),
        Change::PutAccessGroup(group) => WireChange::PutAccessGroup(group.to_string()),
        Change::DeleteAccessGroup(group) => WireChange::DeleteAccessGroup(group.to_string()),
        Change::SetGroupMember {
            group,
            principal,
            actions,
        } => WireChange::SetGroupMember(wire::SetGroupMember {
            access_group_id: group.to_string(),
            principal: Some(principal_to_wire(principal)),
            actions: actions.as_ref().map(id_list),
        }),
        Change::PutResource(patch) => WireChange::PutResource(resource_patch_to_wire(patch)),
        Change::DeleteResource(key) => WireChange::DeleteResource(resource_ref(key)),
        Change::PutAssignment {
            resource,
            principal,
            provenance,
            expires_at,
        } => WireChange::PutAssignment(wire::PutAssignment {
            resource: Some(resource_ref(resource)),
            principal: Some(principal_to_wire(principal)),
            provenance: provenance.to_string(),
            expires_at: expires_at.map(super::timestamp_to_wire),
        }),
        Change::DeleteAssignment {
            resource,
            principal,
            provenance,
        } => WireChange::DeleteAssignment(wire::DeleteAssignment {
            resource: Some(resource_ref(resource)),
            principal: Some(principal_to_wire(principal)),
            provenance: provenance.to_string(),
        }),
        Change::PutSegment(patch) => WireChange::PutSegment(segment_patch_to_wire(patch)),
        Change::DeleteSegment(segment) => WireChange::DeleteSegment(segment.to_string()),
    };
    wire::Change {
        change: Some(change),
    }
}

fn emptiable_to_wire(value: Option<&Option<Id>>) -> Option<String> {
    value.map(|id| id.as_ref().map(ToString::to_string).unwrap_or_default())
}

fn id_list(ids: &BTreeSet<Id>) -> wire::IdList {
    wire::IdList {
        ids: ids.iter().map(ToString::to_string).collect(),
    }
}

fn resource_ref(key: &ResourceKey) -> wire::ResourceRef {
    wire::ResourceRef {
        resource_type: key.resource_type.to_string(),
        id: key.id.to_string(),
    }
}

fn account_patch_to_wire(patch: &AccountPatch) -> wire::AccountPatch {
    wire::AccountPatch {
        catalog: patch.catalog.as_ref().map(catalog_to_wire),
        plan: patch.plan.as_ref().map(ToString::to_string),
        partner_program: patch
            .partner_program
            .map_or(wire::PartnerProgram::Unspecified, partner_program_to_wire)
            .into(),
        payment_method_valid: patch.payment_method_valid,
        partition_mode: patch
            .partition_mode
            .iter()
            .map(|(resource_type, mode)| {
                let mode = mode.map_or(wire::PartitionMode::Unspecified, partition_mode_to_wire);
                (resource_type.to_string(), mode.into())
            })
            .collect(),
        unpartitioned: patch
            .unpartitioned
            .iter()
            .map(|(resource_type, default)| {
                let default = default.map_or(
                    wire::UnpartitionedDefault::Unspecified,
                    unpartitioned_to_wire,
                );
                (resource_type.to_string(), default.into())
            })
            .collect(),
        request_ttl: patch
            .request_ttl_seconds
            .map(|seconds| wire::OptionalSeconds { seconds }),
        request_cool_down: patch
            .request_cool_down_seconds
            .map(|seconds| wire::OptionalSeconds { seconds }),
        request_limit_per_user: patch
            .request_limit_per_user
            .map(|count| wire::OptionalCount { count }),
    }
}

fn user_patch_to_wire(patch: &UserPatch) -> wire::UserPatch {
    wire::UserPatch {
        id: patch.id.to_string(),
        status: patch
            .status
            .map_or(wire::UserStatus::Unspecified, user_status_to_wire)
            .into(),
        kind: patch
            .kind
            .map_or(wire::UserKind::Unspecified, user_kind_to_wire)
            .into(),
        account_owner: patch.account_owner,
        super_admin: patch.super_admin,
        partner_admin: patch.partner_admin,
        main_team: emptiable_to_wire(patch.main_team.as_ref()),
        teams: patch.teams.as_ref().map(id_list),
        seats: patch.seats.as_ref().map(id_list),
        person: emptiable_to_wire(patch.person.as_ref()),
        partner: patch
            .partner
            .as_ref()
            .and_then(|partner| partner.as_ref().map(partner_to_wire)),
        clear_partner: patch.partner == Some(None),
        permission_sets: patch.permission_sets.as_ref().map(id_list),
        email: patch
            .email
            .as_ref()
            .map(|email| email.clone().unwrap_or_default()),
    }
}

fn holder_to_wire(holder: &GrantHolder) -> wire::set_grants::Holder {
    match holder {
        GrantHolder::User(user) => wire::set_grants::Holder::UserId(user.to_string()),
        GrantHolder::PermissionSet(set) => {
            wire::set_grants::Holder::PermissionSetId(set.to_string())
        }
    }
}

pub(super) fn resource_patch_to_wire(patch: &ResourcePatch) -> wire::ResourcePatch {
    wire::ResourcePatch {
        resource_type: patch.key.resource_type.to_string(),
        id: patch.key.id.to_string(),
        owners: patch.owners.as_ref().map(id_list),
        owning_team: emptiable_to_wire(patch.owning_team.as_ref()),
        partitioned: patch.partitioned,
        attributes_json: patch.attributes.as_ref().map(attributes_to_wire),
        creator_user_id: patch
            .creator
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

fn segment_patch_to_wire(patch: &SegmentPatch) -> wire::SegmentPatch {
    wire::SegmentPatch {
        id: patch.id.to_string(),
        resource_type: patch.resource_type.as_ref().map(ToString::to_string),
        when: patch.when.clone(),
        assign_to: patch
            .assign_to
            .as_ref()
            .map(|principals| wire::PrincipalList {
                principals: principals.iter().map(principal_to_wire).collect(),
            }),
        enabled: patch.enabled,
        may_partition: patch.may_partition,
    }
}
