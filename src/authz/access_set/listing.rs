//! The access set as a bitmap: every resource on which the action is allowed.

use roaring::RoaringBitmap;

use super::{AccessSet, Gate, Liveness, liveness};
use crate::authz::decision::Target;
use crate::authz::graph::{CompiledUser, TypeIndex};
use crate::authz::model::{Level, PrincipalKind, Timestamp};

/// Keeps only resources that meet every named condition; an unknown id keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Narrowing<'a> {
    /// Resources that have this owner.
    pub owner: Option<&'a str>,
    /// Resources that are stamped with this team or assigned to it, not to its descendants.
    pub team: Option<&'a str>,
    /// Resources that are assigned to this access group.
    pub group: Option<&'a str>,
}

/// The result of a list, at one snapshot.
pub struct Accessible<'g> {
    index: Option<&'g TypeIndex>,
    ordinals: RoaringBitmap,
}

impl<'g> Accessible<'g> {
    pub fn total(&self) -> u64 {
        self.ordinals.len()
    }

    /// Ids in an order that is fixed for this value; borrowed from the snapshot.
    pub fn ids(&self) -> Box<dyn Iterator<Item = &'g str> + Send + '_> {
        match self.index {
            Some(index) => Box::new(
                self.ordinals
                    .iter()
                    .map(move |ordinal| index.row(ordinal).id()),
            ),
            None => Box::new(std::iter::empty()),
        }
    }

    /// In id byte order, those after `after`, at most `limit`; and whether more follow.
    pub fn page(&self, after: Option<&str>, limit: usize) -> (Vec<&'g str>, bool) {
        let Some(index) = self.index else {
            return (Vec::new(), false);
        };
        let mut ordinals = index.ordered(&self.ordinals, after, limit.saturating_add(1));
        let more = ordinals.len() > limit;
        ordinals.truncate(limit);
        (
            ordinals
                .into_iter()
                .map(|ordinal| index.row(ordinal).id())
                .collect(),
            more,
        )
    }
}

impl<'g> AccessSet<'g> {
    /// Every stored resource of the type on which the action is allowed; exactly those whose
    /// `decide` allows.
    pub fn accessible(&self, narrow: Narrowing<'_>) -> Accessible<'g> {
        let index = self.graph.index(self.type_ix);
        let ordinals = index.map(|index| self.narrowed(index, self.to_bitmap(index), narrow));
        Accessible {
            index,
            ordinals: ordinals.unwrap_or_default(),
        }
    }

    /// The same as ordinals of the type's index.
    pub(in crate::authz) fn ordinals(&self) -> RoaringBitmap {
        self.graph
            .index(self.type_ix)
            .map_or_else(RoaringBitmap::new, |index| self.to_bitmap(index))
    }

    fn to_bitmap(&self, index: &TypeIndex) -> RoaringBitmap {
        let alive = &*index.postings.alive;
        match self.gate {
            Gate::Barred(_) | Gate::Locked(_) => RoaringBitmap::new(),
            Gate::Holder | Gate::Above(_) => alive.clone(),
            Gate::Open if self.rule.tool_level => match self.decide(Target::Tool).is_allow() {
                true => alive.clone(),
                false => RoaringBitmap::new(),
            },
            Gate::Open => match self.user {
                Some(user) => self.by_grants(index, user),
                None => RoaringBitmap::new(),
            },
        }
    }

    /// Steps 6 and 8 for all resources at once. Rows with an assignment that expires are left out
    /// of the postings, and judged one by one.
    fn by_grants(&self, index: &TypeIndex, user: &CompiledUser) -> RoaringBitmap {
        let postings = &index.postings;
        let named = self.object_granted(index, user);
        let highest = match self.rule.always {
            true => Some(Level::Everything),
            false => self.grants.iter().map(|grant| grant.level).max(),
        };
        let Some(highest) = highest else { return named };
        let mut owned = named;
        let own = [
            postings.owners.get(user.number),
            postings.assigned_users.get(user.number),
        ];
        own.into_iter().flatten().for_each(|bitmap| owned |= bitmap);
        let include_unassigned = self.grants.iter().any(|grant| grant.include_unassigned);

        let open = self.without_wall(index);
        let mut result = match highest {
            Level::None | Level::Owned => owned,
            Level::Team | Level::Everything => {
                // Who is admitted passes every wall, and without one is in the team.
                let mut admitted = owned;
                self.add_assigned(index, user, &mut admitted);
                match highest {
                    Level::Everything => admitted |= &open,
                    _ => admitted |= self.team_owned(index, user) & &open,
                }
                admitted
            }
        };
        if include_unassigned {
            result |= (&open - &*postings.has_owner) - &*postings.partitioned;
        }
        if !postings.timed.is_empty() {
            result -= &*postings.timed;
            result.extend(postings.timed.iter().filter(|ordinal| {
                let row = index.row(*ordinal);
                self.decide_object(row.id(), &row.facts()).is_allow()
            }));
        }
        result
    }

    /// Resources with a live object grant of the action: allowed whatever else holds.
    fn object_granted(&self, index: &TypeIndex, user: &CompiledUser) -> RoaringBitmap {
        let actions = self.object_actions();
        let is_live = |not_before: Option<Timestamp>, expires_at: Option<Timestamp>| {
            liveness(not_before, expires_at, self.at, &mut None) == Liveness::Live
        };
        user.object_grants_of(self.type_ix)
            .filter(|(_, grant)| {
                grant.actions.intersects(actions) && is_live(grant.not_before, grant.expires_at)
            })
            .filter_map(|(id, _)| index.find(id.as_str()))
            .collect()
    }

    /// Resources that no wall closes.
    fn without_wall(&self, index: &TypeIndex) -> RoaringBitmap {
        let alive = &*index.postings.alive;
        match (self.mode.share, self.mode.no_one) {
            (true, _) => alive.clone(),
            (false, true) => RoaringBitmap::new(),
            (false, false) => alive - &*index.postings.partitioned,
        }
    }

    /// Adds what is assigned to a team in reach, or to a group whose mask has the action.
    fn add_assigned(&self, index: &TypeIndex, user: &CompiledUser, to: &mut RoaringBitmap) {
        let postings = &index.postings;
        for team in user.teams_in_reach(&self.graph.directory.tree, self.at) {
            if let Some(bitmap) = postings.assigned_teams.get(team) {
                *to |= bitmap;
            }
        }
        for (group, bitmap) in postings.assigned_groups.iter() {
            if self
                .mask(user, group)
                .is_some_and(|mask| mask.contains(self.action))
            {
                *to |= bitmap;
            }
        }
    }

    /// *teamO*: stamped with a team in reach, or not stamped and with an owner in such a team.
    fn team_owned(&self, index: &TypeIndex, user: &CompiledUser) -> RoaringBitmap {
        let postings = &index.postings;
        let mut owned = RoaringBitmap::new();
        for (owner, bitmap) in postings.owners.iter() {
            if self.via_teams_of(user, owner).is_some() {
                owned |= bitmap;
            }
        }
        owned -= &*postings.has_owning_team;
        for team in user.teams_in_reach(&self.graph.directory.tree, self.at) {
            if let Some(bitmap) = postings.owning_teams.get(team) {
                owned |= bitmap;
            }
        }
        owned
    }

    fn narrowed(
        &self,
        index: &TypeIndex,
        mut ordinals: RoaringBitmap,
        narrow: Narrowing<'_>,
    ) -> RoaringBitmap {
        let names = &self.graph.names;
        let conditions = [
            (PrincipalKind::User, narrow.owner),
            (PrincipalKind::Team, narrow.team),
            (PrincipalKind::Group, narrow.group),
        ];
        for (kind, id) in conditions {
            let Some(id) = id else { continue };
            let Some(number) = names.principals(kind).find(id) else {
                return RoaringBitmap::new();
            };
            ordinals &= related(index, kind, number, self.at);
        }
        ordinals
    }
}

/// Resources that belong to a principal in the sense of [`Narrowing`]; expired assignments don't
/// count.
fn related(index: &TypeIndex, kind: PrincipalKind, number: u32, at: Timestamp) -> RoaringBitmap {
    let postings = &index.postings;
    let (fixed, assigned) = match kind {
        PrincipalKind::User => (postings.owners.get(number), None),
        PrincipalKind::Team => (
            postings.owning_teams.get(number),
            postings.assigned_teams.get(number),
        ),
        PrincipalKind::Group => (None, postings.assigned_groups.get(number)),
    };
    let mut related = RoaringBitmap::new();
    [fixed, assigned]
        .into_iter()
        .flatten()
        .for_each(|bitmap| related |= bitmap);
    if kind != PrincipalKind::User {
        related.extend(postings.timed.iter().filter(|ordinal| {
            let facts = index.row(*ordinal).facts();
            facts
                .assignments
                .iter()
                .any(|fact| fact.kind == kind && fact.principal == number && fact.is_live(at))
        }));
    }
    related
}
