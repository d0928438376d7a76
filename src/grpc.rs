//! The gRPC face: `api.md` over the use cases, thin.

pub mod access_request;
pub mod admission;
pub mod asker;
pub mod authenticate;
pub mod author;
pub mod bounds;
pub mod change_list;
pub mod chunks;
pub mod codec;
pub mod convert;
pub mod decision;
pub mod directory;
pub mod health;
pub mod idempotency;
pub mod methods;
pub mod observed;
pub mod packed;
pub mod page_token;
pub mod partition;
pub mod reading;
pub mod reasons;
pub mod server;
pub mod services;
pub mod shares;
pub mod status;
pub mod wire;
