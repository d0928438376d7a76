//! Resources by the round: the next of one type, then the owners and the assignments of these.
//!
//! Each is asked for in the order of a primary key, which is that of an index. (Asked for in one
//! statement the database sorts all of it.) No round has two types: on a comparison of whole keys
//! the database begins at the right place of the index, but reads on to the account's end.
//!
//! What a statement told is put together while the next one is answered, so that the database waits
//! for nothing but the network.

use sqlx::postgres::PgRow;
use tokio::sync::mpsc;

use super::columns::{self, Round, Told};
use super::connect::{LARGE, SMALL, bounded};
use super::error::store_error;
use super::read::micros;
use super::session::Session;
use crate::authz::model::Id;
use crate::store::rows::At;
use crate::store::snapshots::{Chunks, Listening};
use crate::store::{Chunk, StoreError};

/// Resources of one round, and rows belonging to them of one statement: few enough that even a slow
/// disk gives them within the time of a statement, and enough that round trips cost next to nothing.
const ROUND: usize = 20_000;
const ROWS_AT_ONCE: usize = 50_000;

/// Rounds that wait for their reader, while one is built into the graph.
pub(super) const WAITING: usize = 1;

/// Answers that wait while one is put together and one is on its way: a few megabytes each.
const ANSWERS_WAITING: usize = 1;

pub(super) async fn send(
    connection: &mut Session,
    account: &Id,
    chunks: &Chunks,
) -> Result<Listening, StoreError> {
    let (teller, told) = mpsc::channel(ANSWERS_WAITING);
    let ((), listening) = tokio::try_join!(
        ask_for_all(connection, account, teller),
        put_together(told, chunks)
    )?;
    Ok(listening)
}

/// Puts together what is told, off the workers, and sends each round once it is whole.
async fn put_together(
    mut answers: mpsc::Receiver<Told>,
    chunks: &Chunks,
) -> Result<Listening, StoreError> {
    let mut round = Round::default();
    while let Some(told) = answers.recv().await {
        let adding = tokio::task::spawn_blocking(move || {
            let whole = round.add(&told)?;
            Ok::<_, StoreError>((round, whole))
        });
        let added = adding.await;
        let (rest, whole) = added.map_err(|error| StoreError::Unavailable(Box::new(error)))??;
        round = rest;
        if let Some(rows) = whole
            && chunks.send(Chunk::Resources(rows)).await? == Listening::No
        {
            return Ok(Listening::No);
        }
    }
    Ok(Listening::Yes)
}

/// Nobody left to tell is the end, and no failure.
async fn ask_for_all(
    connection: &mut Session,
    account: &Id,
    teller: mpsc::Sender<Told>,
) -> Result<(), StoreError> {
    let indexed = sqlx::raw_sql(
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
        SET LOCAL enable_sort = off; SET LOCAL max_parallel_workers_per_gather = 0",
    )
    .execute(&mut *connection);
    bounded(SMALL, async { indexed.await.map_err(store_error) }).await?;
    let mut asker = Asker {
        connection,
        account,
        teller,
    };
    let mut resource_type = asker.next_type("").await?;
    while let Some(found) = resource_type {
        let mut after = Some(String::new());
        while let Some(from) = after {
            after = asker.ask_for_round(&found, &from).await?;
        }
        if asker.teller.is_closed() {
            return Ok(());
        }
        resource_type = asker.next_type(found.as_str()).await?;
    }
    Ok(())
}

struct Asker<'a> {
    connection: &'a mut Session,
    account: &'a Id,
    teller: mpsc::Sender<Told>,
}

impl Asker<'_> {
    /// The first type of resources after another.
    async fn next_type(&mut self, after: &str) -> Result<Option<Id>, StoreError> {
        let asked = sqlx::query_scalar(
            "SELECT min(resource_type) FROM ambit.resource
                WHERE account_id = $1 AND resource_type > $2",
        )
        .bind(self.account.as_str())
        .bind(after)
        .fetch_one(&mut *self.connection);
        let found: Option<String> =
            bounded(SMALL, async { asked.await.map_err(store_error) }).await?;
        let at = At {
            table: "resource",
            row: "*",
        };
        found
            .map(|found| at.id("resource_type", &found))
            .transpose()
    }

    /// Tells of resources after an id; after which the next round begins, if there is one.
    async fn ask_for_round(
        &mut self,
        resource_type: &Id,
        from: &str,
    ) -> Result<Option<String>, StoreError> {
        let asked = sqlx::query(RESOURCES)
            .bind(self.account.as_str())
            .bind(resource_type.as_str())
            .bind(from)
            .bind(limit(ROUND))
            .fetch_one(&mut *self.connection);
        let resources = bounded(LARGE, async { asked.await.map_err(store_error) }).await?;
        let Some(to) = columns::last(&resources, 0)?.map(str::to_owned) else {
            return Ok(None);
        };
        let is_full = columns::count(&resources)? == ROUND;
        let told = Told::Resources(resource_type.clone(), resources);
        if !self.tell(told).await {
            return Ok(None);
        }
        let part = Part {
            resource_type,
            from,
            to: &to,
        };
        self.ask_for_belonging::<2>(&part, OWNERS, Told::Owners)
            .await?;
        self.ask_for_belonging::<4>(&part, ASSIGNMENTS, Told::Assignments)
            .await?;
        let listens = self.tell(Told::End).await;
        Ok((is_full && listens).then_some(to))
    }

    /// Tells of rows that belong to the resources of a part: resources may have any number of them,
    /// so they come in as many statements as they need, each after the key that the last one ended
    /// with. The columns of the key come first.
    async fn ask_for_belonging<const KEY: usize>(
        &mut self,
        part: &Part<'_>,
        sql: &'static str,
        of: fn(PgRow) -> Told,
    ) -> Result<(), StoreError> {
        let mut after = [const { String::new() }; KEY];
        if let Some(id) = after.first_mut() {
            part.from.clone_into(id);
        }
        loop {
            let mut asked = sqlx::query(sql)
                .bind(self.account.as_str())
                .bind(part.resource_type.as_str())
                .bind(part.from)
                .bind(part.to)
                .bind(limit(ROWS_AT_ONCE));
            for value in &after {
                asked = asked.bind(value.clone());
            }
            let asked = asked.fetch_one(&mut *self.connection);
            let rows = bounded(LARGE, async { asked.await.map_err(store_error) }).await?;
            let is_full = columns::count(&rows)? == ROWS_AT_ONCE;
            for (column, value) in after.iter_mut().enumerate() {
                columns::last(&rows, column)?
                    .unwrap_or_default()
                    .clone_into(value);
            }
            if !self.tell(of(rows)).await || !is_full {
                return Ok(());
            }
        }
    }

    /// Whether anyone still listens.
    async fn tell(&self, told: Told) -> bool {
        self.teller.send(told).await.is_ok()
    }
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Resources of one type after one up to another.
struct Part<'a> {
    resource_type: &'a Id,
    from: &'a str,
    to: &'a str,
}

const RESOURCES: &str = "
    SELECT count(*), string_agg(resource_id, E'\n'), string_agg(coalesce(owning_team, ''), E'\n'),
        string_agg(partitioned::text, E'\n')
    FROM (SELECT resource_id, owning_team, partitioned FROM ambit.resource
        WHERE account_id = $1 AND resource_type = $2 AND resource_id > $3
        ORDER BY resource_id LIMIT $4) AS round";

const OWNERS: &str = "
    SELECT count(*), string_agg(resource_id, E'\n'), string_agg(user_id, E'\n')
    FROM (SELECT resource_id, user_id FROM ambit.resource_owner
        WHERE account_id = $1 AND resource_type = $2 AND resource_id > $3 AND resource_id <= $4
            AND (resource_id, user_id) > ($6, $7)
        ORDER BY resource_id, user_id LIMIT $5) AS round";

const ASSIGNMENTS: &str = concat!(
    "
    SELECT count(*), string_agg(resource_id, E'\n'), string_agg(principal_kind, E'\n'),
        string_agg(principal_id, E'\n'), string_agg(provenance, E'\n'),
        string_agg(coalesce((",
    micros!("expires_at"),
    ")::text, ''), E'\n')
    FROM (SELECT resource_id, principal_kind, principal_id, provenance, expires_at
        FROM ambit.assignment
        WHERE account_id = $1 AND resource_type = $2 AND resource_id > $3 AND resource_id <= $4
            AND (resource_id, principal_kind, principal_id, provenance) > ($6, $7, $8, $9)
        ORDER BY resource_id, principal_kind, principal_id, provenance LIMIT $5) AS round"
);
