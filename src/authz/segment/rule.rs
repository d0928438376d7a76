//! A rule with its expression, and what rules make of a record.

use std::collections::BTreeSet;

use super::{Expression, ExpressionError};
use crate::authz::change::ASSIGNMENTS_MAX;
use crate::authz::model::{Assignment, Attributes, Id, Principal, Provenance, Resource, Segment};

/// A segment, its expression parsed once.
#[derive(Debug)]
pub struct Rule {
    segment: Segment,
    expression: Result<Expression, ExpressionError>,
}

impl Rule {
    /// What is stored may be no expression, e.g. after a plain SQL write: such a rule matches
    /// nothing.
    pub fn new(segment: Segment) -> Self {
        Self {
            expression: Expression::parse(&segment.when),
            segment,
        }
    }

    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    pub fn id(&self) -> &Id {
        &self.segment.id
    }

    /// Why it can't be run.
    pub fn problem(&self) -> Option<&ExpressionError> {
        self.expression.as_ref().err()
    }

    /// Whether it can match any record at all.
    pub fn is_running(&self) -> bool {
        self.segment.enabled && self.expression.is_ok() && !self.segment.assign_to.is_empty()
    }

    /// Whether a record with these attributes, of the rule's type, is in the segment.
    pub fn matches(&self, resource_type: &Id, attributes: &Attributes) -> bool {
        self.segment.enabled
            && self.segment.resource_type == *resource_type
            && self
                .expression
                .as_ref()
                .is_ok_and(|expression| expression.matches(attributes))
    }
}

/// How a record stands where rules come to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// S2.4: whether the plan lets resources of its type be partitioned. Where not, rows stay and
    /// go, and none comes.
    pub may_be_partitioned: bool,
    /// P1: whether it is made just now, so that nobody loses it by a first assignment.
    pub is_new: bool,
}

/// What rules made of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    pub matched: u64,
    /// Rows that came and went.
    pub added: u64,
    pub removed: u64,
    /// Rows that a rule asks for and that may not come: where the plan does not let the type be
    /// partitioned, the record is open and the rule may not close it (P1), or it has as many
    /// assignments as it may.
    pub withheld: u64,
}

impl Settled {
    pub fn is_changed(&self) -> bool {
        self.added > 0 || self.removed > 0
    }

    pub fn add(&mut self, other: Self) {
        self.matched += other.matched;
        self.added += other.added;
        self.removed += other.removed;
        self.withheld += other.withheld;
    }
}

/// Brings the rows of one rule on a record in line with what it says of the attributes (P6, P7).
/// The record is partitioned by the first row, and stays so when the last one goes (3.5).
pub fn settle(
    rule: &Rule,
    resource: &mut Resource,
    attributes: &Attributes,
    standing: Standing,
) -> Settled {
    let mut settled = Settled::default();
    let matches = rule.matches(&resource.key.resource_type, attributes);
    settled.matched = u64::from(matches);
    let none = BTreeSet::new();
    let wanted: &BTreeSet<Principal> = if matches {
        &rule.segment.assign_to
    } else {
        &none
    };
    let own = Provenance::Segment(rule.segment.id.clone());
    let before = resource.assignments.len();
    // A row of a rule ends with the rule, not by itself.
    resource.assignments.retain(|row| {
        row.provenance != own || (row.expires_at.is_none() && wanted.contains(&row.principal))
    });
    settled.removed = count(before - resource.assignments.len());
    for principal in wanted {
        let row = Assignment {
            principal: principal.clone(),
            provenance: own.clone(),
            expires_at: None,
        };
        if resource.assignments.contains(&row) {
            continue;
        }
        let may_close = resource.partitioned || standing.is_new || rule.segment.may_partition;
        let is_full = resource.assignments.len() >= ASSIGNMENTS_MAX;
        if !standing.may_be_partitioned || !may_close || is_full {
            settled.withheld += 1;
            continue;
        }
        resource.assignments.insert(row);
        resource.partitioned = true;
        settled.added += 1;
    }
    settled
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
