//! From the driver's errors to the contract's: what is told outward never holds SQL, driver text, a
//! SQLSTATE or a part of the URL; the driver's error goes along as the source, for the log.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::PgDatabaseError;

use super::session::Session;
use crate::store::StoreError;

/// Rules: a constraint by its name, or what a trigger raises, which has none.
const INTEGRITY: &str = "23";
const NOT_NULL: &str = "23502";
const UNIQUE: &str = "23505";
const RAISED: &str = "P0001";
/// Another transaction was faster: whoever plans again finds what it wrote.
const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK: &str = "40P01";
/// Somebody holds the account, or a row, for long: whoever plans again waits again, and leaves the
/// connection to writers of other accounts in between.
const LOCKED: &str = "55P03";
/// Disk, memory, and sizes that the database can't go beyond.
const FULL: [&str; 3] = ["53100", "53200", "54000"];
/// A value of a form that the type of its column does not have.
const DATA: &str = "22";
/// Tables, columns, functions and schemas that are not there.
const UNDEFINED: [&str; 4] = ["42P01", "42703", "42883", "3F000"];

/// The role lacks a right, which no repetition gives it.
const NOT_ALLOWED: &str = "42501";

pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    let sqlx::Error::Database(boxed) = &error else {
        return StoreError::Unavailable(Box::new(error));
    };
    let Some(database) = boxed.try_downcast_ref::<PgDatabaseError>() else {
        return StoreError::Unavailable(Box::new(error));
    };
    match database.code() {
        UNIQUE | SERIALIZATION_FAILURE | DEADLOCK | LOCKED => StoreError::Conflict,
        code if FULL.contains(&code) => StoreError::Full,
        NOT_NULL => StoreError::Constraint {
            rule: format!(
                "{}.{} must be there",
                database.table().unwrap_or_default(),
                database.column().unwrap_or_default()
            ),
        },
        code if code.starts_with(INTEGRITY) || code == RAISED => StoreError::Constraint {
            rule: database
                .constraint()
                .unwrap_or(database.message())
                .to_owned(),
        },
        code if code.starts_with(DATA) => StoreError::Constraint {
            rule: "a value is none that the database can hold".to_owned(),
        },
        NOT_ALLOWED => StoreError::Schema(
            "its role lacks a right on it; grant it `ambit_server`, or run `ambit migrate` as the owner of the schema"
                .to_owned(),
        ),
        code if UNDEFINED.contains(&code) => StoreError::Schema(
            "something of it is not there; bring the database up with `ambit migrate`".to_owned(),
        ),
        _ => StoreError::Unavailable(Box::new(error)),
    }
}

/// The texts of the rules whose constraints are named shorter: a name holds 63 bytes. They are the
/// comments on the constraints.
pub(super) struct Rules(HashMap<String, String>);

impl Rules {
    pub(super) async fn read(connection: &mut Session) -> Result<Self, StoreError> {
        sqlx::query(
            "SELECT conname::text, obj_description(oid, 'pg_constraint') FROM pg_constraint
                WHERE connamespace = 'ambit'::regnamespace
                AND obj_description(oid, 'pg_constraint') IS NOT NULL",
        )
        .fetch_all(connection)
        .await
        .map_err(store_error)?
        .iter()
        .map(|row| {
            let name: String = row.try_get(0).map_err(store_error)?;
            let text: String = row.try_get(1).map_err(store_error)?;
            Ok((name, text))
        })
        .collect::<Result<_, _>>()
        .map(Self)
    }

    /// Says a rule by its text rather than by the name of its constraint.
    pub(super) fn told(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Constraint { rule } => StoreError::Constraint {
                rule: self.0.get(&rule).cloned().unwrap_or(rule),
            },
            other => other,
        }
    }
}
