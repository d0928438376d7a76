//! Which rows can't be written. The planner names the first change that it can't make; halving
//! finds the others with the same planner, so that no rule is written twice.

use super::batch::Part;
use super::{ImportRequest, LineProblem};
use crate::authz::change::{self, Change, ChangeError};
use crate::authz::graph::AccountGraph;
use crate::authz::model::Timestamp;

/// Each row that the account refuses, in their order. Rows that are refused only together are told
/// as one problem.
pub(super) fn judge(
    graph: &AccountGraph,
    request: &ImportRequest,
    part: &Part,
    now: Timestamp,
) -> Vec<LineProblem> {
    let mut problems = Vec::new();
    halve((graph, now), request, part, &mut problems);
    problems
}

fn halve(
    on: (&AccountGraph, Timestamp),
    request: &ImportRequest,
    part: &Part,
    problems: &mut Vec<LineProblem>,
) {
    let Err(problem) = planned(on, request, part) else {
        return;
    };
    let before = problems.len();
    // As deep as a batch can be halved.
    if let Some((first, second)) = part.halves() {
        halve(on, request, &first, problems);
        halve(on, request, &second, problems);
    }
    if problems.len() == before {
        problems.push(*problem);
    }
}

fn planned(
    (graph, now): (&AccountGraph, Timestamp),
    request: &ImportRequest,
    part: &Part,
) -> Result<(), Box<LineProblem>> {
    let planned = part.changes(request, Some(graph), now);
    let placed = planned.placed;
    let changes: Vec<Change> = placed.iter().map(|placed| placed.change.clone()).collect();
    let problem = |error: ChangeError| {
        let at = placed.get(error.index);
        Box::new(part.problem_at(at, error))
    };
    if let Some(error) = planned.overreach {
        return Err(problem(error));
    }
    change::plan(&request.account, Some(graph), &changes)
        .map(drop)
        .map_err(problem)
}
