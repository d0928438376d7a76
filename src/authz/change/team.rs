//! Teams: put and delete. Cycles are looked for at the end ([`super::verify`]).

use super::super::model::{EntityKey, Id, Team};
use super::TeamPatch;
use super::overlay::Link;
use super::planner::Planner;

impl Planner<'_> {
    pub(super) fn put_team(&mut self, patch: &TeamPatch) {
        let team = self.overlay.team(&patch.id).put(|| Team {
            id: patch.id.clone(),
            parent: None,
        });
        if let Some(parent) = &patch.parent {
            team.parent.clone_from(parent);
        }
        if let Some(Some(parent)) = &patch.parent {
            self.overlay.claim(
                Link::Parent,
                &EntityKey::Team(patch.id.clone()),
                EntityKey::Team(parent.clone()),
            );
        }
    }

    /// P11: children move to the parent; all else that names the team is dropped.
    pub(super) fn delete_team(&mut self, id: &Id) {
        let heir = self.overlay.team(id).remove().and_then(|team| team.parent);
        self.forget(&EntityKey::Team(id.clone()), heir.as_ref());
    }
}
