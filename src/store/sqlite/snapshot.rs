//! Everything of an account in one read transaction, page by page.

use async_trait::async_trait;
use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, Transaction};

use super::error::store_error;
use super::read;
use super::resources;
use crate::authz::model::{Account, Entity, Id};
use crate::store::kinds::Kind;
use crate::store::snapshots::{self, CHUNKS_WAITING, Chunks, Listening, Source};
use crate::store::{Chunk, Snapshot, StoreError};

pub(super) async fn snapshot(
    readers: &SqlitePool,
    account: &Id,
    attributes: bool,
) -> Result<Option<Snapshot>, StoreError> {
    let mut transaction = readers.begin().await.map_err(store_error)?;
    let Some(head) = read::head(&mut transaction, account).await? else {
        return Ok(None);
    };
    let source = Pages {
        transaction,
        account: account.clone(),
        attributes,
    };
    Ok(Some(snapshots::read(
        source,
        account.clone(),
        head,
        CHUNKS_WAITING,
    )))
}

struct Pages {
    transaction: Transaction<'static, Sqlite>,
    account: Id,
    attributes: bool,
}

#[async_trait]
impl Source for Pages {
    async fn account(&mut self) -> Result<Option<Account>, StoreError> {
        read::account(&mut self.transaction, &self.account).await
    }

    async fn page(&mut self, kind: Kind, after: &str) -> Result<Vec<Entity>, StoreError> {
        read::page(kind, &mut self.transaction, &self.account, after).await
    }

    async fn send_resources(&mut self, chunks: &Chunks) -> Result<Listening, StoreError> {
        let mut after = (String::new(), String::new());
        loop {
            let from = (after.0.as_str(), after.1.as_str());
            let page = resources::page(&mut self.transaction, &self.account, from, self.attributes)
                .await?;
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

    /// A read transaction has nothing to commit.
    async fn end(self) {}
}
