//! The list of changes, one after the other: which change touches what.

use std::collections::HashSet;

use super::super::graph::AccountGraph;
use super::super::model::{EntityKey, Id};
use super::account::Terms;
use super::overlay::Overlay;
use super::removal::SnapshotReferrers;
use super::{Change, ChangeError};

pub(super) struct Planner<'g> {
    pub overlay: Overlay<'g>,
    /// The account entity, its catalog and plan as they stand after the list.
    pub terms: Terms,
    pub snapshot_referrers: SnapshotReferrers,
    /// Deleted once in this list: nothing of the snapshot refers to them any more.
    pub forgotten: HashSet<EntityKey>,
    /// Changes by which a user stopped being an active super admin: index, field, user.
    pub super_admins_lost: Vec<(usize, &'static str, Id)>,
    /// Changes that made a user account owner.
    pub owners_made: Vec<(usize, Id)>,
}

impl<'g> Planner<'g> {
    pub fn new(graph: Option<&'g AccountGraph>, terms: Terms) -> Self {
        Self {
            overlay: Overlay::new(graph),
            terms,
            snapshot_referrers: SnapshotReferrers::default(),
            forgotten: HashSet::new(),
            super_admins_lost: Vec::new(),
            owners_made: Vec::new(),
        }
    }

    /// Makes one change. References are only noted; [`Planner::verify`] checks them at the end.
    #[expect(clippy::too_many_lines, reason = "one kind of change an arm")]
    pub fn make(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            // Settled before all others.
            Change::PutAccount(_) => Ok(()),
            Change::PutTeam(patch) => {
                self.put_team(patch);
                Ok(())
            }
            Change::DeleteTeam(id) => {
                self.delete_team(id);
                Ok(())
            }
            Change::PutPermissionSet(id) => {
                self.put_permission_set(id);
                Ok(())
            }
            Change::DeletePermissionSet(id) => {
                self.delete_permission_set(id);
                Ok(())
            }
            Change::PutUser(patch) => self.put_user(patch),
            Change::DeleteUser(id) => {
                self.delete_user(id);
                Ok(())
            }
            Change::SetGrants {
                holder,
                key,
                provenance,
                grants,
            } => self.set_grants(holder, key, provenance, grants),
            Change::SetObjectGrant {
                user,
                resource,
                action,
                provenance,
                grant,
            } => self.set_object_grant(user, resource, action, provenance, grant.as_ref()),
            Change::PutMembership { user, membership } => self.put_membership(user, membership),
            Change::DeleteMembership {
                user,
                of,
                provenance,
            } => {
                self.delete_membership(user, of, provenance);
                Ok(())
            }
            Change::PutAccessGroup(id) => {
                self.put_access_group(id);
                Ok(())
            }
            Change::DeleteAccessGroup(id) => {
                self.delete_access_group(id);
                Ok(())
            }
            Change::SetGroupMember {
                group,
                principal,
                actions,
            } => self.set_group_member(group, principal, actions.as_ref()),
            Change::PutResource(patch) => self.put_resource(patch),
            Change::DeleteResource(key) => {
                self.delete_resource(key);
                Ok(())
            }
            Change::PutAssignment {
                resource,
                principal,
                provenance,
                expires_at,
            } => self.put_assignment(resource, principal, provenance, *expires_at),
            Change::DeleteAssignment {
                resource,
                principal,
                provenance,
            } => {
                self.delete_assignment(resource, principal, provenance);
                Ok(())
            }
            Change::PutSegment(patch) => self.put_segment(patch),
            Change::DeleteSegment(id) => {
                self.delete_segment(id);
                Ok(())
            }
        }
    }
}
