//! Step 8 of the decision: how a resource stands to a user, and what that comes to.

use std::collections::{BTreeMap, BTreeSet};

use ambit::authz::decision::{ReasonCode, ResourceFacts};
use ambit::authz::model::{
    DEFAULT_KEY, Id, Level, MembershipOf, PartitionMode, Principal, Resource, Timestamp,
    UnpartitionedDefault, User,
};

use super::{Answer, Counting, World, allow, highest, live};

/// What a check needs to know of a resource, stored or described.
pub struct Facts<'f> {
    pub id: &'f str,
    owners: Vec<&'f Id>,
    owning_team: Option<&'f Id>,
    partitioned: bool,
    assigned: Vec<(&'f Principal, Option<Timestamp>)>,
}

/// What is known about the user and one resource (3.2 step 8).
#[derive(Clone, Copy)]
pub struct Relation {
    own: bool,
    assigned_user: bool,
    object_grant: bool,
    team_own: bool,
    team_below: bool,
    group: bool,
    mask_failed: bool,
    owning_own: bool,
    owning_below: bool,
    any_live: bool,
}

impl Relation {
    fn named(self) -> bool {
        self.assigned_user || self.object_grant
    }
    fn team_assigned(self) -> bool {
        self.team_own || self.team_below
    }
    fn team_owned(self) -> bool {
        self.owning_own || self.owning_below
    }
    /// What passes a wall.
    fn admitted(self) -> bool {
        self.own || self.named() || self.team_assigned() || self.group
    }
}

impl<'w> World<'w> {
    /// Teams that the account has and the user is in: main and additional ones, and those by a
    /// membership that has not ended.
    fn own_teams(&self, user: &User, at: Timestamp) -> BTreeSet<&'w str> {
        teams_of(user, at)
            .into_iter()
            .filter_map(|team| self.teams.get(team.as_str()))
            .map(|team| team.id.as_str())
            .collect()
    }

    /// Whether walking up from `team` meets one of `tops`, itself excluded.
    fn below(&self, team: &str, tops: &BTreeSet<&str>) -> bool {
        if !self.plan().nested_teams {
            return false;
        }
        let mut seen = BTreeSet::new();
        let mut present = self.teams.get(team).copied();
        while let Some(step) = present {
            if !seen.insert(step.id.as_str()) {
                return false;
            }
            present = step
                .parent
                .as_ref()
                .and_then(|parent| self.teams.get(parent.as_str()).copied());
            if present.is_some_and(|parent| tops.contains(parent.id.as_str())) {
                return true;
            }
        }
        false
    }

    pub fn relation(
        &self,
        user: &User,
        action: &str,
        facts: &Facts<'_>,
        object_grant: bool,
        at: Timestamp,
    ) -> Relation {
        let mine = self.own_teams(user, at);
        let mut relation = Relation {
            own: facts.owners.contains(&&user.id),
            assigned_user: false,
            object_grant,
            team_own: false,
            team_below: false,
            group: false,
            mask_failed: false,
            owning_own: false,
            owning_below: false,
            any_live: false,
        };
        for (principal, expires_at) in &facts.assigned {
            if !live(None, *expires_at, at) {
                continue;
            }
            relation.any_live = true;
            match principal {
                Principal::User(id) => relation.assigned_user |= *id == user.id,
                Principal::Team(id) => {
                    relation.team_own |= mine.contains(id.as_str());
                    relation.team_below |= self.below(id.as_str(), &mine);
                }
                Principal::Group(id) => {
                    let Some(group) = self.groups.get(id.as_str()) else {
                        continue;
                    };
                    for (member, mask) in &group.members {
                        let is_member = match member {
                            Principal::User(id) => *id == user.id,
                            Principal::Team(id) => {
                                mine.contains(id.as_str()) || self.below(id.as_str(), &mine)
                            }
                            Principal::Group(_) => false,
                        };
                        let named = mask.iter().any(|named| named.as_str() == action);
                        relation.group |= is_member && named;
                        relation.mask_failed |= is_member && !named;
                    }
                }
            }
        }
        let owning: Vec<&str> = match facts.owning_team {
            Some(team) => vec![team.as_str()],
            None => facts
                .owners
                .iter()
                .filter_map(|owner| self.users.get(owner.as_str()))
                .flat_map(|owner| teams_of(owner, at))
                .map(Id::as_str)
                .collect(),
        };
        for team in owning {
            relation.owning_own |= mine.contains(team);
            relation.owning_below |= self.below(team, &mine);
        }
        relation
    }

    fn setting<T: Copy>(of: &BTreeMap<Id, T>, resource_type: &str) -> Option<T> {
        of.get(resource_type)
            .or_else(|| of.get(DEFAULT_KEY))
            .copied()
    }

    // Step 8.
    pub fn object_level(
        &self,
        resource_type: &str,
        grants: &[Counting],
        always: bool,
        facts: &Facts<'_>,
        relation: Relation,
    ) -> Result<Answer, ReasonCode> {
        let settings = &self.account.settings;
        let share =
            Self::setting(&settings.partition_mode, resource_type) == Some(PartitionMode::Share);
        let no_one = Self::setting(&settings.unpartitioned, resource_type)
            == Some(UnpartitionedDefault::NoOne);
        let walled = !share && (facts.partitioned || no_one);
        if walled && !relation.admitted() {
            return Err(if !facts.partitioned {
                ReasonCode::UnpartitionedRestricted
            } else if !relation.any_live {
                ReasonCode::Orphaned
            } else if relation.mask_failed {
                ReasonCode::ActionNotInGroup
            } else {
                ReasonCode::NotInPartition
            });
        }
        let unassigned = !walled && facts.owners.is_empty() && !facts.partitioned;
        // An object grant passes as a grant at owned: it names the user.
        let object_grant = relation.object_grant.then_some(Counting {
            level: Level::Owned,
            include_unassigned: false,
        });
        let passing: Vec<(&Counting, bool)> = grants
            .iter()
            .chain(object_grant.as_ref())
            .filter_map(|grant| {
                let reached = match grant.level {
                    Level::None => false,
                    Level::Owned => relation.own || relation.named(),
                    Level::Team => walled || relation.admitted() || relation.team_owned(),
                    Level::Everything => true,
                };
                let by_box = !reached && unassigned && grant.include_unassigned;
                (reached || by_box).then_some((grant, by_box))
            })
            .collect();
        if passing.is_empty() {
            if always {
                return Ok(allow(ReasonCode::Always, Level::Everything, false));
            }
            let highest = grants.iter().map(|grant| grant.level).max();
            return Err(if unassigned {
                ReasonCode::UnassignedNotIncluded
            } else if highest == Some(Level::Team) {
                ReasonCode::NotInTeam
            } else {
                ReasonCode::NotOwner
            });
        }
        let reason = allow_code(&passing, walled, relation);
        let counting = passing.iter().map(|(grant, _)| *grant);
        let (level, include_unassigned) = highest(counting, always);
        Ok(allow(reason, level, include_unassigned))
    }
}

fn teams_of(user: &User, at: Timestamp) -> Vec<&Id> {
    let mut teams: Vec<&Id> = user.main_team.iter().chain(&user.teams).collect();
    for membership in &user.memberships {
        if let MembershipOf::Team(team) = &membership.of
            && live(None, membership.expires_at, at)
        {
            teams.push(team);
        }
    }
    teams
}

/// The first code that holds for any of the passing grants.
fn allow_code(passing: &[(&Counting, bool)], walled: bool, relation: Relation) -> ReasonCode {
    let wide = passing.iter().any(|(grant, _)| grant.level >= Level::Team);
    let team = relation.team_own || (!walled && relation.owning_own);
    let below = relation.team_below || (!walled && relation.owning_below);
    if relation.own {
        ReasonCode::Owner
    } else if relation.assigned_user {
        ReasonCode::AssignedUser
    } else if relation.object_grant {
        ReasonCode::ObjectGrant
    } else if wide && team {
        ReasonCode::Team
    } else if wide && below {
        ReasonCode::ParentTeam
    } else if wide && relation.group {
        ReasonCode::AccessGroup
    } else if passing.iter().any(|(_, by_box)| *by_box) {
        ReasonCode::Unassigned
    } else {
        ReasonCode::Everything
    }
}

/// 3.5: "`partitioned` turns true with the first assignment and false only by explicit Unpartition
/// (which deletes all rows)". So a resource with rows, live or not, is partitioned, whatever a
/// store or a caller says.
fn sticky(partitioned: bool, rows: usize) -> bool {
    partitioned || rows > 0
}

pub fn facts_stored(resource: &Resource) -> Facts<'_> {
    Facts {
        id: resource.key.id.as_str(),
        owners: resource.owners.iter().collect(),
        owning_team: resource.owning_team.as_ref(),
        partitioned: sticky(resource.partitioned, resource.assignments.len()),
        assigned: resource
            .assignments
            .iter()
            .map(|assignment| (&assignment.principal, assignment.expires_at))
            .collect(),
    }
}

pub fn facts_described<'f>(id: &'f str, described: &'f ResourceFacts) -> Facts<'f> {
    Facts {
        id,
        owners: described.owners.iter().collect(),
        owning_team: described.owning_team.as_ref(),
        partitioned: sticky(described.partitioned, described.assigned_to.len()),
        assigned: described
            .assigned_to
            .iter()
            .map(|assignment| (&assignment.principal, assignment.expires_at))
            .collect(),
    }
}
