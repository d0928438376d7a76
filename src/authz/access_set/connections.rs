//! What users reach by their connections, their teams and groups, and not by who they are: it is the
//! same for all whose connections are the same.

use hashbrown::HashMap;
use roaring::{MultiOps as _, RoaringBitmap};

use super::Reaching;
use crate::authz::graph::{Directory, TypeIndex, TypeMode};
use crate::authz::model::{Level, PrincipalKind, Timestamp};

/// The resources of a type as they are assigned at a moment: the postings, and the assignments that
/// will end by themselves, which postings leave out.
pub(in crate::authz) struct LiveIndex<'g> {
    pub(in crate::authz) index: &'g TypeIndex,
    at: Timestamp,
    ending: HashMap<(PrincipalKind, u32), RoaringBitmap>,
}

impl<'g> LiveIndex<'g> {
    pub(in crate::authz) fn new(index: &'g TypeIndex, at: Timestamp) -> Self {
        let mut ending: HashMap<(PrincipalKind, u32), RoaringBitmap> = HashMap::new();
        for ordinal in &*index.postings.timed {
            for fact in index.row(ordinal).facts().assignments {
                if fact.expires_at.is_some() && fact.is_live(at) {
                    let assigned = ending.entry((fact.kind, fact.principal)).or_default();
                    assigned.insert(ordinal);
                }
            }
        }
        Self { index, at, ending }
    }

    /// What is assigned to a principal now; together these are all of it.
    pub(in crate::authz) fn assigned(
        &self,
        kind: PrincipalKind,
        number: u32,
    ) -> impl Iterator<Item = &RoaringBitmap> {
        let postings = &self.index.postings;
        let lasting = match kind {
            PrincipalKind::User => postings.assigned_users.get(number),
            PrincipalKind::Team => postings.assigned_teams.get(number),
            PrincipalKind::Group => postings.assigned_groups.get(number),
        };
        lasting.into_iter().chain(self.ending.get(&(kind, number)))
    }

    /// Groups that anything is assigned to; one may come twice.
    pub(in crate::authz) fn groups(&self) -> impl Iterator<Item = u32> {
        let lasting = self.index.postings.assigned_groups.iter();
        let ending = self.ending.keys();
        lasting.map(|(group, _)| group).chain(
            ending
                .filter(|(kind, _)| *kind == PrincipalKind::Group)
                .map(|(_, group)| *group),
        )
    }

    /// Resources behind a wall that has no door left: partitioned, without a live assignment (3.5).
    pub(in crate::authz) fn orphaned(&self, mode: TypeMode) -> RoaringBitmap {
        let postings = &self.index.postings;
        if mode.share {
            return RoaringBitmap::new();
        }
        let mut orphaned = (*postings.partitioned).clone();
        for lasting in [
            &postings.assigned_users,
            &postings.assigned_teams,
            &postings.assigned_groups,
        ] {
            lasting
                .iter()
                .for_each(|(_, assigned)| orphaned -= assigned);
        }
        self.ending
            .values()
            .for_each(|assigned| orphaned -= assigned);
        orphaned
    }

    /// Resources that no wall closes.
    fn without_wall(&self, mode: TypeMode) -> RoaringBitmap {
        let postings = &self.index.postings;
        match (mode.share, mode.no_one) {
            (true, _) => (*postings.alive).clone(),
            (false, true) => RoaringBitmap::new(),
            (false, false) => &*postings.alive - &*postings.partitioned,
        }
    }
}

/// How far grants reach, and by which teams and groups.
#[derive(Debug, Clone, Copy)]
pub(in crate::authz) struct Connections<'a> {
    pub(in crate::authz) extent: Reaching,
    /// Numbers of the teams in reach, sorted.
    pub(in crate::authz) teams: &'a [u32],
    /// Numbers of groups whose mask has the action.
    pub(in crate::authz) groups: &'a [u32],
}

impl Connections<'_> {
    /// Steps 6 and 8 but for what is a user's own.
    pub(in crate::authz) fn resources(
        &self,
        directory: &Directory,
        mode: TypeMode,
        live: &LiveIndex<'_>,
    ) -> RoaringBitmap {
        let postings = &live.index.postings;
        let mut reached = RoaringBitmap::new();
        let wants_open = self.extent.level >= Level::Team || self.extent.include_unassigned;
        let open = match wants_open {
            true => live.without_wall(mode),
            false => RoaringBitmap::new(),
        };
        if self.extent.level >= Level::Team {
            // Who is admitted passes every wall, and without one is in the team.
            reached = self.assigned(live);
            match self.extent.level {
                Level::Everything => reached |= &open,
                Level::Team | Level::Owned | Level::None => {
                    reached |= self.team_owned(directory, live) & &open
                }
            }
        }
        if self.extent.include_unassigned {
            reached |= (open - &*postings.has_owner) - &*postings.partitioned;
        }
        reached
    }

    /// Assigned to a team in reach, or to one of the groups.
    fn assigned(&self, live: &LiveIndex<'_>) -> RoaringBitmap {
        let of = |kind, numbers: &'_ [u32]| {
            let numbers = numbers.iter();
            numbers
                .flat_map(move |number| live.assigned(kind, *number))
                .union()
        };
        of(PrincipalKind::Team, self.teams) | of(PrincipalKind::Group, self.groups)
    }

    /// *teamO*: stamped with a team in reach, or not stamped and with an owner in such a team.
    fn team_owned(&self, directory: &Directory, live: &LiveIndex<'_>) -> RoaringBitmap {
        let postings = &live.index.postings;
        let is_reached = |owner: u32| {
            let owner = directory.user_by_number(owner);
            owner.is_some_and(|owner| {
                let mut teams = owner.teams(live.at);
                teams.any(|team| self.teams.binary_search(&team).is_ok())
            })
        };
        let lent = postings
            .owners
            .iter()
            .filter(|(owner, _)| is_reached(*owner));
        let lent = lent.map(|(_, owned)| owned).union() - &*postings.has_owning_team;
        let stamped = self.teams.iter();
        lent | stamped
            .filter_map(|team| postings.owning_teams.get(*team))
            .union()
    }
}
