//! Everything of an account in one read transaction.
//!
//! What there is little of comes in pages of JSON, like in the embedded store. Resources are many,
//! and come as columns of the three tables that make them, in the order of their keys, which is the
//! order of the indexes, and are put together here.

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::connect::{LARGE, Lane, Lease, Mode, SMALL, bounded};
use super::error::store_error;
use super::read::{self, micros};
use super::resources;
use super::session::Session;
use crate::authz::model::{
    Account, AssignmentRow, Entity, Id, PrincipalKind, ResourceRows, ResourceRowsBuilder,
};
use crate::store::kinds::Kind;
use crate::store::rows::{At, inconsistent};
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
                ROUNDS_WAITING
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
            send_rounds(connection, &self.account, chunks).await
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

/// Resources of one round, and rows belonging to them of one statement: few enough that even a slow
/// disk gives them within the time of a statement, and enough that round trips cost next to nothing.
const ROUND: usize = 20_000;
const ROWS_AT_ONCE: usize = 50_000;

/// Rounds that wait for their reader: while one is built into the graph the next is read.
const ROUNDS_WAITING: usize = 2;

/// Resources by the round: the next of one type, then the owners and the assignments of these, each
/// in the order of an index. (Asked for in one statement the database sorts all of it.) No round has
/// two types: on a comparison of whole keys the database begins at the right place of the index, but
/// reads on to the account's end.
async fn send_rounds(
    connection: &mut Session,
    account: &Id,
    chunks: &Chunks,
) -> Result<Listening, StoreError> {
    let indexed = sqlx::raw_sql(
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
        SET LOCAL enable_sort = off; SET LOCAL max_parallel_workers_per_gather = 0",
    )
    .execute(&mut *connection);
    bounded(SMALL, async { indexed.await.map_err(store_error) }).await?;
    let mut resource_type = next_type(connection, account, "").await?;
    while let Some(found) = resource_type {
        let mut after = Some(String::new());
        while let Some(from) = after {
            let round = read_round(connection, account, &found, &from).await?;
            after = match round.last_id() {
                Some(last) if round.len() == ROUND => Some(last.to_owned()),
                _ => None,
            };
            if chunks.send(Chunk::Resources(round)).await? == Listening::No {
                return Ok(Listening::No);
            }
        }
        resource_type = next_type(connection, account, found.as_str()).await?;
    }
    Ok(Listening::Yes)
}

/// The first type of resources after another.
async fn next_type(
    connection: &mut Session,
    account: &Id,
    after: &str,
) -> Result<Option<Id>, StoreError> {
    let asked = sqlx::query_scalar(
        "SELECT min(resource_type) FROM ambit.resource
            WHERE account_id = $1 AND resource_type > $2",
    )
    .bind(account.as_str())
    .bind(after)
    .fetch_one(connection);
    let found: Option<String> = bounded(SMALL, async { asked.await.map_err(store_error) }).await?;
    let at = At {
        table: "resource",
        row: "*",
    };
    found
        .map(|found| at.id("resource_type", &found))
        .transpose()
}

async fn read_round(
    connection: &mut Session,
    account: &Id,
    resource_type: &Id,
    from: &str,
) -> Result<ResourceRows, StoreError> {
    let mut builder = ResourceRowsBuilder::new(resource_type.clone());
    let resources = sqlx::query(RESOURCES)
        .bind(account.as_str())
        .bind(resource_type.as_str())
        .bind(from)
        .bind(i64::try_from(ROUND).unwrap_or(i64::MAX))
        .fetch_one(&mut *connection);
    let resources = bounded(LARGE, async { resources.await.map_err(store_error) }).await?;
    columns(&resources, "resource", |row| {
        add_resource(&mut builder, row)
    })?;
    let Some(to) = builder.rows().last_id().map(str::to_owned) else {
        return finish(builder);
    };
    let part = Part {
        account,
        resource_type,
        from,
        to: &to,
    };
    read_belonging::<2, 2>(connection, &part, OWNERS, "resource_owner", |row| {
        add_owner(&mut builder, row)
    })
    .await?;
    read_belonging::<4, 5>(connection, &part, ASSIGNMENTS, "assignment", |row| {
        add_assignment(&mut builder, row)
    })
    .await?;
    finish(builder)
}

fn finish(builder: ResourceRowsBuilder) -> Result<ResourceRows, StoreError> {
    let finished = builder.finish();
    finished.map_err(|error| inconsistent("resource", "*", "of a round", error))
}

/// Resources of one type after one up to another.
struct Part<'a> {
    account: &'a Id,
    resource_type: &'a Id,
    from: &'a str,
    to: &'a str,
}

/// Rows that belong to the resources of a part: resources may have any number of them, so they come
/// in as many statements as they need, each after the key that the last one ended with. The columns
/// of the key come first.
async fn read_belonging<const KEY: usize, const N: usize>(
    connection: &mut Session,
    part: &Part<'_>,
    sql: &'static str,
    table: &'static str,
    mut take: impl FnMut([&str; N]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut after = [const { String::new() }; KEY];
    if let Some(id) = after.first_mut() {
        part.from.clone_into(id);
    }
    loop {
        let mut asked = sqlx::query(sql)
            .bind(part.account.as_str())
            .bind(part.resource_type.as_str())
            .bind(part.from)
            .bind(part.to)
            .bind(i64::try_from(ROWS_AT_ONCE).unwrap_or(i64::MAX));
        for value in &after {
            asked = asked.bind(value.clone());
        }
        let asked = asked.fetch_one(&mut *connection);
        let told = bounded(LARGE, async { asked.await.map_err(store_error) }).await?;
        let mut count = 0;
        let mut last = [""; N];
        columns(&told, table, |row| {
            count += 1;
            last = row;
            take(row)
        })?;
        if count < ROWS_AT_ONCE {
            return Ok(());
        }
        for (key, value) in after.iter_mut().zip(last) {
            value.clone_into(key);
        }
    }
}

/// Each column of a round as one text, its values joined by line feeds, which no id has: what a
/// message for each row would cost on either side is many times what the row itself does.
const RESOURCES: &str = "
    SELECT string_agg(resource_id, E'\n'), string_agg(coalesce(owning_team, ''), E'\n'),
        string_agg(partitioned::text, E'\n')
    FROM (SELECT resource_id, owning_team, partitioned FROM ambit.resource
        WHERE account_id = $1 AND resource_type = $2 AND resource_id > $3
        ORDER BY resource_id LIMIT $4) AS round";

const OWNERS: &str = "
    SELECT string_agg(resource_id, E'\n'), string_agg(user_id, E'\n')
    FROM (SELECT resource_id, user_id FROM ambit.resource_owner
        WHERE account_id = $1 AND resource_type = $2 AND resource_id > $3 AND resource_id <= $4
            AND (resource_id, user_id) > ($6, $7)
        ORDER BY resource_id, user_id LIMIT $5) AS round";

const ASSIGNMENTS: &str = concat!(
    "
    SELECT string_agg(resource_id, E'\n'), string_agg(principal_kind, E'\n'),
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

/// Reads the columns of a round side by side, row by row.
fn columns<'r, const N: usize>(
    told: &'r PgRow,
    table: &'static str,
    mut take: impl FnMut([&'r str; N]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut columns = [const { None }; N];
    for (at, column) in columns.iter_mut().enumerate() {
        let text: Option<&str> = told.try_get(at).map_err(store_error)?;
        *column = text.map(|text| text.split('\n'));
    }
    loop {
        let mut row = [""; N];
        let mut values = 0;
        for (column, value) in columns.iter_mut().zip(&mut row) {
            if let Some(found) = column.as_mut().and_then(Iterator::next) {
                *value = found;
                values += 1;
            }
        }
        match values {
            0 => return Ok(()),
            all if all == N => take(row)?,
            _ => return Err(inconsistent(table, "*", row.concat(), "a line feed in it")),
        }
    }
}

fn add_resource(builder: &mut ResourceRowsBuilder, row: [&str; 3]) -> Result<(), StoreError> {
    let [id, team, partitioned] = row;
    let at = At {
        table: "resource",
        row: id,
    };
    let owning_team = match team {
        "" => None,
        team => {
            let place = builder.name(team);
            Some(place.map_err(|error| at.wrong("owning_team", error))?)
        }
    };
    let partitioned = match partitioned {
        "true" => true,
        "false" => false,
        _ => return Err(at.wrong("partitioned", "it is neither true nor false")),
    };
    let added = builder.resource(id, owning_team, partitioned);
    added.map_err(|error| at.wrong("resource_id", error))
}

fn add_owner(builder: &mut ResourceRowsBuilder, row: [&str; 2]) -> Result<(), StoreError> {
    let [id, user] = row;
    let at = At {
        table: "resource_owner",
        row: id,
    };
    let owner = builder.name(user);
    let owner = owner.map_err(|error| at.wrong("user_id", error))?;
    let added = builder.owner(id, owner);
    added.map_err(|error| at.wrong("resource_id", error))
}

fn add_assignment(builder: &mut ResourceRowsBuilder, row: [&str; 5]) -> Result<(), StoreError> {
    let [id, kind, principal, provenance, expires_at] = row;
    let at = At {
        table: "assignment",
        row: id,
    };
    let expires_at = match expires_at {
        "" => None,
        micros => {
            let micros = micros.parse();
            Some(micros.map_err(|error| at.wrong("expires_at", error))?)
        }
    };
    let principal = builder.name(principal);
    let provenance = builder.provenance(provenance);
    let assignment = AssignmentRow {
        kind: at.word("principal_kind", kind, PrincipalKind::from_word)?,
        principal: principal.map_err(|error| at.wrong("principal_id", error))?,
        expires_at: at.time("expires_at", expires_at)?,
        provenance: provenance.map_err(|error| at.wrong("provenance", error))?,
    };
    let added = builder.assignment(id, assignment);
    added.map_err(|error| at.wrong("resource_id", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_a_resource_is_inconsistent() {
        let mut builder = ResourceRowsBuilder::new(Id::parse("contact").unwrap());
        add_resource(&mut builder, ["b", "", "true"]).unwrap();
        let refused = [
            add_resource(&mut builder, ["", "", "true"]),
            add_resource(&mut builder, ["a", "", "true"]),
            add_resource(&mut builder, ["x", "", ""]),
            add_owner(&mut builder, ["a", "u"]),
            add_owner(&mut builder, ["b", ""]),
            add_assignment(&mut builder, ["b", "nobody", "v", "manual", ""]),
            add_assignment(&mut builder, ["b", "user", "", "manual", ""]),
            add_assignment(&mut builder, ["b", "user", "v", "by hand", ""]),
            add_assignment(&mut builder, ["b", "user", "v", "manual", "soon"]),
            add_assignment(
                &mut builder,
                ["b", "user", "v", "manual", "9223372036854775807"],
            ),
            add_assignment(&mut builder, ["a", "user", "v", "manual", ""]),
        ];
        for answer in refused {
            assert!(
                matches!(answer, Err(StoreError::Inconsistent { .. })),
                "{answer:?}"
            );
        }
        add_owner(&mut builder, ["b", "u"]).unwrap();
        add_assignment(&mut builder, ["b", "user", "v", "manual", "17"]).unwrap();
        assert_eq!(builder.finish().unwrap().len(), 1);
    }
}
