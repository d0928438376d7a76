//! The transport of the gRPC port: TLS, the life of a connection, floods, and overload.

mod bounds;
mod floods;
mod lives;
mod processes;
mod tls;
