//! Forms: settings beside the account, each change with its record of the audit.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row as _, SqliteConnection};

use super::audit::{self, Made};
use super::error::store_error;
use super::read;
use crate::authz::model::Id;
use crate::store::StoreError;
use crate::store::audit::{AuditEffect, Author, Told};
use crate::store::forms::{Form, FormColumns, targets_text};

const COLUMNS: &str = "form_id, resource_type, targets, author, may_close";

pub(super) async fn forms(
    connection: &mut SqliteConnection,
    account: &Id,
    after: Option<&Id>,
    limit: u32,
) -> Result<Vec<Form>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM form WHERE account_id = ?1 AND form_id > ?2 ORDER BY form_id LIMIT ?3"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(after.map_or("", Id::as_str))
        .bind(limit)
        .fetch_all(connection)
        .await
        .map_err(store_error)?
        .iter()
        .map(form_of)
        .collect()
}

pub(super) async fn form(
    connection: &mut SqliteConnection,
    account: &Id,
    id: &Id,
) -> Result<Option<Form>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM form WHERE account_id = ?1 AND form_id = ?2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    row.as_ref().map(form_of).transpose()
}

fn form_of(row: &SqliteRow) -> Result<Form, StoreError> {
    FormColumns {
        id: row.try_get(0).map_err(store_error)?,
        resource_type: row.try_get(1).map_err(store_error)?,
        targets: row.try_get(2).map_err(store_error)?,
        author: row.try_get(3).map_err(store_error)?,
        may_close: row.try_get(4).map_err(store_error)?,
    }
    .form()
}

/// `form` is what it becomes; `None`: it goes.
pub(super) async fn write(
    writer: &SqlitePool,
    account: &Id,
    id: &Id,
    form: Option<&Form>,
    author: &Author,
) -> Result<bool, StoreError> {
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(store_error)?;
    let Some(head) = read::head(&mut transaction, account).await? else {
        return Ok(false);
    };
    let written = match form {
        Some(form) => sqlx::query(
            "INSERT OR REPLACE INTO form (account_id, form_id, resource_type, targets, author, may_close)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(account.as_str())
        .bind(id.as_str())
        .bind(form.resource_type.as_str())
        .bind(targets_text(form)?)
        .bind(form.author.as_ref().map(Id::as_str))
        .bind(form.may_close)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?
        .rows_affected(),
        None => sqlx::query("DELETE FROM form WHERE account_id = ?1 AND form_id = ?2")
            .bind(account.as_str())
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?
            .rows_affected(),
    };
    if written == 0 {
        return Ok(false);
    }
    let made = Made {
        account,
        revision: head.revision,
        effect: AuditEffect::Noted,
        idempotency: None,
    };
    let told = Told::of_form(id, form.is_none())?;
    audit::record(&mut transaction, author, made, &told).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(true)
}
