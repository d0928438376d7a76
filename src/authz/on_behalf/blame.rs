//! Which change of a list an entity of its outcome comes from.

use super::{Judge, Objection, Problem};
use crate::authz::change::{Change, ChangeError, ChangeProblem, GrantHolder};
use crate::authz::model::EntityKey;

impl Judge<'_> {
    /// The last change that names the entity, and of those that name it the last that is about the
    /// field.
    pub(super) fn blame(&self, key: &EntityKey, problem: Problem) -> ChangeError {
        let (field, problem) = match problem {
            Problem::Objection(Objection { field, why }) => (field, ChangeProblem::Refused(why)),
            Problem::Change(field, problem) => (field, problem),
        };
        let about = field.split('.').next().unwrap_or_default();
        let of_field = self
            .changes
            .iter()
            .rposition(|change| names(change, key) && kind(change) == about);
        let of_entity = || self.changes.iter().rposition(|change| names(change, key));
        let index = of_field.or_else(of_entity).unwrap_or_default();
        // The field of another kind of change would name what isn't there.
        let field = match (of_field, self.changes.get(index)) {
            (None, Some(change)) => kind(change),
            _ => field,
        };
        ChangeError {
            index,
            field: field.to_owned(),
            problem,
        }
    }
}

/// How the core names a change in the path of a field.
pub(super) fn kind(change: &Change) -> &'static str {
    match change {
        Change::PutAccount(_) => "account",
        Change::PutTeam(_) => "team",
        Change::DeleteTeam(_) => "delete_team",
        Change::PutPermissionSet(_) => "permission_set",
        Change::DeletePermissionSet(_) => "delete_permission_set",
        Change::PutUser(_) => "user",
        Change::DeleteUser(_) => "delete_user",
        Change::SetGrants { .. } => "grants",
        Change::SetObjectGrant { .. } => "object_grant",
        Change::PutMembership { .. } => "membership",
        Change::DeleteMembership { .. } => "delete_membership",
        Change::PutAccessGroup(_) => "access_group",
        Change::DeleteAccessGroup(_) => "delete_access_group",
        Change::SetGroupMember { .. } => "group_member",
        Change::PutResource(_) => "resource",
        Change::DeleteResource(_) => "delete_resource",
        Change::PutAssignment { .. } => "assignment",
        Change::DeleteAssignment { .. } => "delete_assignment",
        Change::PutSegment(_) => "segment",
        Change::DeleteSegment(_) => "delete_segment",
    }
}

fn names(change: &Change, key: &EntityKey) -> bool {
    match (change, key) {
        (Change::PutAccount(_), EntityKey::Account) => true,
        (Change::PutTeam(patch), EntityKey::Team(id)) => patch.id == *id,
        (Change::DeleteTeam(team), EntityKey::Team(id)) => team == id,
        (
            Change::PutPermissionSet(set)
            | Change::DeletePermissionSet(set)
            | Change::SetGrants {
                holder: GrantHolder::PermissionSet(set),
                ..
            },
            EntityKey::PermissionSet(id),
        ) => set == id,
        (Change::PutUser(patch), EntityKey::User(id)) => patch.id == *id,
        (
            Change::DeleteUser(user)
            | Change::SetGrants {
                holder: GrantHolder::User(user),
                ..
            }
            | Change::SetObjectGrant { user, .. }
            | Change::PutMembership { user, .. }
            | Change::DeleteMembership { user, .. },
            EntityKey::User(id),
        ) => user == id,
        (
            Change::PutAccessGroup(group)
            | Change::DeleteAccessGroup(group)
            | Change::SetGroupMember { group, .. },
            EntityKey::AccessGroup(id),
        ) => group == id,
        (Change::PutResource(patch), EntityKey::Resource(key)) => patch.key == *key,
        (
            Change::DeleteResource(resource)
            | Change::PutAssignment { resource, .. }
            | Change::DeleteAssignment { resource, .. },
            EntityKey::Resource(key),
        ) => resource == key,
        (Change::PutSegment(patch), EntityKey::Segment(id)) => patch.id == *id,
        (Change::DeleteSegment(segment), EntityKey::Segment(id)) => segment == id,
        _ => false,
    }
}
