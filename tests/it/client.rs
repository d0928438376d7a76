//! The client of services: typed answers, sessions, retries and the layer, against real servers. What
//! breaks stands between client and server: a relay of bytes, and a gate of calls.

mod answers;
mod authenticated;
mod gate;
mod guarded;
mod languages;
mod layer;
mod pair;
mod relay;
mod retries;
#[path = "../../examples/contacts-service/service.rs"]
mod service;
mod sessions;

use ambit::client::{Client, ClientError};

use crate::grpc::server::TestServer;

/// The demo account.
const NORTHWIND: &str = include_str!("../../examples/demo/northwind.yaml");

/// A client with the defaults.
fn client_of(server: &TestServer) -> Client {
    Client::builder(server.url()).build().unwrap()
}

/// The reason of an error that the server answered.
fn reason<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    let error = answer.expect_err("this must be refused");
    let reason = error.reason().map(str::to_owned);
    reason.unwrap_or_else(|| panic!("no reason of the server: {error:?}"))
}
