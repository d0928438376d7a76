//! Plain SQL writers on Postgres: held to the rules, logged, and numbered in the order of their
//! commits, whatever they do to each other.

mod access_requests;
mod audited;
mod commits;
mod documented;
mod followed;
mod logged;
mod races;
mod roles;
mod rules;
mod tokens;

use std::collections::BTreeMap;

use ambit::store::postgres::PostgresStore;
use sqlx::postgres::PgDatabaseError;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinHandle;

use crate::postgres::cluster::{Database, connect};

/// One account with a row in each table, and another that has a team and two contacts.
const ACCOUNTS: &str = "
    INSERT INTO ambit.account (account_id, catalog, plan)
        VALUES ('acme', 'hubspot', 'enterprise'), ('other', 'hubspot', 'enterprise');
    INSERT INTO ambit.account_setting VALUES ('acme', 'partition_mode', 'contact', 'share');
    INSERT INTO ambit.team VALUES ('acme', 'eu', NULL), ('acme', 'de', 'eu'), ('acme', 'us', NULL),
        ('other', 'eu', NULL);
    INSERT INTO ambit.permission_set VALUES ('acme', 'rep'), ('acme', 'empty');
    INSERT INTO ambit.permission_set_grant (account_id, permission_set_id, resource_type, permission, level)
        VALUES ('acme', 'rep', 'email', 'send', 'none');
    INSERT INTO ambit.app_user (account_id, user_id, super_admin) VALUES ('acme', 'sa', true);
    INSERT INTO ambit.app_user (account_id, user_id, account_owner, main_team, partner_account,
            partner_user, partner_role, partnership)
        VALUES ('acme', 'pa', true, 'de', 'agency', 'u1', 'employee', 'ended');
    INSERT INTO ambit.app_user (account_id, user_id) VALUES ('acme', 'us1');
    INSERT INTO ambit.user_team VALUES ('acme', 'pa', 'eu'), ('acme', 'pa', 'us');
    INSERT INTO ambit.user_seat VALUES ('acme', 'pa', 'sales');
    INSERT INTO ambit.user_permission_set VALUES ('acme', 'pa', 'rep', 'sa'), ('acme', 'pa', 'empty', NULL);
    INSERT INTO ambit.user_membership (account_id, user_id, kind, id, provenance)
        VALUES ('acme', 'pa', 'team', 'us', 'request:7'), ('acme', 'pa', 'permission_set', 'rep', 'manual');
    INSERT INTO ambit.user_grant (account_id, user_id, resource_type, permission, level)
        VALUES ('acme', 'pa', 'contact', 'view', 'team');
    INSERT INTO ambit.access_group VALUES ('acme', 'vip');
    INSERT INTO ambit.access_group_member VALUES ('acme', 'vip', 'user', 'us1', '{view,edit}'),
        ('acme', 'vip', 'team', 'de', '{}');
    INSERT INTO ambit.segment VALUES ('acme', 'gold', 'contact', 'true', false);
    INSERT INTO ambit.segment_target VALUES ('acme', 'gold', 'group', 'vip'), ('acme', 'gold', 'team', 'us');
    INSERT INTO ambit.resource (account_id, resource_type, resource_id)
        VALUES ('acme', 'contact', 'c1'), ('acme', 'contact', 'c2'), ('other', 'contact', 'c1'),
            ('other', 'contact', 'c2');
    INSERT INTO ambit.resource_attributes VALUES ('acme', 'contact', 'c1', '{\"a\": \"\\u0000\"}');
    INSERT INTO ambit.resource_owner VALUES ('acme', 'contact', 'c1', 'pa');
    INSERT INTO ambit.object_grant (account_id, user_id, resource_type, resource_id, action)
        VALUES ('acme', 'pa', 'contact', 'c2', 'view');
    INSERT INTO ambit.assignment (account_id, resource_type, resource_id, principal_kind, principal_id)
        VALUES ('acme', 'contact', 'c1', 'team', 'de'), ('acme', 'contact', 'c1', 'group', 'vip');";

/// A database with the schema and the accounts, and a plain connection to it.
struct Beside {
    database: Database,
    connection: PgConnection,
}

async fn beside() -> Beside {
    let beside = schema_only().await;
    execute(&beside, ACCOUNTS).await;
    beside
}

async fn schema_only() -> Beside {
    let database = Database::empty();
    PostgresStore::migrate(database.url()).await.unwrap();
    let connection = connect(database.url()).await;
    Beside {
        database,
        connection,
    }
}

async fn execute(beside: &Beside, sql: &str) {
    let mut connection = beside.another().await;
    run(&mut connection, sql).await.unwrap();
}

/// What a writer is told: the code, and the name of the constraint or else the message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    code: String,
    said: String,
}

/// Several statements at once are one transaction, where they don't begin one themselves.
async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), Refusal> {
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) => {
            let error = error.downcast_ref::<PgDatabaseError>();
            Err(Refusal {
                code: error.code().to_owned(),
                said: error.constraint().unwrap_or(error.message()).to_owned(),
            })
        }
        Err(other) => panic!("{sql}: {other:?}"),
    }
}

/// A statement that has to wait for another transaction, in a task of its own; it does wait when
/// this returns.
async fn blocked(
    beside: &mut Beside,
    mut connection: PgConnection,
    sql: &str,
) -> JoinHandle<(PgConnection, Result<(), Refusal>)> {
    let process: i32 = scalar(&mut connection, "SELECT pg_backend_pid()").await;
    let sql = sql.to_owned();
    let task = tokio::spawn(async move {
        let result = run(&mut connection, &sql).await;
        (connection, result)
    });
    let waits = format!(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {process} AND wait_event_type = 'Lock')"
    );
    while !scalar::<bool>(&mut beside.connection, &waits).await {
        assert!(!task.is_finished(), "the statement waits for nobody");
        tokio::task::yield_now().await;
    }
    task
}

async fn scalar<T>(connection: &mut PgConnection, sql: &str) -> T
where
    T: for<'row> sqlx::Decode<'row, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

impl Beside {
    async fn another(&self) -> PgConnection {
        connect(self.database.url()).await
    }

    async fn run(&mut self, sql: &str) -> Result<(), Refusal> {
        run(&mut self.connection, sql).await
    }

    /// Where an account stands; 0: there is none.
    async fn revision(&mut self, account: &str) -> i64 {
        let sql = format!(
            "SELECT coalesce(max(revision), 0) FROM ambit.account_head WHERE account_id = '{account}'"
        );
        scalar(&mut self.connection, &sql).await
    }

    async fn count(&mut self, what: &str) -> i64 {
        scalar(
            &mut self.connection,
            &format!("SELECT count(*) FROM {what}"),
        )
        .await
    }

    /// The texts of the rules that constraints are named for.
    async fn texts(&mut self) -> BTreeMap<String, String> {
        sqlx::query_as::<_, (String, Option<String>)>(
            "SELECT conname::text, obj_description(oid, 'pg_constraint')
                FROM pg_constraint WHERE connamespace = 'ambit'::regnamespace",
        )
        .fetch_all(&mut self.connection)
        .await
        .unwrap()
        .into_iter()
        .map(|(name, text)| (name.clone(), text.unwrap_or(name)))
        .collect()
    }

    /// The statement is refused by a rule whose text holds `rule`, and nothing is written.
    async fn refuses(&mut self, texts: &BTreeMap<String, String>, rule: &str, sql: &str) {
        let before = self.revision("acme").await;
        let refusal = self.run(sql).await.expect_err(sql);
        let text = texts.get(&refusal.said).unwrap_or(&refusal.said);
        assert!(text.contains(rule), "{sql}: {text}");
        assert_eq!(self.revision("acme").await, before, "{sql}");
        assert_eq!(self.count("ambit.commit_pending").await, 0, "{sql}");
    }
}
