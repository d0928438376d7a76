//! The one integration binary. `cfg(test)` tells clippy that all of it is test code, where `unwrap`
//! and the like are the right way to fail (`clippy.toml`).
#![cfg(test)]
#![expect(
    clippy::too_many_lines,
    reason = "a table of cases is read by its rows"
)]

mod access_requests;
mod architecture;
mod bad_input;
mod callers;
mod certificates;
mod change_lists;
mod chart;
mod cli;
mod client;
mod conformance_postgres;
mod conformance_sqlite;
mod console;
mod crash;
mod database;
mod decision_log;
mod demo;
mod directory;
mod documentation;
mod documents;
mod faults;
mod freshness;
mod golden;
mod grpc;
mod imports;
mod memberships;
mod metrics;
mod monitoring;
mod notifications;
mod on_behalf;
mod oracle;
mod partitions;
mod partners;
mod postgres;
mod postgres_writers;
mod previews;
mod properties;
mod races;
mod request_rules;
mod segments;
mod served;
mod sqlite_writers;
mod store_contract;
mod telemetry;
mod tokens;
mod transport;
mod truth_table;
