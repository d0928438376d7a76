//! Assigning resources and taking assignments back (P1, P2, P4): what an order makes of one
//! resource, and whether whoever gives it may.
//!
//! An [`Order`] is the same for many resources; [`decide`] says what it does to one of them, as an
//! [`Effect`]: the rows that come and go. An effect is kept with the batch that made it, so that
//! [`undo()`] can take back just what the batch did where nobody else has changed it since.

use std::collections::BTreeSet;

use super::change::{self, Change, ChangeProblem, ResourcePatch};
use super::graph::AccountGraph;
use super::model::{Assignment, Id, Principal, Provenance, Resource, ResourceKey, Timestamp};

mod authority;
mod selection;
mod undo;

pub use authority::Authority;
pub use selection::ResourceFilter;
pub use undo::{Undone, undo};

/// How assignments by hand meet those that are there (P2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AssignMode {
    /// What is there stays.
    #[default]
    Add,
    Remove,
    /// Of what was not made by a rule only the targets are left.
    Replace,
}

/// What is to become of the partition of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Assign {
        mode: AssignMode,
        targets: BTreeSet<Principal>,
        /// Of what is added; never shortens what is there.
        expires_at: Option<Timestamp>,
    },
    /// Opens the resource; every row goes.
    Unpartition,
    /// Takes back the rows of one channel, e.g. of an import.
    Retract(Provenance),
}

/// What an order does to one resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effect {
    pub added: BTreeSet<Assignment>,
    pub removed: BTreeSet<Assignment>,
    pub was_partitioned: bool,
    pub is_partitioned: bool,
    /// Principals that were to go, and the segment rules that still assign them (P4).
    pub still_assigned: BTreeSet<(Principal, Id)>,
    /// No assignment is left on a resource that stays partitioned (3.5).
    pub orphans: bool,
}

impl Effect {
    pub fn is_change(&self) -> bool {
        !self.added.is_empty()
            || !self.removed.is_empty()
            || self.was_partitioned != self.is_partitioned
    }

    /// The changes that carry it out.
    pub fn changes(&self, key: &ResourceKey) -> Vec<Change> {
        let partition = |partitioned| {
            Change::PutResource(ResourcePatch {
                key: key.clone(),
                owners: None,
                owning_team: None,
                partitioned: Some(partitioned),
                attributes: None,
                creator: None,
            })
        };
        if self.was_partitioned && !self.is_partitioned {
            return vec![partition(false)];
        }
        let mut changes = Vec::with_capacity(self.added.len() + self.removed.len());
        if !self.was_partitioned && self.is_partitioned && self.added.is_empty() {
            changes.push(partition(true));
        }
        for row in &self.removed {
            changes.push(Change::DeleteAssignment {
                resource: key.clone(),
                principal: row.principal.clone(),
                provenance: row.provenance.clone(),
            });
        }
        for row in &self.added {
            changes.push(Change::PutAssignment {
                resource: key.clone(),
                principal: row.principal.clone(),
                provenance: row.provenance.clone(),
                expires_at: row.expires_at,
            });
        }
        changes
    }
}

/// Why an order is not carried out on a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignRefusal {
    #[error("the account has no such resource")]
    NoResource,
    #[error("the user may not assign resources of this type (P1)")]
    NotOfType,
    #[error("the user may not assign the resource to `{0}` (P1)")]
    NoAuthority(Principal),
    #[error(
        "the first assignment closes the resource for everyone else: it needs an owner of the resource or `partition.assign` (P1)"
    )]
    FirstAssignment,
    #[error("whoever does not hold `partition.assign` only adds (P1)")]
    OnlyAdds,
    #[error("{0}")]
    Change(ChangeProblem),
    /// Of an undo.
    #[error("it has been changed since: {0}")]
    ChangedSince(String),
}

impl AssignRefusal {
    /// Its name in the closed list of reasons.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoResource => "RESOURCE_NOT_FOUND",
            Self::NotOfType | Self::NoAuthority(_) | Self::FirstAssignment | Self::OnlyAdds => {
                "NO_ASSIGN_AUTHORITY"
            }
            Self::Change(ChangeProblem::NotEntitled(_)) => "NOT_ENTITLED",
            Self::Change(ChangeProblem::TooMany { .. }) => "TOO_MANY_CHANGES",
            Self::Change(ChangeProblem::Dangling { .. }) => "UNKNOWN_REFERENCE",
            Self::Change(ChangeProblem::Forbidden(_)) => "ACTOR_MAY_NOT",
            Self::Change(_) => "INVALID_FIELD",
            Self::ChangedSince(_) => "CHANGED_SINCE",
        }
    }
}

/// What an order does to a resource, whoever gives it.
pub fn effect_of(order: &Order, resource: &Resource) -> Effect {
    let mut effect = Effect {
        was_partitioned: resource.partitioned,
        is_partitioned: resource.partitioned,
        ..Effect::default()
    };
    match order {
        Order::Assign {
            mode,
            targets,
            expires_at,
        } => {
            match mode {
                AssignMode::Add => {}
                AssignMode::Remove => {
                    remove(resource, &mut effect, |row| {
                        targets.contains(&row.principal)
                    });
                }
                AssignMode::Replace => remove(resource, &mut effect, |row| {
                    !targets.contains(&row.principal) || ends_later(row.expires_at, *expires_at)
                }),
            }
            if *mode != AssignMode::Remove {
                for target in targets {
                    add(resource, &mut effect, target, *expires_at);
                }
            }
        }
        Order::Unpartition => {
            effect.removed = resource.assignments.clone();
            effect.is_partitioned = false;
        }
        Order::Retract(provenance) => {
            let made = |row: &&Assignment| row.provenance == *provenance;
            effect.removed = resource.assignments.iter().filter(made).cloned().collect();
        }
    }
    settle(resource, &mut effect);
    effect
}

/// What an order does to a resource, if whoever gives it may, and the account takes it.
///
/// # Errors
/// Why not; of the first target that is refused.
pub fn decide(
    graph: &AccountGraph,
    authority: &Authority<'_>,
    order: &Order,
    key: &ResourceKey,
) -> Result<Effect, AssignRefusal> {
    let resource = known(graph, authority, key)?;
    if let Order::Assign {
        mode: AssignMode::Add,
        targets,
        ..
    } = order
    {
        targets
            .iter()
            .try_for_each(|target| authority.judge(&resource, target))?;
    } else if !authority.is_unlimited() {
        return Err(AssignRefusal::OnlyAdds);
    }
    let effect = effect_of(order, &resource);
    accepted(graph, key, &effect)?;
    Ok(effect)
}

/// The resource, for somebody who may know that it is there.
fn known(
    graph: &AccountGraph,
    authority: &Authority<'_>,
    key: &ResourceKey,
) -> Result<Resource, AssignRefusal> {
    if !authority.may_assign_some(&key.resource_type) {
        return Err(AssignRefusal::NotOfType);
    }
    graph.resource(key).ok_or(AssignRefusal::NoResource)
}

/// Whether the account takes the changes of one resource, by the planner of all writes.
fn accepted(graph: &AccountGraph, key: &ResourceKey, effect: &Effect) -> Result<(), AssignRefusal> {
    if !effect.is_change() {
        return Ok(());
    }
    change::plan(&graph.account().id, Some(graph), &effect.changes(key))
        .map(drop)
        .map_err(|error| AssignRefusal::Change(error.problem))
}

/// By hand: the rows that rules make stay, and are told (P4).
fn remove(resource: &Resource, effect: &mut Effect, goes: impl Fn(&Assignment) -> bool) {
    for row in resource.assignments.iter().filter(|row| goes(row)) {
        match &row.provenance {
            Provenance::Segment(rule) => {
                let still = (row.principal.clone(), rule.clone());
                effect.still_assigned.insert(still);
            }
            Provenance::Manual
            | Provenance::Import(_)
            | Provenance::Form(_)
            | Provenance::Default
            | Provenance::Request(_) => {
                effect.removed.insert(row.clone());
            }
        }
    }
}

fn add(
    resource: &Resource,
    effect: &mut Effect,
    target: &Principal,
    expires_at: Option<Timestamp>,
) {
    let mut row = Assignment {
        principal: target.clone(),
        provenance: Provenance::Manual,
        expires_at,
    };
    let there = resource
        .assignments
        .iter()
        .find(|old| old.principal == row.principal && old.provenance == row.provenance);
    if let Some(old) = there
        && !effect.removed.contains(old)
    {
        if !ends_later(row.expires_at, old.expires_at) {
            return;
        }
        effect.removed.insert(old.clone());
    }
    row.expires_at = expires_at;
    effect.added.insert(row);
}

/// What follows from the rows: the first one partitions, and what stays partitioned without any is
/// orphaned (3.5).
fn settle(resource: &Resource, effect: &mut Effect) {
    let same: Vec<Assignment> = effect
        .added
        .intersection(&effect.removed)
        .cloned()
        .collect();
    for row in same {
        effect.added.remove(&row);
        effect.removed.remove(&row);
    }
    if !effect.added.is_empty() {
        effect.is_partitioned = true;
    }
    let left = resource.assignments.difference(&effect.removed).count() + effect.added.len();
    effect.orphans = effect.is_change() && effect.is_partitioned && left == 0;
}

/// `None` never ends.
fn ends_later(new: Option<Timestamp>, old: Option<Timestamp>) -> bool {
    match (new, old) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(new), Some(old)) => new > old,
    }
}
