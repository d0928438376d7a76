//! `ambit bench`: measures checks, batches and lists.

pub mod data_set;
