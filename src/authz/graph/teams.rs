//! The tree of teams, numbered so that "is a descendant of" is a comparison of two numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::names::Names;
use crate::authz::model::{Id, Team};

/// Teams in preorder: the descendants of a team are the positions right after its own. A chain
/// of 100,000 teams costs no more than as many single ones, and reach is a few intervals.
#[derive(Debug, Clone, Default)]
pub(in crate::authz) struct TeamTree {
    /// By team number: position and end (exclusive) of the subtree; `None`: no such team.
    spans: Vec<Option<(u32, u32)>>,
    /// By position: team number.
    order: Vec<u32>,
}

/// The teams that a user reaches, as sorted disjoint intervals of positions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reach(SmallVec<[(u32, u32); 2]>);

impl TeamTree {
    /// Positions every team. Teams that no root leads to (a cycle that was planted by SQL, and
    /// what hangs below it) stand alone, without descendants, and are reported.
    pub(super) fn build(
        teams: &BTreeMap<Id, Arc<Team>>,
        names: &mut Names,
        anomalies: &mut Vec<String>,
    ) -> Self {
        let numbers: Vec<u32> = teams.keys().map(|id| names.team(id)).collect();
        let mut children: Vec<Vec<u32>> = vec![Vec::new(); names.teams.len()];
        let mut roots = Vec::new();
        for (team, number) in teams.values().zip(&numbers) {
            let parent = team
                .parent
                .as_ref()
                .filter(|parent| teams.contains_key(*parent));
            if let (Some(wanted), None) = (&team.parent, parent) {
                anomalies.push(format!(
                    "team `{}` names the parent `{wanted}`, which does not exist",
                    team.id
                ));
            }
            match parent
                .map(|parent| names.team(parent))
                .and_then(|parent| children.get_mut(parent as usize))
            {
                Some(siblings) => siblings.push(*number),
                None => roots.push(*number),
            }
        }
        let mut tree = Self {
            spans: vec![None; names.teams.len()],
            order: Vec::with_capacity(numbers.len()),
        };
        roots
            .into_iter()
            .for_each(|root| tree.place(root, &children));
        for (team, number) in teams.values().zip(&numbers) {
            if tree.span(*number).is_none() {
                anomalies.push(format!("team `{}` is in or below a cycle of teams; it has no descendants until that is mended", team.id));
                tree.place(*number, &[]);
            }
        }
        tree
    }

    /// Depth first without recursion.
    fn place(&mut self, root: u32, children: &[Vec<u32>]) {
        let mut pending = vec![(root, false)];
        while let Some((team, left)) = pending.pop() {
            let Ok(here) = u32::try_from(self.order.len()) else {
                return;
            };
            let Some(span) = self.spans.get_mut(team as usize) else {
                continue;
            };
            if left {
                if let Some((_, end)) = span {
                    *end = here;
                }
                continue;
            }
            *span = Some((here, here + 1));
            self.order.push(team);
            pending.push((team, true));
            pending.extend(
                children
                    .get(team as usize)
                    .into_iter()
                    .flatten()
                    .rev()
                    .map(|child| (*child, false)),
            );
        }
    }

    pub(in crate::authz) fn span(&self, team: u32) -> Option<(u32, u32)> {
        self.spans.get(team as usize).copied().flatten()
    }

    /// What a member of these teams reaches: with nesting their descendants too (S2.8).
    pub(super) fn reach(&self, teams: &[u32], nested: bool) -> Reach {
        let mut spans: Vec<(u32, u32)> = teams
            .iter()
            .filter_map(|team| self.span(*team))
            .map(|(start, end)| {
                if nested {
                    (start, end)
                } else {
                    (start, start + 1)
                }
            })
            .collect();
        spans.sort_unstable();
        let mut merged: SmallVec<[(u32, u32); 2]> = SmallVec::new();
        for (start, end) in spans {
            match merged.last_mut() {
                Some((_, last)) if start <= *last => *last = end.max(*last),
                _ => merged.push((start, end)),
            }
        }
        Reach(merged)
    }

    /// Numbers of the teams at positions from `start` until before `end`.
    pub(super) fn teams_between(&self, start: u32, end: u32) -> impl Iterator<Item = u32> {
        let teams = self.order.get(start as usize..end as usize);
        teams.into_iter().flatten().copied()
    }
}

impl Reach {
    pub(super) fn contains(&self, position: u32) -> bool {
        let after = self.0.partition_point(|(start, _)| *start <= position);
        after
            .checked_sub(1)
            .and_then(|at| self.0.get(at))
            .is_some_and(|(_, end)| position < *end)
    }

    pub(super) fn intervals(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().copied()
    }
}
