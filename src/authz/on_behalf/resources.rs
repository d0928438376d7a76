//! Resources: what is done to them by their own actions, and to whom they are given by P1.

use std::collections::BTreeSet;

use super::places::{only_with_assign, unreached};
use super::{Judge, Judged, object};
use crate::authz::change::{ActorRefusal, Change};
use crate::authz::decision::Target;
use crate::authz::model::{Assignment, Id, Principal, Provenance, Resource, ResourceKey};

impl Judge<'_> {
    pub(super) fn resource(&self, resource: &Resource, attributes: bool) -> Judged {
        match self.graph.resource(&resource.key) {
            None => self.new_resource(resource),
            Some(before) => {
                let before = self.gone.resource(&before);
                self.changed_resource(&before, resource, attributes)
            }
        }
    }

    pub(super) fn deleted_resource(&self, key: &ResourceKey) -> Judged {
        let target = Target::Resource(key.id.as_str());
        let resource_type = key.resource_type.as_str();
        self.needs(
            "delete_resource",
            resource_type,
            &["delete", "edit"],
            target,
        )
    }

    fn new_resource(&self, resource: &Resource) -> Judged {
        let resource_type = &resource.key.resource_type;
        let actions = ["create", "edit"];
        self.needs("resource", resource_type.as_str(), &actions, Target::Tool)?;
        if self.authority.is_unlimited() {
            return Ok(());
        }
        self.is_made_by_the_actor(&resource.key)?;
        self.owners(&BTreeSet::new(), &resource.owners)?;
        self.stamp(None, resource.owning_team.as_ref())?;
        if resource.partitioned && !self.authority.may_assign_some(resource_type) {
            return object("resource.partitioned", only_with_assign());
        }
        for row in &resource.assignments {
            // P10 keeps what is made to its creator; rules assign by themselves (P6).
            if !is_by_hand(row) {
                continue;
            }
            let judged = self.authority.judge_new(resource_type, &row.principal);
            if let Err(refusal) = judged {
                return object("assignment", ActorRefusal::NoAuthority(refusal.to_string()));
            }
        }
        Ok(())
    }

    fn changed_resource(&self, before: &Resource, after: &Resource, attributes: bool) -> Judged {
        let key = &before.key;
        let moved = before.owners != after.owners || before.owning_team != after.owning_team;
        if attributes || moved {
            let target = Target::Resource(key.id.as_str());
            self.needs("resource", key.resource_type.as_str(), &["edit"], target)?;
        }
        if self.authority.is_unlimited() {
            return Ok(());
        }
        if moved {
            if !before.owners.contains(&self.actor.id) {
                let why =
                    "who may take or give a record is its owner, or holds `partition.assign` (P1)";
                return object("resource.owners", ActorRefusal::NoAuthority(why.to_owned()));
            }
            self.owners(&before.owners, &after.owners)?;
            self.stamp(before.owning_team.as_ref(), after.owning_team.as_ref())?;
        }
        if before.partitioned && !after.partitioned {
            return object("resource.partitioned", only_with_assign());
        }
        let added: Vec<&Assignment> = after.assignments.difference(&before.assignments).collect();
        let added = added.into_iter().filter(|row| is_by_hand(row));
        let mut adds = false;
        for row in added {
            adds = true;
            if let Err(refusal) = self.authority.judge(before, &row.principal) {
                return object("assignment", ActorRefusal::NoAuthority(refusal.to_string()));
            }
        }
        let by_rule = after.assignments.iter().any(|row| !is_by_hand(row));
        let closes = !before.partitioned && after.partitioned && !adds && !by_rule;
        let owns = before.owners.contains(&self.actor.id)
            && self.authority.may_assign_some(&key.resource_type);
        if closes && !owns {
            return object("resource.partitioned", only_with_assign());
        }
        // Both only add (P1): a row that goes, or ends earlier, takes somebody's access.
        let taken = before
            .assignments
            .iter()
            .filter(|row| is_by_hand(row))
            .find(|row| {
                !after.assignments.iter().any(|other| {
                    other.principal == row.principal
                        && other.provenance == row.provenance
                        && lasts(other, row)
                })
            });
        match taken {
            Some(_) => object("delete_assignment", only_with_assign()),
            None => Ok(()),
        }
    }

    /// Ownership gives access and authority, so it is given like an assignment.
    fn owners(&self, before: &BTreeSet<Id>, after: &BTreeSet<Id>) -> Judged {
        let beyond = after.difference(before).find(|owner| {
            **owner != self.actor.id && !self.authority.reaches(&Principal::User((*owner).clone()))
        });
        match beyond {
            Some(owner) => object(
                "resource.owners",
                ActorRefusal::NoAuthority(format!(
                    "`{owner}` is in no team that the user reaches (P1)"
                )),
            ),
            None => Ok(()),
        }
    }

    fn stamp(&self, before: Option<&Id>, after: Option<&Id>) -> Judged {
        match after.filter(|_| before != after) {
            Some(team) if !self.authority.reaches(&Principal::Team(team.clone())) => {
                object("resource.owning_team", unreached(team))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn is_made_by_the_actor(&self, key: &ResourceKey) -> Judged {
        let by_another = self.changes.iter().any(|change| match change {
            Change::PutResource(patch) if patch.key == *key => patch
                .creator
                .as_ref()
                .is_some_and(|creator| *creator != self.actor.id),
            _ => false,
        });
        match by_another {
            true => object(
                "resource.creator",
                ActorRefusal::MayNot(
                    "who makes a record in the name of a user makes it for that user",
                ),
            ),
            false => Ok(()),
        }
    }
}

/// Other rows come by rules and defaults: an actor can't write them, which is judged before.
fn is_by_hand(row: &Assignment) -> bool {
    !matches!(row.provenance, Provenance::Segment(_) | Provenance::Default)
}

fn lasts(new: &Assignment, old: &Assignment) -> bool {
    match (new.expires_at, old.expires_at) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(new), Some(old)) => new >= old,
    }
}
