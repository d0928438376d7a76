//! Snapshots in chunks: the order in which an account is read, and the task that reads it.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::kinds::{Kind, PAGE, id_of, parents_first};
use super::rows::{inconsistent, unavailable};
use super::{Chunk, Head, Snapshot, StoreError};
use crate::authz::model::{Account, Entity, Id};

/// Chunks that wait for the reader: enough that reading and building overlap, where chunks come one
/// by one.
pub(super) const CHUNKS_WAITING: usize = 4;

/// A reader that takes no chunk for so long loses the snapshot: its transaction keeps the database
/// from forgetting what is overwritten meanwhile, and a connection from everyone else.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// What an account is read from: one transaction that shows one state of it.
#[async_trait]
pub(super) trait Source: Send + Sized + 'static {
    async fn account(&mut self) -> Result<Option<Account>, StoreError>;

    /// Entities after an id, in byte order, at most a [`PAGE`].
    async fn page(&mut self, kind: Kind, after: &str) -> Result<Vec<Entity>, StoreError>;

    /// Sends all resources in the order of a snapshot.
    async fn send_resources(&mut self, chunks: &Chunks) -> Result<Listening, StoreError>;

    /// Ends the transaction. Without this the source is dropped.
    async fn end(self);
}

/// Leaves the reading to a task. The transaction has begun and `head` was read in it, so that it is
/// what the chunks will show whatever is written meanwhile. So many chunks wait for their reader.
pub(super) fn read<S: Source>(
    mut source: S,
    account: Id,
    head: Head,
    chunks_waiting: usize,
) -> Snapshot {
    let (sender, chunks) = mpsc::channel(chunks_waiting);
    let listener = Chunks(sender.clone());
    tokio::spawn(async move {
        // A task of its own, so that one that dies can't look like the end of the account.
        let ended = tokio::spawn(async move {
            let outcome = read_all(&mut source, &account, &listener).await;
            // The connection goes back before anyone waits for an error to be taken.
            match outcome {
                Ok(Listening::Yes) => source.end().await,
                Ok(Listening::No) | Err(_) => drop(source),
            }
            outcome.map(|_| ())
        })
        .await;
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(error) => StoreError::Unavailable(Box::new(error)),
        };
        // Nobody left to tell is no failure.
        let _gone = sender.send(Err(error)).await;
    });
    Snapshot { head, chunks }
}

/// Whether anyone still listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listening {
    Yes,
    No,
}

/// The way to the reader of a snapshot.
pub(super) struct Chunks(mpsc::Sender<Result<Chunk, StoreError>>);

impl Chunks {
    /// An empty chunk is not sent.
    pub(super) async fn send(&self, chunk: Chunk) -> Result<Listening, StoreError> {
        if chunk.is_empty() {
            return Ok(Listening::Yes);
        }
        match tokio::time::timeout(STALLED_AFTER, self.0.send(Ok(chunk))).await {
            Ok(Ok(())) => Ok(Listening::Yes),
            Ok(Err(_)) => Ok(Listening::No),
            Err(_) => Err(unavailable("the reader of a snapshot stalled")),
        }
    }
}

#[tracing::instrument(name = "store.snapshot.read", level = "debug", skip_all)]
async fn read_all<S: Source>(
    source: &mut S,
    account: &Id,
    chunks: &Chunks,
) -> Result<Listening, StoreError> {
    let entity = source.account().await?.ok_or_else(|| {
        inconsistent(
            "account",
            "account_id",
            account.as_str(),
            "a head without an account",
        )
    })?;
    if chunks
        .send(Chunk::Entities(vec![Entity::Account(entity)]))
        .await?
        == Listening::No
    {
        return Ok(Listening::No);
    }
    for kind in Kind::ALL {
        let listening = match kind {
            Kind::Team => read_teams(source, chunks).await?,
            other => read_kind(source, chunks, other).await?,
        };
        if listening == Listening::No {
            return Ok(Listening::No);
        }
    }
    source.send_resources(chunks).await
}

/// All teams at once, since a parent may come late in the order of ids.
async fn read_teams<S: Source>(source: &mut S, chunks: &Chunks) -> Result<Listening, StoreError> {
    let mut teams = Vec::new();
    let mut after = String::new();
    loop {
        let page = source.page(Kind::Team, &after).await?;
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
        if chunks.send(Chunk::Entities(chunk)).await? == Listening::No {
            return Ok(Listening::No);
        }
    }
}

async fn read_kind<S: Source>(
    source: &mut S,
    chunks: &Chunks,
    kind: Kind,
) -> Result<Listening, StoreError> {
    let mut after = String::new();
    loop {
        let page = source.page(kind, &after).await?;
        let Some(last) = page.last().and_then(id_of) else {
            return Ok(Listening::Yes);
        };
        after = last.as_str().to_owned();
        if chunks.send(Chunk::Entities(page)).await? == Listening::No {
            return Ok(Listening::No);
        }
    }
}
