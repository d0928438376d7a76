//! Taking back what a batch did to a resource, row by row, where nobody has changed the row since.

use super::{AssignRefusal, Authority, Effect, accepted, known, settle};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Assignment, Resource, ResourceKey};

/// What is taken back, and what can't be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    pub effect: Effect,
    /// What was changed since the batch, in words; it stays as it is.
    pub kept: Vec<String>,
}

/// What an undo does to a resource, if whoever asks for it may, and the account takes it. It is
/// judged like any other change of the partition: taking away needs `partition.assign`.
///
/// # Errors
/// Why nothing is taken back.
pub fn undo(
    graph: &AccountGraph,
    authority: &Authority<'_>,
    done: &Effect,
    key: &ResourceKey,
) -> Result<Undone, AssignRefusal> {
    if !authority.is_unlimited() {
        return Err(AssignRefusal::OnlyAdds);
    }
    let resource = known(graph, authority, key)?;
    let undone = taken_back(done, &resource);
    accepted(graph, key, &undone.effect)?;
    if !undone.effect.is_change() && !undone.kept.is_empty() {
        return Err(AssignRefusal::ChangedSince(undone.kept.join("; ")));
    }
    Ok(undone)
}

fn taken_back(done: &Effect, resource: &Resource) -> Undone {
    let mut kept = Vec::new();
    let mut effect = Effect {
        was_partitioned: resource.partitioned,
        is_partitioned: resource.partitioned,
        ..Effect::default()
    };
    let of_same = |rows: &std::collections::BTreeSet<Assignment>, row: &Assignment| {
        rows.iter()
            .find(|other| other.principal == row.principal && other.provenance == row.provenance)
            .cloned()
    };
    for row in &done.added {
        if !resource.assignments.contains(row) {
            kept.push(format!(
                "the assignment to `{}` is not as it was made",
                row.principal
            ));
            continue;
        }
        effect.removed.insert(row.clone());
        effect.added.extend(of_same(&done.removed, row));
    }
    for row in &done.removed {
        if of_same(&done.added, row).is_some() {
            continue;
        }
        match of_same(&resource.assignments, row) {
            None => drop(effect.added.insert(row.clone())),
            Some(now) if now == *row => {}
            Some(_) => kept.push(format!("`{}` is assigned anew", row.principal)),
        }
    }
    settle(resource, &mut effect);
    let left = resource.assignments.difference(&effect.removed).count() + effect.added.len();
    match (done.was_partitioned, done.is_partitioned) {
        // The batch had closed it.
        (false, true) if resource.partitioned => {
            effect.is_partitioned = left > 0;
            if left > 0 {
                kept.push("it has other assignments, so it stays partitioned".to_owned());
            }
        }
        // The batch had opened it.
        (true, false) => effect.is_partitioned = true,
        _ => {}
    }
    effect.orphans = effect.is_change() && effect.is_partitioned && left == 0;
    Undone { effect, kept }
}
