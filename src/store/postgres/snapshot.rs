//! Everything of an account in one read transaction.
//!
//! What there is little of comes in pages of JSON, like in the embedded store. Resources are many,
//! and come in binary copies of the three tables that make them, in the order of their keys, which
//! is the order of the indexes, and are put together here.

use std::collections::{BTreeSet, HashSet};

use async_trait::async_trait;
use tokio_stream::StreamExt as _;

use super::binary::{BinaryError, Field, Rows};
use super::connect::{LARGE, Lane, Lease, Mode, SMALL, bounded};
use super::error::store_error;
use super::read::{self, micros};
use super::resources;
use super::session::Session;
use crate::authz::model::{Account, Assignment, Entity, Id, Resource, ResourceKey};
use crate::store::kinds::{Kind, PAGE};
use crate::store::rows::{At, inconsistent};
use crate::store::snapshots::{self, CHUNKS_WAITING, Chunks, Listening, Source};
use crate::store::{Snapshot, StoreError};

/// Names that are kept, to be shared by all resources that have them: users, teams and groups.
const NAMES_MAX: usize = 100_000;

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
                ROUNDS_WAITING * ROUND / CHUNK
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
            send_copies(connection, &self.account, chunks).await
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
        if chunks.send(page).await? == Listening::No {
            return Ok(Listening::No);
        }
    }
}

/// Resources of one round: three copies each, so that there are few of them, and what waits to be
/// put together is little.
const ROUND: usize = 20_000;

/// Rounds that wait for their reader: while one is built into the graph the next is read.
const ROUNDS_WAITING: usize = 2;

/// Rows of a copy that have one limit of time together: each is a message of its own, and a timer
/// for it would cost more than the row.
const ROWS_TIMED: usize = 1_000;

/// Resources by the round: the next of one type, then the owners and the assignments of these, each
/// in the order of an index. (Asked for in one statement the database sorts all of it.) No round has
/// two types: on a comparison of whole keys the database begins at the right place of the index, but
/// reads on to the account's end.
async fn send_copies(
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
    let mut names = Names::default();
    let mut resource_type = next_type(connection, account, "").await?;
    while let Some(found) = resource_type {
        let mut after = Some(String::new());
        while let Some(from) = after {
            let round = read_round(connection, account, &found, &from, &mut names).await?;
            after = match round.resources.last() {
                Some(last) if round.resources.len() == ROUND => Some(last.key.id.as_str().into()),
                _ => None,
            };
            if send_round(round, chunks).await? == Listening::No {
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

async fn read_round<'a>(
    connection: &mut Session,
    account: &Id,
    resource_type: &Id,
    from: &str,
    names: &'a mut Names,
) -> Result<Round<'a>, StoreError> {
    let mut round = Round::new(resource_type.clone(), names);
    copy(
        connection,
        &resources_sql(account, resource_type, from),
        |row| round.resource(row),
    )
    .await?;
    let Some(last) = round.resources.last() else {
        return Ok(round);
    };
    let to = last.key.id.clone();
    let owners = belonging(
        "resource_owner",
        "user_id",
        account,
        resource_type,
        (from, &to),
    );
    copy(connection, &owners, |row| round.owner(row)).await?;
    round.next = 0;
    let columns = concat!(
        "principal_kind, principal_id, provenance, ",
        micros!("expires_at")
    );
    let assignments = belonging("assignment", columns, account, resource_type, (from, &to));
    copy(connection, &assignments, |row| round.assignment(row)).await?;
    Ok(round)
}

async fn send_round(round: Round<'_>, chunks: &Chunks) -> Result<Listening, StoreError> {
    let mut resources = round.resources.into_iter();
    loop {
        let chunk: Vec<Entity> = resources
            .by_ref()
            .take(CHUNK)
            .map(|resource| Entity::Resource(resource, None))
            .collect();
        if chunk.is_empty() {
            return Ok(Listening::Yes);
        }
        if chunks.send(chunk).await? == Listening::No {
            return Ok(Listening::No);
        }
    }
}

/// COPY takes no bound values, so a text is written in digits that mean nothing to SQL.
fn literal(text: &str) -> String {
    use std::fmt::Write as _;
    let mut digits = String::with_capacity(2 * text.len());
    for byte in text.bytes() {
        let _infallible = write!(digits, "{byte:02x}");
    }
    format!("convert_from('\\x{digits}'::bytea, 'UTF8')")
}

fn resources_sql(account: &Id, resource_type: &Id, from: &str) -> String {
    format!(
        "COPY (SELECT resource_id, owning_team, partitioned FROM ambit.resource
            WHERE account_id = {} AND resource_type = {} AND resource_id > {}
            ORDER BY resource_id LIMIT {ROUND}) TO STDOUT (FORMAT binary)",
        literal(account.as_str()),
        literal(resource_type.as_str()),
        literal(from)
    )
}

/// Rows of a table that belong to the resources of a type after one up to another.
fn belonging(
    table: &'static str,
    columns: &'static str,
    account: &Id,
    resource_type: &Id,
    (from, to): (&str, &Id),
) -> String {
    format!(
        "COPY (SELECT resource_id, {columns} FROM ambit.{table}
            WHERE account_id = {} AND resource_type = {}
            AND resource_id > {} AND resource_id <= {}
            ORDER BY resource_id) TO STDOUT (FORMAT binary)",
        literal(account.as_str()),
        literal(resource_type.as_str()),
        literal(from),
        literal(to.as_str()),
    )
}

/// Reads a copy to its end, row by row.
async fn copy<const N: usize>(
    connection: &mut Session,
    sql: &str,
    mut take: impl FnMut([Field<'_>; N]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut pieces = bounded(LARGE, async {
        let copying = connection.driver().copy_out_raw(sql).await;
        copying.map_err(store_error)
    })
    .await?;
    let mut rows = Rows::<N>::new();
    let mut is_over = false;
    while !is_over {
        is_over = bounded(LARGE, async {
            for _ in 0..ROWS_TIMED {
                let Some(piece) = pieces.next().await else {
                    return Ok(true);
                };
                rows.feed(&piece.map_err(store_error)?, &mut take)?;
            }
            Ok(false)
        })
        .await?;
    }
    Ok(rows.end()?)
}

#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const CHUNK: usize = PAGE as usize;

impl From<BinaryError> for StoreError {
    fn from(error: BinaryError) -> Self {
        inconsistent("resource", "*", "of the copy", error)
    }
}

/// Names that many resources share, each made once.
#[derive(Default)]
struct Names(HashSet<Id, foldhash::quality::RandomState>);

impl Names {
    fn get(&mut self, at: At<'_>, column: &'static str, text: &str) -> Result<Id, StoreError> {
        if let Some(name) = self.0.get(text) {
            return Ok(name.clone());
        }
        let name = at.id(column, text)?;
        if self.0.len() < NAMES_MAX {
            self.0.insert(name.clone());
        }
        Ok(name)
    }
}

/// Resources of one type in the order of their ids, to which rows in the same order are added.
struct Round<'a> {
    resource_type: Id,
    resources: Vec<Resource>,
    /// The resource that the next row may belong to, or one after it.
    next: usize,
    names: &'a mut Names,
}

impl<'a> Round<'a> {
    fn new(resource_type: Id, names: &'a mut Names) -> Self {
        Self {
            resource_type,
            resources: Vec::new(),
            next: 0,
            names,
        }
    }

    fn resource(&mut self, row: [Field<'_>; 3]) -> Result<(), StoreError> {
        let [id, team, partitioned] = row;
        let id = text(id, "resource_id")?;
        let at = At {
            table: "resource",
            row: id,
        };
        let owning_team = match team {
            Some(_) => {
                let team = text(team, "owning_team")?;
                Some(self.names.get(at, "owning_team", team)?)
            }
            None => None,
        };
        self.resources.push(Resource {
            key: ResourceKey {
                resource_type: self.resource_type.clone(),
                id: at.id("resource_id", id)?,
            },
            owners: BTreeSet::new(),
            owning_team,
            partitioned: match partitioned {
                Some([0]) => false,
                Some([1]) => true,
                _ => return Err(at.wrong("partitioned", "it is neither true nor false")),
            },
            assignments: BTreeSet::new(),
        });
        Ok(())
    }

    fn owner(&mut self, row: [Field<'_>; 2]) -> Result<(), StoreError> {
        let [id, user] = row;
        let id = text(id, "resource_id")?;
        let at = At {
            table: "resource_owner",
            row: id,
        };
        let owner = self.names.get(at, "user_id", text(user, "user_id")?)?;
        self.named(at, id)?.owners.insert(owner);
        Ok(())
    }

    fn assignment(&mut self, row: [Field<'_>; 5]) -> Result<(), StoreError> {
        let [id, kind, principal, provenance, expires_at] = row;
        let id = text(id, "resource_id")?;
        let at = At {
            table: "assignment",
            row: id,
        };
        let principal = text(principal, "principal_id")?;
        let principal = self.names.get(at, "principal_id", principal)?;
        let expires_at = expires_at.map(|bytes| int8(bytes, id)).transpose()?;
        let assignment = Assignment {
            principal: at.principal_of(text(kind, "principal_kind")?, principal)?,
            provenance: at.provenance(text(provenance, "provenance")?)?,
            expires_at: at.time("expires_at", expires_at)?,
        };
        self.named(at, id)?.assignments.insert(assignment);
        Ok(())
    }

    /// The resource of a row, which is none before that of the row before.
    fn named(&mut self, at: At<'_>, id: &str) -> Result<&mut Resource, StoreError> {
        while self
            .resources
            .get(self.next)
            .is_some_and(|resource| resource.key.id.as_str() < id)
        {
            self.next += 1;
        }
        self.resources
            .get_mut(self.next)
            .filter(|resource| resource.key.id.as_str() == id)
            .ok_or_else(|| at.wrong("resource_id", "the resource is not there, or out of order"))
    }
}

fn text<'a>(field: Field<'a>, column: &'static str) -> Result<&'a str, StoreError> {
    let bytes = field.ok_or_else(|| inconsistent("resource", column, "of the copy", "null"))?;
    std::str::from_utf8(bytes)
        .map_err(|error| inconsistent("resource", column, String::from_utf8_lossy(bytes), error))
}

fn int8(bytes: &[u8], row: &str) -> Result<i64, StoreError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| inconsistent("resource", "*", row, "a number that is not of 8 bytes"))?;
    Ok(i64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact() -> Id {
        Id::parse("contact").unwrap()
    }

    fn resource<'a>(id: &'a str, team: Option<&'a str>) -> [Field<'a>; 3] {
        let partitioned: Field<'a> = Some(&[1]);
        [Some(id.as_bytes()), team.map(str::as_bytes), partitioned]
    }

    fn owner<'a>(id: &'a str, user: &'a str) -> [Field<'a>; 2] {
        [Some(id.as_bytes()), Some(user.as_bytes())]
    }

    fn assignment<'a>(id: &'a str, expires_at: Field<'a>) -> [Field<'a>; 5] {
        [
            Some(id.as_bytes()),
            Some(b"user"),
            Some(b"v"),
            Some(b"manual"),
            expires_at,
        ]
    }

    #[test]
    fn rows_in_the_order_of_keys_are_put_together() {
        let mut names = Names::default();
        let mut round = Round::new(contact(), &mut names);
        for row in [
            resource("a", Some("t")),
            resource("b", None),
            resource("c", None),
        ] {
            round.resource(row).unwrap();
        }
        for row in [owner("a", "u"), owner("a", "v"), owner("c", "u")] {
            round.owner(row).unwrap();
        }
        round.next = 0;
        let time = 17_i64.to_be_bytes();
        round.assignment(assignment("b", Some(&time))).unwrap();
        round.assignment(assignment("b", None)).unwrap();
        let [a, b, c] = round.resources.as_slice() else {
            panic!("three resources");
        };
        assert_eq!(a.owning_team.as_ref().map(Id::as_str), Some("t"));
        let counts = [a, b, c].map(|found| (found.owners.len(), found.assignments.len()));
        assert_eq!(counts, [(2, 0), (0, 2), (1, 0)]);
        assert!(a.partitioned);
    }

    #[test]
    fn what_can_not_be_a_resource_is_inconsistent() {
        let mut names = Names::default();
        let mut round = Round::new(contact(), &mut names);
        round.resource(resource("b", None)).unwrap();
        let mut not_utf8 = resource("x", None);
        not_utf8[0] = Some(&[0xff]);
        let mut no_flag = resource("x", None);
        no_flag[2] = None;
        let refused = [
            round.resource(resource("", None)),
            round.resource(not_utf8),
            round.resource(no_flag),
            round.owner(owner("a", "u")),
            round.owner(owner("c", "u")),
            round.owner(owner("b", "")),
            round.assignment(assignment("b", Some(&[1]))),
        ];
        for answer in refused {
            assert!(
                matches!(answer, Err(StoreError::Inconsistent { .. })),
                "{answer:?}"
            );
        }
    }
}
