//! Everything of an account in one read transaction.
//!
//! What there is little of comes in pages of JSON, like in the embedded store. Resources are many,
//! and come by the round (`rounds`) as columns (`columns`) of the three tables that make them.

use async_trait::async_trait;

use super::connect::{Lane, Lease, Mode, SMALL, bounded};
use super::read;
use super::resources;
use super::rounds;
use super::session::Session;
use crate::authz::model::{Account, Entity, Id};
use crate::store::kinds::Kind;
use crate::store::snapshots::{self, CHUNKS_WAITING, Chunks, Listening, Source};
use crate::store::{Chunk, Snapshot, StoreError};

pub(super) async fn snapshot(
    loads: &Lane,
    account: &Id,
    attributes: bool,
) -> Result<Option<Snapshot>, StoreError> {
    let mut lease = loads.lease(Mode::Read).await?;
    let head = bounded(SMALL, read::head(lease.connection()?, account)).await;
    match head {
        Ok(Some(head)) => {
            let source = Transaction {
                lease,
                account: account.clone(),
                attributes,
            };
            let waiting = if attributes {
                CHUNKS_WAITING
            } else {
                rounds::WAITING
            };
            let account = account.clone();
            Ok(Some(snapshots::read(source, account, head, waiting)))
        }
        other => lease.settle(other.map(|_| None)).await,
    }
}

struct Transaction {
    lease: Lease,
    account: Id,
    attributes: bool,
}

#[async_trait]
impl Source for Transaction {
    async fn account(&mut self) -> Result<Option<Account>, StoreError> {
        let reading = read::account(self.lease.connection()?, &self.account);
        bounded(SMALL, reading).await
    }

    async fn page(&mut self, kind: Kind, after: &str) -> Result<Vec<Entity>, StoreError> {
        read::page(kind, self.lease.connection()?, &self.account, after).await
    }

    async fn send_resources(&mut self, chunks: &Chunks) -> Result<Listening, StoreError> {
        let connection = self.lease.connection()?;
        if self.attributes {
            send_pages(connection, &self.account, chunks).await
        } else {
            rounds::send(connection, &self.account, chunks).await
        }
    }

    async fn end(self) {
        // Everything was read and sent: a transaction that can't be ended goes with its connection.
        if let Err(error) = self.lease.settle(Ok(())).await {
            tracing::debug!(error = %error, "the end of a read transaction");
        }
    }
}

async fn send_pages(
    connection: &mut Session,
    account: &Id,
    chunks: &Chunks,
) -> Result<Listening, StoreError> {
    let mut after = (String::new(), String::new());
    loop {
        let page = resources::page(connection, account, (&after.0, &after.1)).await?;
        let Some(Entity::Resource(last, _)) = page.last() else {
            return Ok(Listening::Yes);
        };
        after = (
            last.key.resource_type.as_str().to_owned(),
            last.key.id.as_str().to_owned(),
        );
        if chunks.send(Chunk::Entities(page)).await? == Listening::No {
            return Ok(Listening::No);
        }
    }
}
