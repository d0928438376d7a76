//! The transport of the gRPC port: TLS (of the HTTP port too), the life of a connection, floods, and overload.

mod bounds;
mod fairness;
pub mod floods;
mod http;
pub mod lives;
pub mod processes;
mod tls;
