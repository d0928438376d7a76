//! Access groups and the masks of their members (S5.7, S5.8).

use std::collections::{BTreeMap, BTreeSet};

use super::super::model::{AccessGroup, EntityKey, Id, Principal};
use super::overlay::{Link, entity_of};
use super::planner::Planner;
use super::{ChangeError, GROUP_MEMBERS_MAX};

fn empty_group(id: &Id) -> AccessGroup {
    AccessGroup {
        id: id.clone(),
        members: BTreeMap::new(),
    }
}

impl Planner<'_> {
    pub(super) fn put_access_group(&mut self, id: &Id) {
        self.overlay.access_group(id).put(|| empty_group(id));
    }

    pub(super) fn delete_access_group(&mut self, id: &Id) {
        self.overlay.access_group(id).remove();
        self.forget(&EntityKey::AccessGroup(id.clone()), None);
    }

    /// A mask may name any action of the catalog, and none at all.
    pub(super) fn set_group_member(
        &mut self,
        group: &Id,
        principal: &Principal,
        actions: Option<&BTreeSet<Id>>,
    ) -> Result<(), ChangeError> {
        if matches!(principal, Principal::Group(_)) {
            return Err(self.overlay.invalid(
                "group_member.principal",
                format!("a member of a group is a user or a team, this is `{principal}`"),
            ));
        }
        for action in actions.into_iter().flatten() {
            if self.terms.catalog.action_ix(action.as_str()).is_none() {
                return Err(self.overlay.invalid(
                    "group_member.actions",
                    format!("the catalog has no action `{action}`"),
                ));
            }
        }
        let at = self.overlay.at;
        let slot = self.overlay.access_group(group);
        let members = &mut slot
            .part(at, "group_member.group", || empty_group(group))
            .members;
        let Some(actions) = actions else {
            members.remove(principal);
            return Ok(());
        };
        members.insert(principal.clone(), actions.clone());
        let count = members.len();
        self.overlay.within(
            count,
            GROUP_MEMBERS_MAX,
            "group_member.group",
            "members of one access group",
        )?;
        let from = EntityKey::AccessGroup(group.clone());
        self.overlay
            .claim(Link::Member, &from, entity_of(principal));
        Ok(())
    }
}
