//! Changes, as writes take them.

use std::collections::BTreeSet;

use super::entity::{
    catalog_from_wire, known, partition_mode_from_wire, partner_program_from_wire,
    unpartitioned_from_wire,
};
use super::{Path, id, ids, optional_id, principal, timestamp};
use crate::authz::change::{
    AccountPatch, Change, GrantHolder, ResourcePatch, SegmentPatch, TeamPatch, UserPatch,
};
use crate::authz::model::{
    Attributes, Grant, Id, Level, Membership, MembershipOf, ObjectGrant, Partner, PartnerRole,
    Partnership, PermissionKey, Principal, Provenance, ResourceKey, UserKind, UserStatus,
};
use crate::grpc::status::Failure;
use crate::grpc::wire;
use wire::change::Change as WireChange;

/// One change of a write; `path` is that of the change, e.g. `changes[3]`.
pub fn change_from_wire(change: wire::Change, path: Path<'_>) -> Result<Change, Failure> {
    let Some(change) = change.change else {
        return Err(Failure::invalid(
            path,
            "the change is empty: set one of its fields",
        ));
    };
    Ok(match change {
        WireChange::PutAccount(patch) => {
            Change::PutAccount(account_patch(&patch, &path.field("put_account"))?)
        }
        WireChange::PutTeam(patch) => {
            let path = path.field("put_team");
            Change::PutTeam(TeamPatch {
                id: id(&patch.id, path.field("id"))?,
                parent: emptiable(patch.parent.as_deref(), path.field("parent"))?,
            })
        }
        WireChange::DeleteTeam(team) => Change::DeleteTeam(id(&team, path.field("delete_team"))?),
        WireChange::PutPermissionSet(set) => {
            Change::PutPermissionSet(id(&set, path.field("put_permission_set"))?)
        }
        WireChange::DeletePermissionSet(set) => {
            Change::DeletePermissionSet(id(&set, path.field("delete_permission_set"))?)
        }
        WireChange::PutUser(patch) => {
            Change::PutUser(Box::new(user_patch(&patch, &path.field("put_user"))?))
        }
        WireChange::DeleteUser(user) => Change::DeleteUser(id(&user, path.field("delete_user"))?),
        WireChange::SetGrants(grants) => set_grants(&grants, &path.field("set_grants"))?,
        WireChange::SetObjectGrant(grant) => {
            set_object_grant(&grant, &path.field("set_object_grant"))?
        }
        WireChange::PutMembership(put) => put_membership(&put, &path.field("put_membership"))?,
        WireChange::DeleteMembership(membership) => {
            delete_membership(&membership, &path.field("delete_membership"))?
        }
        WireChange::PutAccessGroup(group) => {
            Change::PutAccessGroup(id(&group, path.field("put_access_group"))?)
        }
        WireChange::DeleteAccessGroup(group) => {
            Change::DeleteAccessGroup(id(&group, path.field("delete_access_group"))?)
        }
        WireChange::SetGroupMember(member) => {
            set_group_member(&member, &path.field("set_group_member"))?
        }
        WireChange::PutResource(patch) => {
            Change::PutResource(resource_patch(&patch, &path.field("put_resource"))?)
        }
        WireChange::DeleteResource(resource) => Change::DeleteResource(resource_key(
            Some(&resource),
            path.field("delete_resource"),
        )?),
        WireChange::PutAssignment(assignment) => {
            let path = path.field("put_assignment");
            Change::PutAssignment {
                resource: resource_key(assignment.resource.as_ref(), path.field("resource"))?,
                principal: principal(assignment.principal.as_ref(), path.field("principal"))?,
                provenance: provenance(&assignment.provenance, path.field("provenance"))?,
                expires_at: optional_time(
                    assignment.expires_at.as_ref(),
                    path.field("expires_at"),
                )?,
            }
        }
        WireChange::DeleteAssignment(assignment) => {
            let path = path.field("delete_assignment");
            Change::DeleteAssignment {
                resource: resource_key(assignment.resource.as_ref(), path.field("resource"))?,
                principal: principal(assignment.principal.as_ref(), path.field("principal"))?,
                provenance: provenance(&assignment.provenance, path.field("provenance"))?,
            }
        }
        WireChange::PutSegment(patch) => {
            Change::PutSegment(segment_patch(patch, &path.field("put_segment"))?)
        }
        WireChange::DeleteSegment(segment) => {
            Change::DeleteSegment(id(&segment, path.field("delete_segment"))?)
        }
    })
}

/// A field that may be left as it is (absent) or emptied (empty).
fn emptiable(text: Option<&str>, path: Path<'_>) -> Result<Option<Option<Id>>, Failure> {
    text.map(|text| optional_id(text, path)).transpose()
}

fn id_set(list: Option<&wire::IdList>, path: &Path<'_>) -> Result<Option<BTreeSet<Id>>, Failure> {
    list.map(|list| Ok(ids(&list.ids, &path.field("ids"))?.into_iter().collect()))
        .transpose()
}

fn provenance(text: &str, path: Path<'_>) -> Result<Provenance, Failure> {
    if text.is_empty() {
        return Ok(Provenance::Manual);
    }
    text.parse()
        .map_err(|error| Failure::invalid(path, format_args!("{error}")))
}

fn optional_time(
    value: Option<&prost_types::Timestamp>,
    path: Path<'_>,
) -> Result<Option<crate::authz::model::Timestamp>, Failure> {
    value.map(|value| timestamp(value, path)).transpose()
}

fn resource_key(
    resource: Option<&wire::ResourceRef>,
    path: Path<'_>,
) -> Result<ResourceKey, Failure> {
    let Some(resource) = resource else {
        return Err(Failure::invalid(path, "a resource is required"));
    };
    Ok(ResourceKey {
        resource_type: id(&resource.resource_type, path.field("resource_type"))?,
        id: id(&resource.id, path.field("id"))?,
    })
}

fn account_patch(patch: &wire::AccountPatch, path: &Path<'_>) -> Result<AccountPatch, Failure> {
    Ok(AccountPatch {
        catalog: patch
            .catalog
            .as_ref()
            .map(|catalog| catalog_from_wire(Some(catalog), path.field("catalog")))
            .transpose()?,
        plan: patch
            .plan
            .as_deref()
            .map(|plan| id(plan, path.field("plan")))
            .transpose()?,
        partner_program: partner_program_from_wire(
            patch.partner_program,
            path.field("partner_program"),
        )?,
        payment_method_valid: patch.payment_method_valid,
        partition_mode: partition_mode_from_wire(
            &patch.partition_mode,
            &path.field("partition_mode"),
        )?,
        unpartitioned: unpartitioned_from_wire(&patch.unpartitioned, &path.field("unpartitioned"))?,
        request_ttl_seconds: patch.request_ttl.as_ref().map(|value| value.seconds),
        request_cool_down_seconds: patch.request_cool_down.as_ref().map(|value| value.seconds),
        request_limit_per_user: patch
            .request_limit_per_user
            .as_ref()
            .map(|value| value.count),
    })
}

fn user_patch(patch: &wire::UserPatch, path: &Path<'_>) -> Result<UserPatch, Failure> {
    let status = match known(
        wire::UserStatus::try_from(patch.status),
        path.field("status"),
    )? {
        wire::UserStatus::Unspecified => None,
        wire::UserStatus::Invited => Some(UserStatus::Invited),
        wire::UserStatus::Active => Some(UserStatus::Active),
        wire::UserStatus::Deactivated => Some(UserStatus::Deactivated),
        wire::UserStatus::Removed => Some(UserStatus::Removed),
    };
    let kind = match known(wire::UserKind::try_from(patch.kind), path.field("kind"))? {
        wire::UserKind::Unspecified => None,
        wire::UserKind::Internal => Some(UserKind::Internal),
        wire::UserKind::PartnerEmployee => Some(UserKind::PartnerEmployee),
        wire::UserKind::Contractor => Some(UserKind::Contractor),
    };
    let partner = match (&patch.partner, patch.clear_partner) {
        (Some(_), true) => {
            return Err(Failure::invalid(
                path.field("clear_partner"),
                "the partner side is either set or cleared",
            ));
        }
        (Some(value), false) => Some(Some(partner(value, &path.field("partner"))?)),
        (None, true) => Some(None),
        (None, false) => None,
    };
    Ok(UserPatch {
        id: id(&patch.id, path.field("id"))?,
        status,
        kind,
        account_owner: patch.account_owner,
        super_admin: patch.super_admin,
        partner_admin: patch.partner_admin,
        main_team: emptiable(patch.main_team.as_deref(), path.field("main_team"))?,
        teams: id_set(patch.teams.as_ref(), &path.field("teams"))?,
        seats: id_set(patch.seats.as_ref(), &path.field("seats"))?,
        person: emptiable(patch.person.as_deref(), path.field("person"))?,
        // A form that is none is refused where the change is planned, which names the field too.
        email: patch
            .email
            .as_ref()
            .map(|email| (!email.is_empty()).then(|| email.clone())),
        partner,
        permission_sets: id_set(
            patch.permission_sets.as_ref(),
            &path.field("permission_sets"),
        )?,
    })
}

fn partner(partner: &wire::Partner, path: &Path<'_>) -> Result<Partner, Failure> {
    let required = |path: Path<'_>| Failure::invalid(path, "the value is required");
    let role_path = path.field("role");
    let role = match known(wire::PartnerRole::try_from(partner.role), role_path)? {
        wire::PartnerRole::Unspecified => return Err(required(role_path)),
        wire::PartnerRole::Admin => PartnerRole::Admin,
        wire::PartnerRole::Employee => PartnerRole::Employee,
        wire::PartnerRole::Contractor => PartnerRole::Contractor,
    };
    let partnership_path = path.field("partnership");
    let partnership = match known(
        wire::Partnership::try_from(partner.partnership),
        partnership_path,
    )? {
        wire::Partnership::Unspecified => return Err(required(partnership_path)),
        wire::Partnership::Active => Partnership::Active,
        wire::Partnership::Ended => Partnership::Ended,
    };
    Ok(Partner {
        account: id(&partner.account, path.field("account"))?,
        user: id(&partner.user, path.field("user"))?,
        role,
        partnership,
    })
}

fn set_grants(change: &wire::SetGrants, path: &Path<'_>) -> Result<Change, Failure> {
    let holder = match &change.holder {
        Some(wire::set_grants::Holder::UserId(user)) => {
            GrantHolder::User(id(user, path.field("user_id"))?)
        }
        Some(wire::set_grants::Holder::PermissionSetId(set)) => {
            GrantHolder::PermissionSet(id(set, path.field("permission_set_id"))?)
        }
        None => {
            return Err(Failure::invalid(
                *path,
                "a holder is required: set user_id or permission_set_id",
            ));
        }
    };
    let key = PermissionKey {
        resource_type: id(&change.resource_type, path.field("resource_type"))?,
        permission: id(&change.permission, path.field("permission"))?,
    };
    let provenance = provenance(&change.provenance, path.field("provenance"))?;
    let mut grants = Vec::with_capacity(change.terms.len());
    for (index, terms) in change.terms.iter().enumerate() {
        let path = path.field("terms").at(index);
        grants.push(Grant {
            key: key.clone(),
            level: level(terms.level, path.field("level"))?,
            include_unassigned: terms.include_unassigned,
            not_before: optional_time(terms.not_before.as_ref(), path.field("not_before"))?,
            expires_at: optional_time(terms.expires_at.as_ref(), path.field("expires_at"))?,
            provenance: provenance.clone(),
            granted_by: optional_id(&terms.granted_by, path.field("granted_by"))?,
        });
    }
    Ok(Change::SetGrants {
        holder,
        key,
        provenance,
        grants,
    })
}

/// A level that is required.
pub fn level(value: i32, path: Path<'_>) -> Result<Level, Failure> {
    match known(wire::Level::try_from(value), path)? {
        wire::Level::Unspecified => Err(Failure::invalid(path, "a level is required")),
        wire::Level::None => Ok(Level::None),
        wire::Level::Owned => Ok(Level::Owned),
        wire::Level::Team => Ok(Level::Team),
        wire::Level::Everything => Ok(Level::Everything),
    }
}

fn set_object_grant(change: &wire::SetObjectGrant, path: &Path<'_>) -> Result<Change, Failure> {
    let resource = ResourceKey {
        resource_type: id(&change.resource_type, path.field("resource_type"))?,
        id: id(&change.resource_id, path.field("resource_id"))?,
    };
    let action = id(&change.action, path.field("action"))?;
    let provenance = provenance(&change.provenance, path.field("provenance"))?;
    let grant = change
        .terms
        .as_ref()
        .map(|terms| {
            let path = path.field("terms");
            Ok::<ObjectGrant, Failure>(ObjectGrant {
                resource: resource.clone(),
                action: action.clone(),
                not_before: optional_time(terms.not_before.as_ref(), path.field("not_before"))?,
                expires_at: optional_time(terms.expires_at.as_ref(), path.field("expires_at"))?,
                provenance: provenance.clone(),
                granted_by: optional_id(&terms.granted_by, path.field("granted_by"))?,
            })
        })
        .transpose()?;
    Ok(Change::SetObjectGrant {
        user: id(&change.user_id, path.field("user_id"))?,
        resource,
        action,
        provenance,
        grant,
    })
}

fn put_membership(change: &wire::PutMembership, path: &Path<'_>) -> Result<Change, Failure> {
    use wire::membership::Of;
    let user = id(&change.user_id, path.field("user_id"))?;
    let path = path.field("membership");
    let Some(membership) = &change.membership else {
        return Err(Failure::invalid(path, "a membership is required"));
    };
    let of = match &membership.of {
        Some(Of::TeamId(team)) => MembershipOf::Team(id(team, path.field("team_id"))?),
        Some(Of::PermissionSetId(set)) => {
            MembershipOf::PermissionSet(id(set, path.field("permission_set_id"))?)
        }
        None => return Err(Failure::invalid(path, OF_WHAT)),
    };
    Ok(Change::PutMembership {
        user,
        membership: Membership {
            of,
            provenance: provenance(&membership.provenance, path.field("provenance"))?,
            expires_at: optional_time(membership.expires_at.as_ref(), path.field("expires_at"))?,
            granted_by: optional_id(&membership.granted_by, path.field("granted_by"))?,
        },
    })
}

const OF_WHAT: &str =
    "a membership is of a team or a permission set: set team_id or permission_set_id";

fn delete_membership(change: &wire::DeleteMembership, path: &Path<'_>) -> Result<Change, Failure> {
    use wire::delete_membership::Of;
    let of = match &change.of {
        Some(Of::TeamId(team)) => MembershipOf::Team(id(team, path.field("team_id"))?),
        Some(Of::PermissionSetId(set)) => {
            MembershipOf::PermissionSet(id(set, path.field("permission_set_id"))?)
        }
        None => return Err(Failure::invalid(*path, OF_WHAT)),
    };
    Ok(Change::DeleteMembership {
        user: id(&change.user_id, path.field("user_id"))?,
        of,
        provenance: provenance(&change.provenance, path.field("provenance"))?,
    })
}

fn set_group_member(change: &wire::SetGroupMember, path: &Path<'_>) -> Result<Change, Failure> {
    let principal_path = path.field("principal");
    let principal = principal(change.principal.as_ref(), principal_path)?;
    if let Principal::Group(_) = principal {
        return Err(Failure::invalid(
            principal_path,
            "a member of an access group is a user or a team",
        ));
    }
    Ok(Change::SetGroupMember {
        group: id(&change.access_group_id, path.field("access_group_id"))?,
        principal,
        actions: id_set(change.actions.as_ref(), &path.field("actions"))?,
    })
}

pub(super) fn resource_patch(
    patch: &wire::ResourcePatch,
    path: &Path<'_>,
) -> Result<ResourcePatch, Failure> {
    Ok(ResourcePatch {
        key: ResourceKey {
            resource_type: id(&patch.resource_type, path.field("resource_type"))?,
            id: id(&patch.id, path.field("id"))?,
        },
        owners: id_set(patch.owners.as_ref(), &path.field("owners"))?,
        owning_team: emptiable(patch.owning_team.as_deref(), path.field("owning_team"))?,
        partitioned: patch.partitioned,
        attributes: patch
            .attributes_json
            .as_deref()
            .map(|text| attributes(text, path.field("attributes_json")))
            .transpose()?,
        creator: optional_id(&patch.creator_user_id, path.field("creator_user_id"))?,
    })
}

pub fn attributes(text: &str, path: Path<'_>) -> Result<Attributes, Failure> {
    if text.is_empty() {
        return Ok(Attributes::new());
    }
    // serde_json bounds the depth at 128 and says where the text is wrong.
    serde_json::from_str(text).map_err(|error| {
        Failure::invalid(path, format_args!("the text is not a JSON object: {error}"))
    })
}

fn segment_patch(patch: wire::SegmentPatch, path: &Path<'_>) -> Result<SegmentPatch, Failure> {
    let assign_to = match &patch.assign_to {
        Some(list) => {
            let path = path.field("assign_to");
            let path = path.field("principals");
            let principals = list
                .principals
                .iter()
                .enumerate()
                .map(|(index, value)| principal(Some(value), path.at(index)))
                .collect::<Result<BTreeSet<Principal>, Failure>>()?;
            Some(principals)
        }
        None => None,
    };
    Ok(SegmentPatch {
        id: id(&patch.id, path.field("id"))?,
        resource_type: patch
            .resource_type
            .as_deref()
            .map(|resource_type| id(resource_type, path.field("resource_type")))
            .transpose()?,
        when: patch.when,
        assign_to,
        enabled: patch.enabled,
        may_partition: patch.may_partition,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{change_to_wire, changes_of_entity};
    use super::*;
    use crate::authz::model::{Assignment, Entity, Resource, Segment, Team, User};

    fn parse(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn key() -> ResourceKey {
        ResourceKey {
            resource_type: parse("contact"),
            id: parse("c1"),
        }
    }

    fn grant(level: Level) -> Grant {
        Grant {
            key: PermissionKey {
                resource_type: parse("contact"),
                permission: parse("view"),
            },
            level,
            include_unassigned: level == Level::Team,
            not_before: crate::authz::model::Timestamp::from_unix_micros(-1),
            expires_at: crate::authz::model::Timestamp::from_unix_micros(1_000_001),
            provenance: Provenance::Request(parse("7")),
            granted_by: Some(parse("sa")),
        }
    }

    fn object_grant() -> ObjectGrant {
        ObjectGrant {
            resource: key(),
            action: parse("view"),
            not_before: None,
            expires_at: None,
            provenance: Provenance::Manual,
            granted_by: None,
        }
    }

    fn put(entity: Entity) -> Change {
        let (mut changes, _later) = changes_of_entity(entity);
        changes.remove(0)
    }

    /// One of each kind, with every field said and with every field left out.
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn every_change() -> Vec<Change> {
        let mut user = User::new(parse("u"));
        user.kind = UserKind::Contractor;
        user.main_team = Some(parse("de"));
        user.teams = [parse("us")].into();
        user.seats = [parse("sales")].into();
        user.partner = Some(Partner {
            account: parse("agency"),
            user: parse("u1"),
            role: PartnerRole::Employee,
            partnership: Partnership::Ended,
        });
        user.email = Some("u@example.org".to_owned());
        user.memberships = [
            Membership {
                of: MembershipOf::Team(parse("us")),
                provenance: Provenance::Request(parse("7")),
                expires_at: crate::authz::model::Timestamp::from_unix_micros(1_000_001),
                granted_by: Some(parse("sa")),
            },
            Membership {
                of: MembershipOf::PermissionSet(parse("s")),
                provenance: Provenance::Manual,
                expires_at: None,
                granted_by: None,
            },
        ]
        .into();
        user.grants = [grant(Level::Owned), grant(Level::Team)].into();
        user.object_grants = [object_grant()].into();
        let (mut changes, later) = changes_of_entity(Entity::User(user));
        changes.extend(later);
        changes.extend([
            put(Entity::Team(Team {
                id: parse("de"),
                parent: Some(parse("eu")),
            })),
            put(Entity::Team(Team {
                id: parse("eu"),
                parent: None,
            })),
            Change::PutTeam(TeamPatch {
                id: parse("eu"),
                parent: None,
            }),
            Change::DeleteTeam(parse("eu")),
            Change::PutPermissionSet(parse("s")),
            Change::DeletePermissionSet(parse("s")),
            Change::DeleteUser(parse("u")),
            Change::SetObjectGrant {
                user: parse("u"),
                resource: key(),
                action: parse("view"),
                provenance: Provenance::Import(parse("j")),
                grant: None,
            },
            Change::DeleteMembership {
                user: parse("u"),
                of: MembershipOf::Team(parse("us")),
                provenance: Provenance::Manual,
            },
            Change::DeleteMembership {
                user: parse("u"),
                of: MembershipOf::PermissionSet(parse("s")),
                provenance: Provenance::Request(parse("7")),
            },
            Change::PutAccessGroup(parse("g")),
            Change::DeleteAccessGroup(parse("g")),
            Change::SetGroupMember {
                group: parse("g"),
                principal: Principal::Team(parse("de")),
                actions: Some(BTreeSet::new()),
            },
            Change::SetGroupMember {
                group: parse("g"),
                principal: Principal::User(parse("u")),
                actions: None,
            },
            Change::DeleteResource(key()),
            Change::DeleteAssignment {
                resource: key(),
                principal: Principal::Group(parse("g")),
                provenance: Provenance::Default,
            },
            put(Entity::Segment(Segment {
                id: parse("gold"),
                resource_type: parse("contact"),
                when: "resource.score > 10".to_owned(),
                assign_to: [Principal::Group(parse("g"))].into(),
                enabled: true,
                may_partition: false,
            })),
            Change::DeleteSegment(parse("gold")),
            Change::PutAccount(AccountPatch::default()),
            Change::PutAccount(AccountPatch {
                partition_mode: vec![(parse("contact"), None)],
                request_ttl_seconds: Some(None),
                request_limit_per_user: Some(Some(0)),
                ..AccountPatch::default()
            }),
        ]);
        let attributes = serde_json::json!({"score": 9_007_199_254_740_993_i64, "tags": ["a"]});
        let (made, _later) = changes_of_entity(Entity::Resource(
            Resource {
                key: key(),
                owners: BTreeSet::new(),
                owning_team: None,
                partitioned: true,
                assignments: [Assignment {
                    principal: Principal::Team(parse("de")),
                    provenance: Provenance::Segment(parse("gold")),
                    expires_at: crate::authz::model::Timestamp::from_unix_micros(7),
                }]
                .into(),
            },
            attributes.as_object().cloned(),
        ));
        changes.extend(made);
        changes
    }

    #[test]
    fn every_change_survives_the_wire() {
        for change in every_change() {
            let wire = change_to_wire(&change);
            assert_eq!(
                change_from_wire(wire, Path::root("changes").at(0)),
                Ok(change)
            );
        }
    }

    #[test]
    fn a_complaint_names_the_field() {
        let cases = [
            (wire::Change { change: None }, "changes[2]"),
            (
                wire::Change {
                    change: Some(WireChange::PutUser(wire::UserPatch {
                        id: "u".to_owned(),
                        teams: Some(wire::IdList {
                            ids: vec!["de".to_owned(), String::new()],
                        }),
                        ..wire::UserPatch::default()
                    })),
                },
                "changes[2].put_user.teams.ids[1]",
            ),
            (
                wire::Change {
                    change: Some(WireChange::PutUser(wire::UserPatch {
                        id: "u".to_owned(),
                        status: 99,
                        ..wire::UserPatch::default()
                    })),
                },
                "changes[2].put_user.status",
            ),
            (
                wire::Change {
                    change: Some(WireChange::PutResource(wire::ResourcePatch {
                        resource_type: "contact".to_owned(),
                        id: "c".to_owned(),
                        attributes_json: Some("[1]".to_owned()),
                        ..wire::ResourcePatch::default()
                    })),
                },
                "changes[2].put_resource.attributes_json",
            ),
        ];
        for (change, field) in cases {
            let failure = change_from_wire(change, Path::root("changes").at(2)).unwrap_err();
            assert_eq!(failure.field.as_deref(), Some(field));
        }
    }
}
