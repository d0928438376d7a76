//! The table at the heart: what a user's grants come to, given how the resource stands to the user.

use crate::authz::decision::ReasonCode;
use crate::authz::model::Level;

/// How a team leads to a resource: the user's own team, or only a descendant of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::authz) enum Via {
    OwnTeam,
    Descendant,
}

/// How a resource stands to the user (3.2 step 8), whatever the user's grants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::authz) struct Standing {
    /// *own*: the user is an owner.
    pub(in crate::authz) own: bool,
    /// *named* by an assignment to the user.
    pub(in crate::authz) assigned_user: bool,
    /// *named* by a live object grant of the action.
    pub(in crate::authz) object_grant: bool,
    /// *teamA*: assigned to a team in reach.
    pub(in crate::authz) assigned_team: Option<Via>,
    /// *group*: assigned to a group whose mask for the user has the action.
    pub(in crate::authz) group: bool,
    /// The user is in such a group, but the mask lacks the action.
    pub(in crate::authz) group_without_action: bool,
    /// *teamO*: the owning team in reach, or without one a team of an owner.
    pub(in crate::authz) owning_team: Option<Via>,
    pub(in crate::authz) wall: Wall,
    /// No owner and not partitioned.
    pub(in crate::authz) unassigned: bool,
    /// An assignment is left that has not expired.
    pub(in crate::authz) live_assignment: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::authz) enum Wall {
    /// Mode SHARE, or unpartitioned and open by default.
    #[default]
    None,
    /// Partitioned.
    Partition,
    /// Unpartitioned, and the type's default is NO_ONE.
    NoOne,
}

/// A grant as far as the table needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::authz) struct Reaching {
    pub(in crate::authz) level: Level,
    pub(in crate::authz) include_unassigned: bool,
}

impl Reaching {
    pub(in crate::authz) const EVERYTHING: Self = Self {
        level: Level::Everything,
        include_unassigned: false,
    };
    /// What an object grant alone passes at.
    pub(in crate::authz) const OBJECT: Self = Self {
        level: Level::Owned,
        include_unassigned: false,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::authz) enum Verdict {
    /// The code, and the highest of the passing grants.
    Allow(ReasonCode, Reaching),
    Deny(ReasonCode),
}

/// How a grant passes, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Reached,
    /// Only because it includes unassigned resources.
    Unassigned,
}

impl Standing {
    fn is_named(&self) -> bool {
        self.assigned_user || self.object_grant
    }

    /// Whether the resource's wall, if it has one, lets the user through.
    pub(in crate::authz) fn is_admitted(&self) -> bool {
        self.own || self.is_named() || self.assigned_team.is_some() || self.group
    }

    /// The level step for one grant, behind a wall that was passed or where there is none.
    fn pass(&self, grant: Reaching) -> Option<Pass> {
        let walled = self.wall != Wall::None;
        let reached = match grant.level {
            Level::None => return None,
            // A resource of one's own, or one that names the user.
            Level::Owned => self.own || self.is_named(),
            // A passed wall suffices; team ownership never passes a wall (step 9).
            Level::Team => self.is_admitted() || (!walled && self.owning_team.is_some()),
            Level::Everything => true,
        };
        if reached {
            return Some(Pass::Reached);
        }
        (!walled && self.unassigned && grant.include_unassigned).then_some(Pass::Unassigned)
    }

    /// Step 8 of 3.2. `grants` are the live ones, not the object grants (those are in the
    /// standing), and `always` says that the catalog allows the action to all (step 5).
    pub(in crate::authz) fn verdict(&self, grants: &[Reaching], always: bool) -> Verdict {
        // The wall stands before every grant.
        if self.wall != Wall::None && !self.is_admitted() {
            return Verdict::Deny(self.wall_code());
        }
        let passing = || {
            let object = self
                .object_grant
                .then_some((Reaching::OBJECT, Pass::Reached));
            grants
                .iter()
                .filter_map(|grant| Some((*grant, self.pass(*grant)?)))
                .chain(object)
        };
        let Some(highest) = passing().map(|(grant, _)| grant).max() else {
            return match always {
                true => Verdict::Allow(ReasonCode::Always, Reaching::EVERYTHING),
                false => Verdict::Deny(self.level_code(grants)),
            };
        };
        let beyond_owned = passing().any(|(grant, _)| grant.level >= Level::Team);
        let owning_team = self.owning_team.filter(|_| self.wall == Wall::None);
        let team = self.assigned_team.into_iter().chain(owning_team).min();
        let by_unassigned = passing().any(|(_, pass)| pass == Pass::Unassigned);
        // The first that holds, in the order of the rule book.
        let code = if self.own {
            ReasonCode::Owner
        } else if self.assigned_user {
            ReasonCode::AssignedUser
        } else if self.object_grant {
            ReasonCode::ObjectGrant
        } else if beyond_owned && team == Some(Via::OwnTeam) {
            ReasonCode::Team
        } else if beyond_owned && team == Some(Via::Descendant) {
            ReasonCode::ParentTeam
        } else if beyond_owned && self.group {
            ReasonCode::AccessGroup
        } else if by_unassigned {
            ReasonCode::Unassigned
        } else {
            ReasonCode::Everything
        };
        Verdict::Allow(
            code,
            if always {
                Reaching::EVERYTHING
            } else {
                highest
            },
        )
    }

    fn wall_code(&self) -> ReasonCode {
        match self.wall {
            Wall::NoOne => ReasonCode::UnpartitionedRestricted,
            Wall::Partition | Wall::None if !self.live_assignment => ReasonCode::Orphaned,
            // Only the mask failed.
            Wall::Partition | Wall::None if self.group_without_action => {
                ReasonCode::ActionNotInGroup
            }
            Wall::Partition | Wall::None => ReasonCode::NotInPartition,
        }
    }

    /// The deny code of the grant with the highest level. A grant at EVERYTHING can't get here:
    /// behind the wall it passes.
    fn level_code(&self, grants: &[Reaching]) -> ReasonCode {
        if self.unassigned && self.wall == Wall::None {
            return ReasonCode::UnassignedNotIncluded;
        }
        match grants.iter().map(|grant| grant.level).max() {
            Some(Level::Team | Level::Everything) => ReasonCode::NotInTeam,
            Some(Level::Owned | Level::None) | None => ReasonCode::NotOwner,
        }
    }
}
