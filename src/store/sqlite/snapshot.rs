//! Everything of an account in one read transaction, page by page.

use std::time::Duration;

use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, Transaction};
use tokio::sync::mpsc;

use super::error::{inconsistent, store_error, unavailable};
use super::read::{self, Kind, PAGE, parents_first};
use super::resources;
use crate::authz::model::{Entity, Id};
use crate::store::{Snapshot, StoreError};

/// Chunks that wait for the reader: enough that reading and building overlap.
const CHUNKS_WAITING: usize = 4;

/// A reader that takes no chunk for so long loses the snapshot: its transaction keeps the
/// write-ahead log from being cut, and a connection from everyone else.
const STALLED_AFTER: Duration = Duration::from_secs(60);

type Chunk = Result<Vec<Entity>, StoreError>;

/// Begins the transaction, so that `head` is what the chunks will show whatever is written
/// meanwhile, and leaves the reading to a task.
pub(super) async fn snapshot(
    readers: &SqlitePool,
    account: &Id,
    attributes: bool,
) -> Result<Option<Snapshot>, StoreError> {
    let mut transaction = readers.begin().await.map_err(store_error)?;
    let Some(head) = read::head(&mut transaction, account).await? else {
        return Ok(None);
    };
    let (sender, chunks) = mpsc::channel(CHUNKS_WAITING);
    let reader = Reader {
        account: account.clone(),
        attributes,
        chunks: sender.clone(),
    };
    tokio::spawn(async move {
        // A task of its own, so that one that dies can't look like the end of the account.
        let ended = tokio::spawn(reader.run(transaction)).await;
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(error) => StoreError::Unavailable(Box::new(error)),
        };
        // Nobody left to tell is no failure.
        let _gone = sender.send(Err(error)).await;
    });
    Ok(Some(Snapshot { head, chunks }))
}

struct Reader {
    account: Id,
    attributes: bool,
    chunks: mpsc::Sender<Chunk>,
}

/// Whether anyone still listens.
#[derive(PartialEq, Eq)]
enum Listening {
    Yes,
    No,
}

impl Reader {
    #[tracing::instrument(name = "store.snapshot.read", level = "debug", skip_all)]
    async fn run(self, mut transaction: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        let outcome = self.read(&mut transaction).await;
        // The connection goes back before anyone waits for an error to be taken.
        drop(transaction);
        outcome.map(|_| ())
    }

    async fn read(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
    ) -> Result<Listening, StoreError> {
        let account = read::account(transaction, &self.account)
            .await?
            .ok_or_else(|| {
                inconsistent(
                    "account",
                    "account_id",
                    self.account.as_str(),
                    "a head without an account",
                )
            })?;
        if self.send(vec![Entity::Account(account)]).await? == Listening::No {
            return Ok(Listening::No);
        }
        for kind in Kind::ALL {
            let listening = match kind {
                Kind::Team => self.read_teams(transaction).await?,
                other => self.read_kind(transaction, other).await?,
            };
            if listening == Listening::No {
                return Ok(Listening::No);
            }
        }
        self.read_resources(transaction).await
    }

    /// All teams at once, since a parent may come late in the order of ids.
    async fn read_teams(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
    ) -> Result<Listening, StoreError> {
        let mut teams = Vec::new();
        let mut after = String::new();
        loop {
            let page = Kind::Team.page(transaction, &self.account, &after).await?;
            if page.is_empty() {
                break;
            }
            for entity in page {
                if let Entity::Team(team) = entity {
                    after = team.id.as_str().to_owned();
                    teams.push(team);
                }
            }
        }
        let mut ordered = parents_first(teams).map(Entity::Team);
        loop {
            let chunk: Vec<Entity> = ordered
                .by_ref()
                .take(usize::try_from(PAGE).unwrap_or(usize::MAX))
                .collect();
            if chunk.is_empty() {
                return Ok(Listening::Yes);
            }
            if self.send(chunk).await? == Listening::No {
                return Ok(Listening::No);
            }
        }
    }

    async fn read_kind(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        kind: Kind,
    ) -> Result<Listening, StoreError> {
        let mut after = String::new();
        loop {
            let page = kind.page(transaction, &self.account, &after).await?;
            let Some(last) = page.last().and_then(id_of) else {
                return Ok(Listening::Yes);
            };
            after = last.as_str().to_owned();
            if self.send(page).await? == Listening::No {
                return Ok(Listening::No);
            }
        }
    }

    async fn read_resources(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
    ) -> Result<Listening, StoreError> {
        let mut after = (String::new(), String::new());
        loop {
            let from = (after.0.as_str(), after.1.as_str());
            let page = resources::page(transaction, &self.account, from, self.attributes).await?;
            let Some(Entity::Resource(last, _)) = page.last() else {
                return Ok(Listening::Yes);
            };
            after = (
                last.key.resource_type.as_str().to_owned(),
                last.key.id.as_str().to_owned(),
            );
            if self.send(page).await? == Listening::No {
                return Ok(Listening::No);
            }
        }
    }

    async fn send(&self, chunk: Vec<Entity>) -> Result<Listening, StoreError> {
        match tokio::time::timeout(STALLED_AFTER, self.chunks.send(Ok(chunk))).await {
            Ok(Ok(())) => Ok(Listening::Yes),
            Ok(Err(_)) => Ok(Listening::No),
            Err(_) => Err(unavailable("the reader of a snapshot stalled")),
        }
    }
}

/// The id of an entity that is read by [`Kind`].
fn id_of(entity: &Entity) -> Option<&Id> {
    match entity {
        Entity::Team(team) => Some(&team.id),
        Entity::PermissionSet(set) => Some(&set.id),
        Entity::User(user) => Some(&user.id),
        Entity::AccessGroup(group) => Some(&group.id),
        Entity::Segment(segment) => Some(&segment.id),
        Entity::Account(_) | Entity::Resource(..) => None,
    }
}
