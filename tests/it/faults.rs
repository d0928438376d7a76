//! Faults of the database and of the way to it, with real server processes as replicas and a real
//! Postgres behind them (`docs/consistency.md` says what is promised). Beside each fault stands a
//! control that shows that it bites.
//!
//! `AMBIT_SOAK=1` runs the long forms whole: `tests/soak`.

mod away;
mod cold_load;
mod commit_order;
mod hang;
mod histories;
mod junk;
mod latency;
mod listening;
mod new_enemy;
mod overload;
mod pooler;
mod readers;
pub mod replica;
mod restart;
mod room;
pub mod scene;
mod starts;
mod storm;
mod tokens;

/// Whether the long forms run whole.
fn soaks() -> bool {
    std::env::var_os("AMBIT_SOAK").is_some_and(|value| value == "1")
}

/// How often or for how long, in the short form and in the long one.
pub fn by_soak<T>(short: T, long: T) -> T {
    if soaks() { long } else { short }
}
