//! `ambit bench`: measures checks, batches and lists.

pub mod ceiling;
pub mod data_set;
pub mod load;
pub mod report;
