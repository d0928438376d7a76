//! Real Postgres servers for the tests: clusters that they start, break and throw away.

pub mod cluster;
pub mod pooler;
pub mod proxy;
