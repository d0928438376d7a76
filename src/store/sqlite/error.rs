//! From the driver's errors to the contract's: what is told outward never holds SQL, driver text or
//! a path; the driver's error goes along as the source, for the log.

use crate::store::StoreError;

/// Primary result codes of SQLite (the low byte of an extended one).
const SQLITE_FULL: u32 = 13;
const SQLITE_TOOBIG: u32 = 18;
const SQLITE_CONSTRAINT: u32 = 19;
const SQLITE_NOTADB: u32 = 26;

pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    let sqlx::Error::Database(database) = &error else {
        return StoreError::Unavailable(Box::new(error));
    };
    let code = database
        .code()
        .and_then(|code| code.parse::<u32>().ok())
        .map(|code| code & 0xff);
    match code {
        Some(SQLITE_FULL) => StoreError::Full,
        Some(SQLITE_TOOBIG) => StoreError::Constraint {
            rule: "a value is larger than the database can hold".to_owned(),
        },
        Some(SQLITE_CONSTRAINT) => StoreError::Constraint {
            rule: rule(database.message()),
        },
        Some(SQLITE_NOTADB) => {
            StoreError::Schema("the file is not a database of this kind".to_owned())
        }
        _ => StoreError::Unavailable(Box::new(error)),
    }
}

/// Triggers raise the rule's own text; a check is named by its rule, behind SQLite's prefix.
fn rule(message: &str) -> String {
    message
        .strip_prefix("CHECK constraint failed: ")
        .unwrap_or(message)
        .to_owned()
}
