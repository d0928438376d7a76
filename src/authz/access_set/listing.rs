//! The access set as a bitmap: every resource on which the action is allowed.

use roaring::RoaringBitmap;

use super::connections::{Connections, LiveIndex};
use super::{AccessSet, Gate, Liveness, Reaching, liveness};
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

/// What an access set lets a user reach, before a resource is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::authz) enum Footing {
    Nothing,
    /// All resources of the type.
    All,
    /// Only what an object grant names.
    Named,
    /// What live grants, or a rule that allows always, come to.
    Reaching(Reaching),
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

    /// Steps 6 and 8 for all resources at once: what comes of the user's connections, and what is the
    /// user's own.
    fn to_bitmap(&self, index: &'g TypeIndex) -> RoaringBitmap {
        let footing = self.footing();
        let (Footing::Named | Footing::Reaching(_), Some(user)) = (footing, self.user) else {
            return match footing {
                Footing::All => (*index.postings.alive).clone(),
                Footing::Nothing | Footing::Named | Footing::Reaching(_) => RoaringBitmap::new(),
            };
        };
        let live = LiveIndex::new(index, self.at);
        let mut result = self.own(&live, user, &[]);
        if let Footing::Reaching(extent) = footing {
            let (teams, groups) = if extent.level >= Level::Team {
                let mut teams: Vec<u32> = user
                    .teams_in_reach(&self.graph.directory.tree, self.at)
                    .collect();
                teams.sort_unstable();
                let has_action = |group: &u32| {
                    let mask = self.mask(user, *group);
                    mask.is_some_and(|mask| mask.contains(self.action))
                };
                (teams, live.groups().filter(has_action).collect())
            } else {
                (Vec::new(), Vec::new())
            };
            let connections = Connections {
                extent,
                teams: &teams,
                groups: &groups,
            };
            result |= connections.resources(&self.graph.directory, self.mode, &live);
        }
        result
    }

    /// What the grants come to, as far as a bitmap depends on them.
    pub(in crate::authz) fn footing(&self) -> Footing {
        match self.gate {
            Gate::Barred(_) | Gate::Locked(_) => Footing::Nothing,
            Gate::Holder | Gate::Above(_) => Footing::All,
            Gate::Open if self.rule.tool_level => match self.decide(Target::Tool).is_allow() {
                true => Footing::All,
                false => Footing::Nothing,
            },
            Gate::Open if self.rule.always => Footing::Reaching(Reaching {
                include_unassigned: self.grants.iter().any(|grant| grant.include_unassigned),
                ..Reaching::EVERYTHING
            }),
            Gate::Open => self.extent().map_or(Footing::Named, Footing::Reaching),
        }
    }

    /// What is allowed to this user whatever the teams: live object grants, and with a grant of any
    /// level what the user owns or is assigned. `groups` are added where groups count.
    pub(in crate::authz) fn own(
        &self,
        live: &LiveIndex<'_>,
        user: &CompiledUser,
        groups: &[u32],
    ) -> RoaringBitmap {
        let mut own = self.object_granted(live.index, user);
        let Footing::Reaching(extent) = self.footing() else {
            return own;
        };
        if let Some(owned) = live.index.postings.owners.get(user.number) {
            own |= owned;
        }
        live.assigned(PrincipalKind::User, user.number)
            .for_each(|assigned| own |= assigned);
        if extent.level >= Level::Team {
            for group in groups {
                live.assigned(PrincipalKind::Group, *group)
                    .for_each(|assigned| own |= assigned);
            }
        }
        own
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
