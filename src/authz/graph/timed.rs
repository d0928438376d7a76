//! Teams that a user is in for a time: beside the lasting ones, so that a check of an account
//! without any pays nothing for them.
//!
//! There is no version of the user for each span of time: each team, and each stretch of reach,
//! carries its end, so a user's size stays linear in the memberships whatever their ends are.

use std::collections::BinaryHeap;

use super::teams::TeamTree;
use crate::authz::model::Timestamp;

/// Teams with the end of the user's membership in each.
#[derive(Debug)]
pub(super) struct TimedTeams {
    /// Sorted numbers, each once, with the latest end.
    teams: Box<[(u32, Timestamp)]>,
    /// Sorted disjoint stretches of positions, each with the latest end of those that reach it.
    reach: Box<[Stretch]>,
    /// All ends, sorted, each once.
    ends: Box<[Timestamp]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    start: u32,
    /// Exclusive.
    end: u32,
    until: Timestamp,
}

impl TimedTeams {
    /// `None` where there are none.
    pub(super) fn new(
        mut teams: Vec<(u32, Timestamp)>,
        tree: &TeamTree,
        nested: bool,
    ) -> Option<Box<Self>> {
        if teams.is_empty() {
            return None;
        }
        // Of one team the latest end comes last, and is kept.
        teams.sort_unstable();
        let mut ends: Vec<Timestamp> = teams.iter().map(|(_, until)| *until).collect();
        ends.sort_unstable();
        ends.dedup();
        teams.reverse();
        teams.dedup_by_key(|(team, _)| *team);
        teams.reverse();
        let spans = teams
            .iter()
            .filter_map(|(team, until)| {
                let (start, end) = tree.span(*team)?;
                Some(Stretch {
                    start,
                    end: if nested { end } else { start + 1 },
                    until: *until,
                })
            })
            .collect();
        Some(Box::new(Self {
            reach: disjoint(spans).into(),
            teams: teams.into(),
            ends: ends.into(),
        }))
    }

    pub(super) fn contain(&self, team: u32, at: Timestamp) -> bool {
        let found = self.teams.binary_search_by_key(&team, |(team, _)| *team);
        found
            .ok()
            .and_then(|index| self.teams.get(index))
            .is_some_and(|(_, until)| at < *until)
    }

    pub(super) fn live(&self, at: Timestamp) -> impl Iterator<Item = u32> {
        let live = self.teams.iter().filter(move |(_, until)| at < *until);
        live.map(|(team, _)| *team)
    }

    /// Whether the position of a team is in reach.
    pub(super) fn reach(&self, position: u32, at: Timestamp) -> bool {
        let after = self
            .reach
            .partition_point(|stretch| stretch.start <= position);
        after
            .checked_sub(1)
            .and_then(|index| self.reach.get(index))
            .is_some_and(|stretch| position < stretch.end && at < stretch.until)
    }

    /// Positions in reach, as start and exclusive end.
    pub(super) fn stretches(&self, at: Timestamp) -> impl Iterator<Item = (u32, u32)> {
        let live = self.reach.iter().filter(move |stretch| at < stretch.until);
        live.map(|stretch| (stretch.start, stretch.end))
    }

    /// The first end that lies ahead.
    pub(super) fn next_end(&self, at: Timestamp) -> Option<Timestamp> {
        let passed = self.ends.partition_point(|end| *end <= at);
        self.ends.get(passed).copied()
    }
}

/// Cuts stretches, which may lie in each other, into disjoint ones with the latest end of each.
fn disjoint(mut spans: Vec<Stretch>) -> Vec<Stretch> {
    spans.sort_unstable_by_key(|span| span.start);
    let mut cuts: Vec<u32> = spans
        .iter()
        .flat_map(|span| [span.start, span.end])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut spans = spans.into_iter().peekable();
    let mut covering: BinaryHeap<(Timestamp, u32)> = BinaryHeap::new();
    let mut pieces: Vec<Stretch> = Vec::new();
    for (start, end) in cuts.iter().zip(cuts.iter().skip(1)) {
        while let Some(span) = spans.next_if(|span| span.start <= *start) {
            covering.push((span.until, span.end));
        }
        while covering.peek().is_some_and(|(_, over)| over <= start) {
            covering.pop();
        }
        let Some((until, _)) = covering.peek() else {
            continue;
        };
        match pieces.last_mut() {
            Some(last) if last.end == *start && last.until == *until => last.end = *end,
            _ => pieces.push(Stretch {
                start: *start,
                end: *end,
                until: *until,
            }),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch((start, end, until): (u32, u32, i64)) -> Stretch {
        Stretch {
            start,
            end,
            until: Timestamp::from_unix_micros(until).unwrap(),
        }
    }

    #[test]
    fn of_stretches_that_lie_in_each_other_the_latest_end_counts() {
        let cut =
            |spans: &[(u32, u32, i64)]| disjoint(spans.iter().copied().map(stretch).collect());
        let expect = |spans: &[(u32, u32, i64)]| -> Vec<Stretch> {
            spans.iter().copied().map(stretch).collect()
        };
        assert_eq!(cut(&[]), []);
        // The inner one ends sooner, later, and with the outer one.
        assert_eq!(cut(&[(0, 9, 7), (2, 4, 3)]), expect(&[(0, 9, 7)]));
        assert_eq!(
            cut(&[(0, 9, 3), (2, 4, 7)]),
            expect(&[(0, 2, 3), (2, 4, 7), (4, 9, 3)])
        );
        assert_eq!(
            cut(&[(0, 9, 3), (0, 4, 7), (6, 9, 8)]),
            expect(&[(0, 4, 7), (4, 6, 3), (6, 9, 8)])
        );
        // Apart, with a gap, and three deep.
        assert_eq!(
            cut(&[(5, 6, 1), (0, 2, 1), (2, 3, 1)]),
            expect(&[(0, 3, 1), (5, 6, 1)])
        );
        assert_eq!(
            cut(&[(0, 8, 1), (1, 7, 3), (2, 3, 2), (4, 5, 9)]),
            expect(&[(0, 1, 1), (1, 4, 3), (4, 5, 9), (5, 7, 3), (7, 8, 1)])
        );
    }
}
