//! The `ambit` binary: the allocator and the way into [`ambit::cli`], nothing else.

use std::process::ExitCode;

/// Keeps the memory of a loaded account close to what its tables hold, and serves many small
/// answers from several threads without contention.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ambit::cli::run()
}
