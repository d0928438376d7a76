//! Looking at a database from outside, changing nothing: for `ambit doctor`.

use std::time::Duration;

use sqlx::Row;

use super::connect::{self, Mode, OpenError, SMALL, bounded};
use super::error::store_error;
use super::notifications;
use super::schema;
use super::session::{Route, Session};
use crate::authz::model::Timestamp;
use crate::store::{Heartbeat, Notification, Notifications as _, StoreError};

/// How long a notification may take to come back before it counts as lost.
const ECHO: Duration = Duration::from_secs(2);

/// What is found in a database that can be connected to.
#[derive(Debug, Clone, PartialEq)]
pub struct Examination {
    pub server_version: String,
    pub role: String,
    pub is_superuser: bool,
    /// `None`: nothing of ambit's is there yet.
    pub schema: Option<i64>,
    pub schema_newest: i64,
    /// The oldest schema whose versions can use the one that is there.
    pub compatible_from: i64,
    pub may_create_schema: bool,
    /// What the role lacks of what a server needs.
    pub rights_missing: Vec<String>,
    pub accounts: u64,
    /// The database's clock.
    pub now: Timestamp,
    /// Whether a notification comes back to a connection that listens.
    pub notifications_arrive: bool,
    pub notification_queue_usage: f64,
}

/// Tables that a server writes rows of accounts to, reads only, and needs for its own ends.
const RIGHTS: &[(&str, &str)] = &[
    ("ambit.account", "SELECT, INSERT, UPDATE, DELETE"),
    ("ambit.app_user", "SELECT, INSERT, UPDATE, DELETE"),
    ("ambit.resource", "SELECT, INSERT, UPDATE, DELETE"),
    ("ambit.assignment", "SELECT, INSERT, UPDATE, DELETE"),
    ("ambit.idempotency", "SELECT, INSERT, UPDATE, DELETE"),
    ("ambit.access_request", "SELECT, INSERT, UPDATE"),
    ("ambit.access_request_event", "SELECT, INSERT"),
    ("ambit.access_request_outbox", "SELECT, DELETE"),
    (
        "ambit.access_request_delivery",
        "SELECT, INSERT, UPDATE, DELETE",
    ),
    ("ambit.spent_link", "SELECT, INSERT, UPDATE, DELETE"),
    ("ambit.account_head", "SELECT"),
    ("ambit.change_log", "SELECT"),
    ("ambit.revision_log", "SELECT, DELETE"),
    ("ambit.store_identity", "SELECT"),
];

pub(super) async fn examine(url: &str) -> Result<Examination, OpenError> {
    let (route, mut session) = connect::connect(url).await?;
    session.begin(Mode::Read).await?;
    let mut found = bounded(SMALL, server(&mut session)).await?;
    if let Some(installed) = bounded(SMALL, schema::installed(&mut session)).await? {
        found.schema = Some(installed.version);
        found.compatible_from = installed.compatible_from;
        found.rights_missing = bounded(SMALL, rights(&mut session)).await?;
        if found.rights_missing.is_empty() {
            found.accounts = bounded(SMALL, accounts(&mut session)).await?;
        }
    }
    session.commit(SMALL).await?;
    found.notifications_arrive = echo(&route, &mut session).await;
    session.close().await;
    Ok(found)
}

async fn server(connection: &mut Session) -> Result<Examination, StoreError> {
    let row = sqlx::query(
        "SELECT current_setting('server_version'), current_user::text,
            (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
            has_database_privilege(current_database(), 'CREATE'),
            (extract(epoch FROM clock_timestamp()) * 1000000)::int8, pg_notification_queue_usage()",
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    let now: i64 = row.try_get(4).map_err(store_error)?;
    Ok(Examination {
        server_version: row.try_get(0).map_err(store_error)?,
        role: row.try_get(1).map_err(store_error)?,
        is_superuser: row.try_get(2).map_err(store_error)?,
        schema: None,
        schema_newest: schema::newest(),
        compatible_from: 0,
        may_create_schema: row.try_get(3).map_err(store_error)?,
        rights_missing: Vec::new(),
        accounts: 0,
        now: Timestamp::from_unix_micros(now).unwrap_or(Timestamp::MIN),
        notifications_arrive: false,
        notification_queue_usage: row.try_get(5).map_err(store_error)?,
    })
}

async fn rights(connection: &mut Session) -> Result<Vec<String>, StoreError> {
    let mut missing = Vec::new();
    for (table, rights) in RIGHTS {
        // A list of rights is held where any of them is, hence one by one.
        for right in rights.split(", ") {
            let is_held: bool = sqlx::query_scalar(
                // A table that is not there yet is told by the schema.
                "SELECT CASE WHEN to_regclass($1) IS NULL THEN true
                    ELSE has_table_privilege($1, $2) END",
            )
            .bind(*table)
            .bind(right)
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
            if !is_held {
                missing.push(format!("{right} on {table}"));
            }
        }
    }
    Ok(missing)
}

async fn accounts(connection: &mut Session) -> Result<u64, StoreError> {
    let accounts: i64 = sqlx::query_scalar("SELECT count(*) FROM ambit.account")
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    Ok(u64::try_from(accounts).unwrap_or(0))
}

/// Sends itself a notification by another connection.
async fn echo(route: &Route, session: &mut Session) -> bool {
    let heartbeat = Heartbeat {
        sender: *b"examines",
        sequence: u64::from(std::process::id()),
    };
    let echoed = async {
        let mut channel = notifications::listen(route).await?;
        session.begin(Mode::Alone).await?;
        notifications::send(session, heartbeat).await?;
        session.commit(SMALL).await?;
        loop {
            if channel.next().await? == Notification::Heartbeat(heartbeat) {
                return Ok(());
            }
        }
    };
    bounded(ECHO, echoed).await.is_ok()
}
