//! Segment rules: which records belong to whom by what their attributes say (P5).
//!
//! A rule's condition is an [`Expression`] of CEL over `resource.<attribute>`, bounded when it is
//! written, so that it may be asked of any record. What a rule says of a record is a set of
//! assignments with its own provenance, which [`settle`] brings a record's rows in line with:
//! nothing else of the record is touched (P7), and an assignment never grants a verb.

mod bounds;
mod expression;
mod record;
mod rule;
mod run;

mod tests;

pub use bounds::{LIST_ITEMS_MAX, LOOP_OPERATIONS_MAX, NESTING_MAX, OPERATIONS_MAX};
pub use expression::{Expression, ExpressionError, NoAnswer};
pub use rule::{Rule, Settled, Standing, settle};
pub use run::{Different, Outcome, Rules, closing_first, run, strays};
