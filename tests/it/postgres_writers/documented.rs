//! The worked example of `docs/sql-writers.md`, run as it is written: by the roles that it names,
//! with real servers that are asked with the tokens that it takes; and the SQL of
//! `docs/postgres.md`.

use ambit::grpc::wire;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};

use super::*;
use crate::faults::replica::Replica;
use crate::grpc::server::{at_least, check};
use crate::postgres::cluster::{Cluster, execute};

const SQL_WRITERS: &str = include_str!("../../../docs/sql-writers.md");
const POSTGRES: &str = include_str!("../../../docs/postgres.md");

/// The blocks of SQL, each with the role that its first line names.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let blocks: Vec<(&str, &str)> = page
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block ends").0)
        .map(|block| {
            let (first, _) = block.split_once('\n').unwrap();
            let role = first
                .strip_prefix("-- As ")
                .and_then(|role| role.strip_suffix('.'))
                .unwrap_or_else(|| panic!("who runs this?\n{block}"));
            (role, block)
        })
        .collect();
    assert!(blocks.len() > 3);
    blocks
}

/// Runs a block as its role; answers the tokens that it takes.
async fn run_block(url: &str, role: &str, block: &str) -> Vec<String> {
    let mut options: PgConnectOptions = url.parse().unwrap();
    if role != "an administrator" {
        options = options.username(role);
    }
    let mut connection = options.disable_statement_logging().connect().await.unwrap();
    // Statement by statement, as a client sends them; none in these pages has a `;` within but
    // in comments and between `$$`.
    let mut tokens = Vec::new();
    for statement in statements(block) {
        let rows = sqlx::raw_sql(AssertSqlSafe(statement.clone()))
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
        if statement.contains("transaction_token") {
            tokens.push(rows[0].get(0));
        }
    }
    tokens
}

fn statements(block: &str) -> Vec<String> {
    let is_comment = |line: &&str| line.trim_start().starts_with("--");
    let lines: Vec<&str> = block.lines().filter(|line| !is_comment(line)).collect();
    let block = lines.join("\n");
    let mut statements = vec![String::new()];
    for (at, part) in block.split("$$").enumerate() {
        if at > 0 {
            statements.last_mut().unwrap().push_str("$$");
        }
        if at % 2 == 1 {
            statements.last_mut().unwrap().push_str(part);
            continue;
        }
        for (at, piece) in part.split(';').enumerate() {
            if at > 0 {
                statements.push(String::new());
            }
            statements.last_mut().unwrap().push_str(piece);
        }
    }
    statements.retain(|statement| !statement.trim().is_empty());
    statements
}

async fn allows(replica: &Replica, user: &str, contact: &str, token: &str) -> bool {
    let question = wire::CheckRequest {
        user_id: user.to_owned(),
        consistency: at_least(token),
        ..check("acme", contact)
    };
    replica.check(question).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worked_example_does_what_it_says() {
    let cluster = Cluster::start();
    let url = cluster.make_database("application");
    let replicas = [Replica::start(&url).await, Replica::start(&url).await];
    let mut tokens = Vec::new();
    for (role, block) in blocks(SQL_WRITERS) {
        let taken = run_block(&url, role, block).await;
        // What each token promises, at once on every replica.
        for token in taken {
            for replica in &replicas {
                assert!(allows(replica, "lena", "c1", &token).await);
                assert!(allows(replica, "lena", "c2", &token).await);
                // `ute` sees `c2` until it is closed to a team.
                assert!(allows(replica, "ute", "c1", &token).await);
                assert_eq!(
                    allows(replica, "ute", "c2", &token).await,
                    tokens.is_empty()
                );
                assert!(!allows(replica, "tom", "c1", &token).await);
            }
            tokens.push(token);
        }
    }
    assert_eq!(tokens.len(), 2);

    // What else the triggers of the example do.
    for (change, ute_sees) in [
        (
            "UPDATE crm.contact SET team = NULL WHERE id = 'c2'",
            Some(true),
        ),
        (
            "UPDATE crm.contact SET team = 'eu', owner = 'ute' WHERE id = 'c2'",
            None,
        ),
        ("UPDATE crm.contact SET name = 'Grace H.'", None),
        ("DELETE FROM crm.contact WHERE id = 'c2'", Some(false)),
    ] {
        let block = format!("BEGIN; {change}; SELECT ambit.transaction_token('acme'); COMMIT");
        let token = run_block(&url, "crm", &block).await.remove(0);
        if let Some(ute_sees) = ute_sees {
            for replica in &replicas {
                assert_eq!(
                    allows(replica, "ute", "c2", &token).await,
                    ute_sees,
                    "{change}"
                );
            }
        }
        let mut connection = connect(&url).await;
        let owners: Vec<(String, String)> = sqlx::query_as(
            "SELECT resource_id, user_id FROM ambit.resource_owner ORDER BY resource_id",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let wanted: Vec<(String, String)> =
            sqlx::query_as("SELECT id, owner FROM crm.contact ORDER BY id")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        assert_eq!(owners, wanted, "{change}");
        let apart: i64 = scalar(
            &mut connection,
            "SELECT count(*) FROM crm.contact
                FULL JOIN ambit.assignment ON (account_id, resource_id) = (tenant, id)
                WHERE team IS DISTINCT FROM principal_id",
        )
        .await;
        assert_eq!(apart, 0, "{change}");
    }

    // A change of the name alone is no change to Ambit, and what Ambit refuses is not done at all.
    let mut connection = connect(&url).await;
    let revision = "SELECT revision FROM ambit.account_head WHERE account_id = 'acme'";
    let before: i64 = scalar(&mut connection, revision).await;
    run(&mut connection, "UPDATE crm.contact SET name = 'A.'")
        .await
        .unwrap();
    let refusal = run(&mut connection, "UPDATE crm.contact SET owner = 'nobody'")
        .await
        .expect_err("there is no such user");
    assert_eq!(refusal.said, "resource_owner.user_id exists");
    assert_eq!(scalar::<i64>(&mut connection, revision).await, before);
    let owner: String = scalar(&mut connection, "SELECT owner FROM crm.contact").await;
    assert_eq!(owner, "lena");
}

/// The roles of the page: an owner who may not make roles migrates, a server works with less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_of_the_page_are_enough() {
    let cluster = Cluster::start();
    let postgres = cluster.url("postgres");
    let blocks = blocks(POSTGRES);
    let of = |words: &str| {
        let found = blocks.iter().find(|(_, block)| block.contains(words));
        found.unwrap_or_else(|| panic!("no block with {words}")).1
    };
    run_block(&postgres, "an administrator", of("CREATE DATABASE ambit")).await;
    let as_user = |user: &str| {
        cluster
            .url("ambit")
            .replace("postgres@", &format!("{user}@"))
    };
    // Without the roles, and without the right to make them, the schema comes up all the same.
    let migrated = PostgresStore::migrate(&as_user("ambit_owner")).await;
    let missing = migrated.unwrap().roles_missing;
    assert_eq!(missing, ["ambit_server", "ambit_writer", "ambit_reader"]);
    run_block(
        &postgres,
        "an administrator",
        of("CREATE ROLE ambit_server NOLOGIN"),
    )
    .await;
    let migrated = PostgresStore::migrate(&as_user("ambit_owner")).await;
    assert!(migrated.unwrap().roles_missing.is_empty());
    run_block(&postgres, "an administrator", of("GRANT ambit_server TO")).await;
    // Who lacks the rights is told so, rather than made to wait for a database that is there.
    let options = ambit::store::postgres::OpenOptions {
        migrate: false,
        connections_max: 4,
    };
    let refused = PostgresStore::open(&as_user("report"), options).await;
    let Err(refused) = refused.map(|_| ()) else {
        panic!("a reader can't serve");
    };
    assert!(!refused.is_transient(), "{refused}");
    assert!(
        refused.to_string().contains("grant it `ambit_server`"),
        "{refused}"
    );
    run_block(
        &as_user("ambit_owner"),
        "ambit_owner",
        of("pg_notification_queue_usage"),
    )
    .await;

    let server = Replica::start_with(&as_user("ambit_app"), &["--no-migrate"]).await;
    let account = "INSERT INTO ambit.account (account_id, catalog, plan)
        VALUES ('acme', 'hubspot', 'enterprise')";
    execute(as_user("crm_app"), account.to_owned()).await;
    let put = vec![crate::grpc::server::put_contact("c")];
    let token = server.apply("acme", put).await.unwrap();
    let question = wire::CheckRequest {
        consistency: at_least(&token),
        ..check("acme", "c")
    };
    // Nobody is in the account yet.
    let status = server.check(question).await;
    assert!(!status.is_ok_and(|allowed| allowed));
    execute(as_user("report"), "TABLE ambit.resource".to_owned()).await;
    let mut report = connect(&as_user("report")).await;
    let refusal = run(&mut report, account).await.expect_err("it only reads");
    assert_eq!(refusal.code, "42501");
}
