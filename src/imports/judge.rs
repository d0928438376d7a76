//! Which rows can't be written. The planner names the first change that it can't make; halving
//! finds the others with the same planner, so that no rule is written twice.

use super::batch::Part;
use super::{ImportRequest, LineProblem};
use crate::authz::change::{self, Change, ChangeError};
use crate::authz::graph::AccountGraph;

/// Each row that the account refuses, in their order. Rows that are refused only together are told
/// as one problem.
pub(super) fn judge(
    graph: &AccountGraph,
    request: &ImportRequest,
    part: &Part,
) -> Vec<LineProblem> {
    let mut problems = Vec::new();
    halve(graph, request, part, &mut problems);
    problems
}

fn halve(
    graph: &AccountGraph,
    request: &ImportRequest,
    part: &Part,
    problems: &mut Vec<LineProblem>,
) {
    let Err(problem) = planned(graph, request, part) else {
        return;
    };
    let before = problems.len();
    // As deep as a batch can be halved.
    if let Some((first, second)) = part.halves() {
        halve(graph, request, &first, problems);
        halve(graph, request, &second, problems);
    }
    if problems.len() == before {
        problems.push(*problem);
    }
}

fn planned(
    graph: &AccountGraph,
    request: &ImportRequest,
    part: &Part,
) -> Result<(), Box<LineProblem>> {
    let placed = part.changes(request, Some(graph));
    let changes: Vec<Change> = placed.iter().map(|placed| placed.change.clone()).collect();
    let problem = |error: ChangeError| {
        let at = placed.get(error.index);
        Box::new(part.problem_at(at, error))
    };
    change::plan(&request.account, Some(graph), &changes)
        .map(drop)
        .map_err(problem)
}
