//! The command line as people and scripts meet it: the real binary, a real server, pipes, exit
//! statuses and what is printed where.

mod account;
mod auditing;
mod encrypted;
mod measuring;
pub mod pasting;
pub mod program;
mod reading;
mod testing;
mod writing;

pub use program::{Home, Ran, Server, ambit, run, run_with_input};
