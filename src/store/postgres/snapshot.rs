//! Everything of an account in one read transaction.
//!
//! What there is little of comes in pages of JSON, like in the embedded store. Resources are many,
//! and come in one binary copy: the rows of the three tables that make them, merged by the database
//! in the order of their keys, which is the order of its indexes.

use std::collections::{BTreeSet, HashSet};

use async_trait::async_trait;
use sqlx::PgConnection;
use tokio_stream::StreamExt as _;

use super::binary::{BinaryError, Field, Rows};
use super::connect::{LARGE, Lane, Lease, Mode, SMALL, bounded};
use super::error::store_error;
use super::read;
use super::resources;
use crate::authz::model::{Account, Assignment, Entity, Id, Resource, ResourceKey};
use crate::store::kinds::{Kind, PAGE};
use crate::store::rows::{At, inconsistent};
use crate::store::snapshots::{self, Chunks, Listening, Source};
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
            Ok(Some(snapshots::read(source, account.clone(), head)))
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
            send_copy(connection, &self.account, chunks).await
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
    connection: &mut PgConnection,
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

/// The fields of a row: type and id of the resource, which table the row is of, and what is in it.
const FIELDS: usize = 7;

/// COPY takes no bound values, so the account's id is written in digits that mean nothing to SQL.
fn copy_sql(account: &Id) -> String {
    use std::fmt::Write as _;
    let mut digits = String::new();
    for byte in account.as_str().bytes() {
        let _infallible = write!(digits, "{byte:02x}");
    }
    let id = format!("convert_from('\\x{digits}'::bytea, 'UTF8')");
    format!(
        "COPY (
            SELECT resource_type, resource_id, 0::int2, owning_team, NULL::text, NULL::text,
                partitioned::int4::int8
            FROM ambit.resource WHERE account_id = {id}
            UNION ALL
            SELECT resource_type, resource_id, 1::int2, user_id, NULL, NULL, NULL
            FROM ambit.resource_owner WHERE account_id = {id}
            UNION ALL
            SELECT resource_type, resource_id, 2::int2, principal_id, principal_kind, provenance,
                (extract(epoch FROM expires_at) * 1000000)::int8
            FROM ambit.assignment WHERE account_id = {id}
            ORDER BY 1, 2
        ) TO STDOUT (FORMAT binary)"
    )
}

async fn send_copy(
    connection: &mut PgConnection,
    account: &Id,
    chunks: &Chunks,
) -> Result<Listening, StoreError> {
    // Rows in the order of an index, rather than all of them sorted first.
    let indexed = sqlx::raw_sql(
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
        SET LOCAL max_parallel_workers_per_gather = 0",
    )
    .execute(&mut *connection);
    bounded(SMALL, async { indexed.await.map_err(store_error) }).await?;
    let sql = copy_sql(account);
    let mut copy = bounded(LARGE, async {
        connection.copy_out_raw(&sql).await.map_err(store_error)
    })
    .await?;
    let mut rows = Rows::<FIELDS>::new();
    let mut merged = Merged::default();
    while let Some(piece) = bounded(LARGE, async { Ok(copy.next().await) }).await? {
        let piece = piece.map_err(store_error)?;
        rows.feed(&piece, |row| merged.take(row))?;
        if merged.chunk.len() >= CHUNK {
            let chunk = std::mem::replace(&mut merged.chunk, Vec::with_capacity(CHUNK));
            if chunks.send(chunk).await? == Listening::No {
                return Ok(Listening::No);
            }
        }
    }
    rows.end()?;
    merged.finish()?;
    chunks.send(merged.chunk).await
}

#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const CHUNK: usize = PAGE as usize;

impl From<BinaryError> for StoreError {
    fn from(error: BinaryError) -> Self {
        inconsistent("resource", "*", "of the copy", error)
    }
}

/// Resources put together from rows that come in the order of their keys, of equal keys in any.
#[derive(Default)]
struct Merged {
    chunk: Vec<Entity>,
    current: Option<Part>,
    names: HashSet<Id>,
}

/// A resource of which more rows may come.
struct Part {
    resource: Resource,
    /// Whether the resource's own row was among them.
    is_there: bool,
}

impl Merged {
    fn take(&mut self, row: [Field<'_>; FIELDS]) -> Result<(), StoreError> {
        let [resource_type, id, table, name, kind, provenance, number] = row;
        let (resource_type, id) = (
            text(resource_type, "resource_type")?,
            text(id, "resource_id")?,
        );
        let at = |table| At { table, row: id };
        let number = number.map(|bytes| int8(bytes, id)).transpose()?;
        let is_next = self.current.as_ref().is_none_or(|part| {
            let key = &part.resource.key;
            key.id.as_str() != id || key.resource_type.as_str() != resource_type
        });
        if is_next {
            let key = ResourceKey {
                resource_type: self.name(at("resource"), "resource_type", resource_type)?,
                id: at("resource").id("resource_id", id)?,
            };
            self.finish()?;
            self.current = Some(Part {
                resource: Resource {
                    key,
                    owners: BTreeSet::new(),
                    owning_team: None,
                    partitioned: false,
                    assignments: BTreeSet::new(),
                },
                is_there: false,
            });
        }
        match table {
            Some([0, 0]) => {
                let team = match name {
                    Some(name) => {
                        let name = text(Some(name), "owning_team")?;
                        Some(self.name(at("resource"), "owning_team", name)?)
                    }
                    None => None,
                };
                if let Some(part) = &mut self.current {
                    part.is_there = true;
                    part.resource.owning_team = team;
                    part.resource.partitioned = number == Some(1);
                }
            }
            Some([0, 1]) => {
                let owner = text(name, "user_id")?;
                let owner = self.name(at("resource_owner"), "user_id", owner)?;
                if let Some(part) = &mut self.current {
                    part.resource.owners.insert(owner);
                }
            }
            Some([0, 2]) => {
                let at = at("assignment");
                let principal = text(name, "principal_id")?;
                let principal = self.name(at, "principal_id", principal)?;
                let assignment = Assignment {
                    principal: at.principal_of(text(kind, "principal_kind")?, principal)?,
                    provenance: at.provenance(text(provenance, "provenance")?)?,
                    expires_at: at.time("expires_at", number)?,
                };
                if let Some(part) = &mut self.current {
                    part.resource.assignments.insert(assignment);
                }
            }
            _ => return Err(inconsistent("resource", "*", id, "a row of no table")),
        }
        Ok(())
    }

    /// No more rows of the present resource come.
    fn finish(&mut self) -> Result<(), StoreError> {
        let Some(part) = self.current.take() else {
            return Ok(());
        };
        if !part.is_there {
            return Err(inconsistent(
                "resource",
                "resource_id",
                part.resource.key.id.as_str(),
                "an owner or an assignment of a resource that is not there",
            ));
        }
        self.chunk.push(Entity::Resource(part.resource, None));
        Ok(())
    }

    /// A name that many resources share, made once.
    fn name(&mut self, at: At<'_>, column: &'static str, text: &str) -> Result<Id, StoreError> {
        if let Some(name) = self.names.get(text) {
            return Ok(name.clone());
        }
        let name = at.id(column, text)?;
        if self.names.len() < NAMES_MAX {
            self.names.insert(name.clone());
        }
        Ok(name)
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

    fn row<'a>(id: &'a str, table: &'a [u8; 2], name: Option<&'a str>) -> [Field<'a>; FIELDS] {
        let kind: Field<'a> = (table == &[0, 2]).then_some(b"user".as_slice());
        let provenance: Field<'a> = (table == &[0, 2]).then_some(b"manual".as_slice());
        [
            Some(b"contact"),
            Some(id.as_bytes()),
            Some(table),
            name.map(str::as_bytes),
            kind,
            provenance,
            None,
        ]
    }

    #[test]
    fn rows_of_a_resource_are_joined_in_any_order() {
        let mut merged = Merged::default();
        for row in [
            row("a", &[0, 1], Some("u")),
            row("a", &[0, 0], Some("t")),
            row("a", &[0, 2], Some("v")),
            row("b", &[0, 0], None),
        ] {
            merged.take(row).unwrap();
        }
        merged.finish().unwrap();
        let [Entity::Resource(a, None), Entity::Resource(b, None)] = merged.chunk.as_slice() else {
            panic!("two resources");
        };
        assert_eq!((a.owners.len(), a.assignments.len()), (1, 1));
        assert_eq!(a.owning_team.as_ref().map(Id::as_str), Some("t"));
        assert_eq!((b.owners.len(), b.owning_team.as_ref()), (0, None));
    }

    #[test]
    fn what_can_not_be_a_resource_is_inconsistent() {
        let alone = [row("a", &[0, 1], Some("u"))];
        let bad_table = [row("a", &[0, 9], None)];
        let bad_id = [row("", &[0, 0], None)];
        let no_owner = [row("a", &[0, 1], None)];
        let mut not_utf8 = row("a", &[0, 0], None);
        not_utf8[1] = Some(&[0xff]);
        let mut not_a_number = row("a", &[0, 0], None);
        not_a_number[6] = Some(&[1]);
        for rows in [
            alone,
            bad_table,
            bad_id,
            no_owner,
            [not_utf8],
            [not_a_number],
        ] {
            let mut merged = Merged::default();
            let read = rows
                .into_iter()
                .try_for_each(|row| merged.take(row))
                .and_then(|()| merged.finish());
            assert!(
                matches!(read, Err(StoreError::Inconsistent { .. })),
                "{read:?}"
            );
        }
    }
}
