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

/// Type and id of a resource, between which rows are read.
type Key<'a> = (&'a str, &'a str);

/// Resources by the round: the next of them, then the owners and the assignments of these, each in
/// the order of an index. (Asked for in one statement the database sorts all of it.)
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
    let mut after = (String::new(), String::new());
    loop {
        let from: Key<'_> = (&after.0, &after.1);
        let mut round = Round::new(&mut names);
        copy(connection, &resources_sql(account, from), |row| {
            round.resource(row)
        })
        .await?;
        let Some(last) = round.resources.last() else {
            return Ok(Listening::Yes);
        };
        let last = last.key.clone();
        let to: Key<'_> = (last.resource_type.as_str(), last.id.as_str());
        let is_last = round.resources.len() < ROUND;
        copy(connection, &owners_sql(account, from, to), |row| {
            round.owner(row)
        })
        .await?;
        round.next = 0;
        copy(connection, &assignments_sql(account, from, to), |row| {
            round.assignment(row)
        })
        .await?;
        let mut resources = round.resources.into_iter();
        loop {
            let chunk: Vec<Entity> = resources
                .by_ref()
                .take(CHUNK)
                .map(|resource| Entity::Resource(resource, None))
                .collect();
            if chunk.is_empty() {
                break;
            }
            if chunks.send(chunk).await? == Listening::No {
                return Ok(Listening::No);
            }
        }
        if is_last {
            return Ok(Listening::Yes);
        }
        after = (to.0.to_owned(), to.1.to_owned());
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

fn resources_sql(account: &Id, from: Key<'_>) -> String {
    format!(
        "COPY (SELECT resource_type, resource_id, owning_team, partitioned FROM ambit.resource
            WHERE account_id = {} AND (resource_type, resource_id) > ({}, {})
            ORDER BY resource_type, resource_id LIMIT {ROUND}) TO STDOUT (FORMAT binary)",
        literal(account.as_str()),
        literal(from.0),
        literal(from.1)
    )
}

fn owners_sql(account: &Id, from: Key<'_>, to: Key<'_>) -> String {
    belonging("resource_owner", "user_id", account, from, to)
}

fn assignments_sql(account: &Id, from: Key<'_>, to: Key<'_>) -> String {
    let columns = concat!(
        "principal_kind, principal_id, provenance, ",
        micros!("expires_at")
    );
    belonging("assignment", columns, account, from, to)
}

/// Rows of a table that belong to the resources after one up to another. Within one type the bounds
/// are those of the id alone: on a comparison of whole keys the database begins at the right place
/// of the index, but reads on to the account's end.
fn belonging(
    table: &'static str,
    columns: &'static str,
    account: &Id,
    from: Key<'_>,
    to: Key<'_>,
) -> String {
    let [after_type, after, to_type, to_id] = [from.0, from.1, to.0, to.1].map(literal);
    let between = if from.0 == to.0 {
        format!("resource_type = {to_type} AND resource_id > {after} AND resource_id <= {to_id}")
    } else {
        format!(
            "(resource_type, resource_id) > ({after_type}, {after})
                AND (resource_type, resource_id) <= ({to_type}, {to_id})"
        )
    };
    format!(
        "COPY (SELECT resource_type, resource_id, {columns} FROM ambit.{table}
            WHERE account_id = {} AND {between}
            ORDER BY resource_type, resource_id) TO STDOUT (FORMAT binary)",
        literal(account.as_str()),
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

/// Resources in the order of their keys, to which rows in the same order are added.
struct Round<'a> {
    resources: Vec<Resource>,
    /// The resource that the next row may belong to, or one after it.
    next: usize,
    names: &'a mut Names,
}

impl<'a> Round<'a> {
    fn new(names: &'a mut Names) -> Self {
        Self {
            resources: Vec::with_capacity(ROUND),
            next: 0,
            names,
        }
    }

    fn resource(&mut self, row: [Field<'_>; 4]) -> Result<(), StoreError> {
        let [resource_type, id, team, partitioned] = row;
        let id = text(id, "resource_id")?;
        let at = At {
            table: "resource",
            row: id,
        };
        let resource_type = text(resource_type, "resource_type")?;
        let owning_team = match team {
            Some(_) => {
                let team = text(team, "owning_team")?;
                Some(self.names.get(at, "owning_team", team)?)
            }
            None => None,
        };
        // Nearly always that of the one before.
        let resource_type = match self.resources.last() {
            Some(last) if last.key.resource_type.as_str() == resource_type => {
                last.key.resource_type.clone()
            }
            _ => self.names.get(at, "resource_type", resource_type)?,
        };
        self.resources.push(Resource {
            key: ResourceKey {
                resource_type,
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

    fn owner(&mut self, row: [Field<'_>; 3]) -> Result<(), StoreError> {
        let [resource_type, id, user] = row;
        let id = text(id, "resource_id")?;
        let at = At {
            table: "resource_owner",
            row: id,
        };
        let owner = self.names.get(at, "user_id", text(user, "user_id")?)?;
        let resource = self.named(at, (text(resource_type, "resource_type")?, id))?;
        resource.owners.insert(owner);
        Ok(())
    }

    fn assignment(&mut self, row: [Field<'_>; 6]) -> Result<(), StoreError> {
        let [resource_type, id, kind, principal, provenance, expires_at] = row;
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
        let resource = self.named(at, (text(resource_type, "resource_type")?, id))?;
        resource.assignments.insert(assignment);
        Ok(())
    }

    /// The resource of a row, which is none before that of the row before.
    fn named(&mut self, at: At<'_>, key: Key<'_>) -> Result<&mut Resource, StoreError> {
        let key_of = |resource: &Resource| {
            let found = (
                resource.key.resource_type.as_str(),
                resource.key.id.as_str(),
            );
            found.cmp(&key)
        };
        while self
            .resources
            .get(self.next)
            .is_some_and(|resource| key_of(resource).is_lt())
        {
            self.next += 1;
        }
        self.resources
            .get_mut(self.next)
            .filter(|resource| key_of(resource).is_eq())
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

    const CONTACT: Field<'static> = Some(b"contact");

    fn resource<'a>(id: &'a str, team: Option<&'a str>) -> [Field<'a>; 4] {
        let partitioned: Field<'a> = Some(&[1]);
        [
            CONTACT,
            Some(id.as_bytes()),
            team.map(str::as_bytes),
            partitioned,
        ]
    }

    fn owner<'a>(id: &'a str, user: &'a str) -> [Field<'a>; 3] {
        [CONTACT, Some(id.as_bytes()), Some(user.as_bytes())]
    }

    fn assignment<'a>(id: &'a str, expires_at: Field<'a>) -> [Field<'a>; 6] {
        [
            CONTACT,
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
        let mut round = Round::new(&mut names);
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
        let mut round = Round::new(&mut names);
        round.resource(resource("b", None)).unwrap();
        let mut not_utf8 = resource("x", None);
        not_utf8[1] = Some(&[0xff]);
        let mut no_flag = resource("x", None);
        no_flag[3] = None;
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
