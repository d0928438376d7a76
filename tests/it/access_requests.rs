//! Access requests as a client meets them: real servers on real ports over the real store, with a
//! clock that the test sets.

mod approving;
mod filing;
mod keeping;
mod linking;
mod program;
mod reading;
mod refusals;
pub mod scene;
mod telling;
mod tenancy;
