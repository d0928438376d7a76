//! Ordinals by what their rows refer to.

use std::sync::Arc;

use roaring::RoaringBitmap;
use smallvec::SmallVec;

use super::super::cow::CowVec;
use super::super::row::Facts;
use crate::authz::model::PrincipalKind;

/// For each number of a kind of principal, the ordinals that refer to it.
#[derive(Debug, Clone, Default)]
pub(in crate::authz) struct Postings(CowVec<Option<Arc<RoaringBitmap>>>);

impl Postings {
    pub(in crate::authz) fn get(&self, number: u32) -> Option<&RoaringBitmap> {
        self.0.get(number as usize)?.as_deref()
    }

    pub(in crate::authz) fn iter(&self) -> impl Iterator<Item = (u32, &RoaringBitmap)> {
        (0u32..)
            .zip(self.0.iter())
            .filter_map(|(number, bitmap)| Some((number, bitmap.as_deref()?)))
    }

    fn edit(&mut self, number: u32, edit: impl FnOnce(&mut RoaringBitmap)) {
        while self.0.len() <= number as usize {
            self.0.push(None);
        }
        if let Some(slot) = self.0.get_mut(number as usize) {
            edit(Arc::make_mut(slot.get_or_insert_with(Arc::default)));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() * 8
            + self
                .0
                .iter()
                .flatten()
                .map(|bitmap| bitmap_bytes(bitmap))
                .sum::<usize>()
    }
}

fn bitmap_bytes(bitmap: &RoaringBitmap) -> usize {
    // Each container takes a header and a vector beside its serialized form.
    bitmap.serialized_size() + 48 * bitmap.statistics().n_containers as usize
}

#[derive(Debug, Clone, Default)]
pub(in crate::authz) struct AllPostings {
    pub(in crate::authz) alive: Arc<RoaringBitmap>,
    pub(in crate::authz) partitioned: Arc<RoaringBitmap>,
    pub(in crate::authz) has_owner: Arc<RoaringBitmap>,
    pub(in crate::authz) has_owning_team: Arc<RoaringBitmap>,
    /// Rows with an assignment that expires.
    pub(in crate::authz) timed: Arc<RoaringBitmap>,
    pub(in crate::authz) owners: Postings,
    pub(in crate::authz) owning_teams: Postings,
    pub(in crate::authz) assigned_users: Postings,
    pub(in crate::authz) assigned_teams: Postings,
    pub(in crate::authz) assigned_groups: Postings,
}

impl AllPostings {
    fn assigned(&mut self, kind: PrincipalKind) -> &mut Postings {
        match kind {
            PrincipalKind::User => &mut self.assigned_users,
            PrincipalKind::Team => &mut self.assigned_teams,
            PrincipalKind::Group => &mut self.assigned_groups,
        }
    }

    /// Follows a row from its facts before to those after; `None`: it is not alive. Only what
    /// differs is touched, since each touch may copy a bitmap that another snapshot shares.
    pub(super) fn replace(&mut self, ordinal: u32, before: Option<&Facts>, after: Option<&Facts>) {
        type Flag<'a> = (&'a mut Arc<RoaringBitmap>, fn(&Facts) -> bool);
        let flags: [Flag<'_>; 5] = [
            (&mut self.alive, |_| true),
            (&mut self.partitioned, |facts| facts.partitioned),
            (&mut self.has_owner, |facts| !facts.owners.is_empty()),
            (&mut self.has_owning_team, |facts| {
                facts.owning_team.is_some()
            }),
            (&mut self.timed, Facts::is_timed),
        ];
        for (bitmap, holds) in flags {
            let add = after.is_some_and(holds);
            if before.is_some_and(holds) != add {
                flip(Arc::make_mut(bitmap), ordinal, add);
            }
        }
        let none = Facts::default();
        let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
        self.flip_missing(ordinal, before, after, false);
        self.flip_missing(ordinal, after, before, true);
    }

    /// Adds a row that was not there before.
    pub(super) fn add(&mut self, ordinal: u32, facts: &Facts) {
        let flags = [
            (&mut self.alive, true),
            (&mut self.partitioned, facts.partitioned),
            (&mut self.has_owner, !facts.owners.is_empty()),
            (&mut self.has_owning_team, facts.owning_team.is_some()),
            (&mut self.timed, facts.is_timed()),
        ];
        for (bitmap, _) in flags.into_iter().filter(|(_, holds)| *holds) {
            Arc::make_mut(bitmap).insert(ordinal);
        }
        let add = |postings: &mut Postings, number| {
            postings.edit(number, |bitmap| flip(bitmap, ordinal, true));
        };
        for owner in &facts.owners {
            add(&mut self.owners, *owner);
        }
        if let Some(team) = facts.owning_team {
            add(&mut self.owning_teams, team);
        }
        for (kind, principal) in facts.lasting() {
            add(self.assigned(kind), principal);
        }
    }

    /// Adds or removes the ordinal for each principal of `of` that `other` does not have.
    fn flip_missing(&mut self, ordinal: u32, of: &Facts, other: &Facts, add: bool) {
        for owner in missing(of.owners.iter().copied(), other.owners.iter().copied()) {
            self.owners.edit(owner, |bitmap| flip(bitmap, ordinal, add));
        }
        if let Some(team) = of
            .owning_team
            .filter(|team| other.owning_team != Some(*team))
        {
            self.owning_teams
                .edit(team, |bitmap| flip(bitmap, ordinal, add));
        }
        for (kind, principal) in missing(of.lasting(), other.lasting()) {
            self.assigned(kind)
                .edit(principal, |bitmap| flip(bitmap, ordinal, add));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let flags = [
            &self.alive,
            &self.partitioned,
            &self.has_owner,
            &self.has_owning_team,
            &self.timed,
        ];
        let postings = [
            &self.owners,
            &self.owning_teams,
            &self.assigned_users,
            &self.assigned_teams,
            &self.assigned_groups,
        ];
        flags
            .into_iter()
            .map(|bitmap| bitmap_bytes(bitmap))
            .sum::<usize>()
            + postings.into_iter().map(Postings::bytes).sum::<usize>()
    }
}

/// Items of `of` that `other` does not have.
fn missing<T: Ord + Copy>(
    of: impl Iterator<Item = T>,
    other: impl Iterator<Item = T>,
) -> impl Iterator<Item = T> {
    let mut other: SmallVec<[T; 8]> = other.collect();
    other.sort_unstable();
    of.filter(move |item| other.binary_search(item).is_err())
}

fn flip(bitmap: &mut RoaringBitmap, ordinal: u32, add: bool) {
    if add {
        bitmap.insert(ordinal);
    } else {
        bitmap.remove(ordinal);
    }
}
