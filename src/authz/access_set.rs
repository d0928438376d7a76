//! The access set of one (user, action, type): built in one place, read as decision, bitmap and explanation.
use super::decision::{Decision, Target, UnknownName};
use super::graph::AccountGraph;
use super::model::{Id, Timestamp};

pub struct AccessSet<'g> {
    _graph: &'g AccountGraph,
}

impl<'g> AccessSet<'g> {
    pub fn new(
        _graph: &'g AccountGraph,
        _user: &str,
        _resource_type: &str,
        _action: &str,
        _at: Timestamp,
    ) -> Result<Self, UnknownName> {
        todo!()
    }
    /// The decision for one target. Never allocates for a stored resource.
    pub fn decide(&self, _target: Target<'_>) -> Decision {
        todo!()
    }
    /// Every stored resource of the type on which the action is allowed; exactly those whose `decide` allows.
    pub fn accessible(&self, _narrow: Narrowing<'_>) -> Accessible<'g> {
        todo!()
    }
}

/// Keeps only resources with this owner, with this owning or assigned team, assigned to this group.
/// An unknown id keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Narrowing<'a> {
    pub owner: Option<&'a str>,
    pub team: Option<&'a str>,
    pub group: Option<&'a str>,
}

/// The result of a list, at one snapshot.
pub struct Accessible<'g> {
    _graph: &'g AccountGraph,
}

impl<'g> Accessible<'g> {
    pub fn total(&self) -> u64 {
        todo!()
    }
    /// Ids in an order that is fixed for this value; borrowed from the snapshot.
    pub fn ids(&self) -> Box<dyn Iterator<Item = &'g str> + Send + '_> {
        todo!()
    }
    /// In id byte order, those after `after`, at most `limit`; and whether more follow.
    pub fn page(&self, _after: Option<&str>, _limit: usize) -> (Vec<&'g str>, bool) {
        todo!()
    }
}

/// One check: `AccessSet::new(..)?.decide(target)`.
pub fn check(
    graph: &AccountGraph,
    user: &str,
    resource_type: &str,
    action: &str,
    target: Target<'_>,
    at: Timestamp,
) -> Result<Decision, UnknownName> {
    Ok(AccessSet::new(graph, user, resource_type, action, at)?.decide(target))
}

/// Every user that may do the action on the target, in id byte order, each with the decision.
pub fn users_with_access(
    _graph: &AccountGraph,
    _resource_type: &str,
    _action: &str,
    _target: Target<'_>,
    _at: Timestamp,
) -> Result<Vec<(Id, Decision)>, UnknownName> {
    todo!()
}

/// The actions of the type that the user may do on the target, in catalog order, each with the decision.
pub fn actions_allowed(
    _graph: &AccountGraph,
    _user: &str,
    _resource_type: &str,
    _target: Target<'_>,
    _at: Timestamp,
) -> Result<Vec<(Id, Decision)>, UnknownName> {
    todo!()
}
