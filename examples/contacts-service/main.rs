//! A service that keeps contacts and asks Ambit who may do what: run it beside the demo server.
//!
//! ```sh
//! ambit serve --demo
//! cargo run --example contacts-service
//! ```

mod service;

use std::error::Error;
use std::net::SocketAddr;

use ambit::client::{Client, FileToken};

/// What it listens on, unless the first argument says otherwise.
const ADDRESS: &str = "127.0.0.1:8090";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = std::env::args()
        .nth(1)
        .unwrap_or_else(|| ADDRESS.to_owned())
        .parse()?;
    let server =
        std::env::var("AMBIT_SERVER").unwrap_or_else(|_unset| "http://127.0.0.1:50051".to_owned());
    let mut client = Client::builder(server);
    if let Some(path) = std::env::var_os("TOKEN_FILE") {
        client = client.token(FileToken::new(path));
    }
    let contacts = service::Contacts::new("northwind", client.build()?);
    // In the product these come from its database.
    for (id, name) in [
        ("bosch", "Bosch"),
        ("swarovski", "Swarovski"),
        ("michelin", "Michelin"),
        ("siemens", "Siemens"),
    ] {
        contacts.keep(id, name);
    }
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("contacts at http://{}/contacts", listener.local_addr()?);
    axum::serve(listener, service::routes(contacts)).await?;
    Ok(())
}
