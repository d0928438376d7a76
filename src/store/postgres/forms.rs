//! Forms: settings beside the account, each change with its record of the audit.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::apply::queue_up;
use super::audit::announced;
use super::error::store_error;
use super::read;
use super::session::Session;
use crate::authz::model::Id;
use crate::store::StoreError;
use crate::store::audit::Author;
use crate::store::forms::{Form, FormColumns, targets_text};

const COLUMNS: &str = "form_id, resource_type, targets, author, may_close";

pub(super) async fn forms(
    connection: &mut Session,
    account: &Id,
    after: Option<&Id>,
    limit: u32,
) -> Result<Vec<Form>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ambit.form WHERE account_id = $1 AND form_id > $2
            ORDER BY form_id LIMIT $3"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(after.map_or("", Id::as_str))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await
        .map_err(store_error)?
        .iter()
        .map(form_of)
        .collect()
}

pub(super) async fn form(
    connection: &mut Session,
    account: &Id,
    id: &Id,
) -> Result<Option<Form>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM ambit.form WHERE account_id = $1 AND form_id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account.as_str())
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    row.as_ref().map(form_of).transpose()
}

fn form_of(row: &PgRow) -> Result<Form, StoreError> {
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
    connection: &mut Session,
    account: &Id,
    id: &Id,
    form: Option<&Form>,
    author: &Author,
) -> Result<bool, StoreError> {
    queue_up(connection, account, &announced(account, author, None)?).await?;
    if read::head(connection, account).await?.is_none() {
        return Ok(false);
    }
    let written = match form {
        Some(form) => sqlx::query(
            "INSERT INTO ambit.form (account_id, form_id, resource_type, targets, author, may_close)
                VALUES ($1, $2, $3, $4, $5, $6)
                ON CONFLICT (account_id, form_id) DO UPDATE SET
                    resource_type = excluded.resource_type, targets = excluded.targets,
                    author = excluded.author, may_close = excluded.may_close",
        )
        .bind(account.as_str())
        .bind(id.as_str())
        .bind(form.resource_type.as_str())
        .bind(targets_text(form)?)
        .bind(form.author.as_ref().map(Id::as_str))
        .bind(form.may_close)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?
        .rows_affected(),
        None => sqlx::query("DELETE FROM ambit.form WHERE account_id = $1 AND form_id = $2")
            .bind(account.as_str())
            .bind(id.as_str())
            .execute(&mut *connection)
            .await
            .map_err(store_error)?
            .rows_affected(),
    };
    if written == 0 {
        return Ok(false);
    }
    sqlx::query("SELECT ambit.audit_form($1, $2, $3)")
        .bind(account.as_str())
        .bind(id.as_str())
        .bind(form.is_none())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(true)
}
