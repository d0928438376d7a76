//! New resources of types that are kept to their creator and the creator's team (P10, C5).
//!
//! It holds where a resource is made with nothing said of its partition: who assigns it, or says
//! that it is open or closed, has said enough. What was there before is left as it is.

use super::super::model::{
    DEFAULT_KEY, EntityKey, Id, Principal, Provenance, ResourceKey, UnpartitionedDefault,
};
use super::overlay::{Slot, describe};
use super::planner::Planner;
use super::verify::problem;
use super::{ChangeError, ChangeProblem};

const FIELD: &str = "resource.creator";

impl Planner<'_> {
    /// After all changes, and before what they lead to is verified.
    pub(super) fn assign_by_default(&mut self) -> Result<(), ChangeError> {
        let created: Vec<(ResourceKey, usize, Id)> = self
            .overlay
            .resources
            .iter()
            .filter_map(|(key, slot)| {
                let (index, creator) = slot.created.clone()?;
                Some((key.clone(), index, creator))
            })
            .collect();
        let last = self.overlay.at;
        for (key, index, creator) in created {
            let user = EntityKey::User(creator.clone());
            if !self.overlay.is_there(&user) {
                let (what, id) = describe(&user);
                return Err(problem(index, FIELD, ChangeProblem::Dangling { what, id }));
            }
            if !self.is_kept_to_creators(&key) {
                continue;
            }
            self.overlay.at = index;
            let team = self.main_team(&creator).map(Principal::Team);
            for principal in [Principal::User(creator)].into_iter().chain(team) {
                self.put_assignment(&key, &principal, &Provenance::Default, None)?;
            }
        }
        self.overlay.at = last;
        Ok(())
    }

    /// Whether nothing was said of the partition of a new resource whose type has this default. A
    /// type that the plan does not let be partitioned has none.
    fn is_kept_to_creators(&self, key: &ResourceKey) -> bool {
        let defaults = &self.terms.account.settings.unpartitioned;
        let default = defaults
            .get(&key.resource_type)
            .or_else(|| defaults.get(DEFAULT_KEY));
        let is_open = self.overlay.resources.get(key).is_some_and(|slot| {
            let resource = slot.resource.get();
            !slot.unpartitioned && resource.is_some_and(|resource| !resource.partitioned)
        });
        is_open
            && default == Some(&UnpartitionedDefault::CreatorAndTeam)
            && self.terms.may_be_partitioned(&key.resource_type)
    }

    /// As the list leaves it.
    fn main_team(&self, user: &Id) -> Option<Id> {
        match self.overlay.users.get(user) {
            Some(slot) => Slot::get(slot)?.main_team.clone(),
            None => self.overlay.graph?.user(user.as_str())?.main_team.clone(),
        }
    }
}
