//! What the load of a large account costs: the database, and the server that builds it.

use std::hint::black_box;

use ambit::authz::graph::GraphBuilder;
use ambit::authz::model::{
    AssignmentRow, Entity, EntityChange, Id, PrincipalKind, ResourceRowsBuilder,
};
use ambit::cli::bench::data_set::{DataSet, RESOURCE_TYPE};
use ambit::clock::{Clock as _, SystemClock};
use ambit::store::Store as _;
use ambit::store::postgres::{OpenOptions, PostgresStore};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::postgres::cluster::{self, Database, PATIENCE};

/// Two rounds of the load and eight: after five the database may plan a statement once for all.
const SMALL: u32 = 40_000;
const LARGE: u32 = 160_000;

/// An account with contacts that have an owner and an assignment each. Nothing is checked and
/// nothing logged: only how the rows are read matters.
async fn fill(sql: &mut PgConnection, account: &str, contacts: u32) {
    let ids = format!(
        "SELECT '{account}', 'contact', 'c' || lpad(n::text, 8, '0') AS id
            FROM generate_series(1, {contacts}) AS n"
    );
    run(
        sql,
        format!(
            "INSERT INTO ambit.account (account_id, catalog, plan)
                VALUES ('{account}', 'hubspot', 'enterprise');
            SET session_replication_role = replica;
            INSERT INTO ambit.resource (account_id, resource_type, resource_id) {ids};
            INSERT INTO ambit.resource_owner (account_id, resource_type, resource_id, user_id)
                SELECT *, 'u' FROM ({ids}) AS i;
            INSERT INTO ambit.assignment
                (account_id, resource_type, resource_id, principal_kind, principal_id)
                SELECT *, 'user', 'u' FROM ({ids}) AS i;
            SET session_replication_role = origin"
        ),
    )
    .await;
}

async fn run(sql: &mut PgConnection, statements: String) {
    let statements = sqlx::raw_sql(AssertSqlSafe(statements));
    statements.execute(sql).await.unwrap();
}

async fn count(sql: &mut PgConnection, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(sql).await.unwrap()
}

/// Pages of the three tables and their indexes that were asked for so far.
async fn pages(sql: &mut PgConnection) -> i64 {
    let pages = "SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::int8
        FROM pg_statio_user_tables WHERE schemaname = 'ambit'
        AND relname IN ('resource', 'resource_owner', 'assignment')";
    count(sql, pages).await
}

/// Sessions tell what they read when they end at the latest.
async fn wait_until_alone(sql: &mut PgConnection) {
    let others = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let begun = SystemClock::new();
    while count(sql, others).await > 0 {
        assert!(begun.monotonic() < PATIENCE, "a session does not end");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn pages_of_a_load(sql: &mut PgConnection, url: &str, account: &str, contacts: u32) -> i64 {
    let open = OpenOptions {
        migrate: false,
        connections_max: 4,
    };
    wait_until_alone(sql).await;
    let before = pages(sql).await;
    let store = PostgresStore::open(url, open).await.unwrap();
    let account = Id::parse(account).unwrap();
    let mut snapshot = store.snapshot(&account, false).await.unwrap().unwrap();
    let mut loaded = 0;
    while let Some(chunk) = snapshot.chunks.recv().await {
        for entity in chunk.unwrap().into_entities() {
            if let Entity::Resource(resource, _) = entity {
                assert_eq!((resource.owners.len(), resource.assignments.len()), (1, 1));
                loaded += 1;
            }
        }
    }
    assert_eq!(loaded, contacts);
    store.close().await;
    wait_until_alone(sql).await;
    pages(sql).await - before
}

/// Pages that a statement asks for, planned as the load's are.
async fn pages_of(sql: &mut PgConnection, statement: &str) -> i64 {
    let settings = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;
        SET max_parallel_workers_per_gather = 0";
    run(sql, settings.to_owned()).await;
    let explained = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) {statement}");
    let lines = sqlx::raw_sql(AssertSqlSafe(explained));
    let lines = lines.fetch_all(sql).await.unwrap();
    let buffers: String = lines
        .iter()
        .map(|line| line.get(0))
        .find(|line: &String| line.contains("Buffers: shared"))
        .unwrap();
    let (_, buffers) = buffers.split_once("shared").unwrap();
    buffers
        .split_whitespace()
        .filter_map(|word| {
            let (of, pages) = word.split_once('=')?;
            (of == "hit" || of == "read").then(|| pages.parse::<i64>().unwrap())
        })
        .sum()
}

/// targets.md T7: each round of a load reads its own part of the indexes and no more, so that an
/// account four times as large takes four times the pages.
#[tokio::test]
async fn t7_a_load_reads_in_proportion_to_the_account() {
    let database = Database::empty();
    PostgresStore::migrate(database.url()).await.unwrap();
    let mut filler = cluster::connect(database.url()).await;
    for table in ["resource", "resource_owner", "assignment"] {
        // Its reads would be counted too.
        let quiet = format!("ALTER TABLE ambit.{table} SET (autovacuum_enabled = off)");
        run(&mut filler, quiet).await;
    }
    // In the order of the indexes, whose pages are then equally full.
    fill(&mut filler, "one", SMALL).await;
    fill(&mut filler, "two", LARGE).await;
    for table in ["resource", "resource_owner", "assignment"] {
        run(&mut filler, format!("VACUUM ANALYZE ambit.{table}")).await;
    }
    filler.close().await.unwrap();
    let mut sql = cluster::connect(database.url()).await;
    let small = pages_of_a_load(&mut sql, database.url(), "one", SMALL).await;
    let large = pages_of_a_load(&mut sql, database.url(), "two", LARGE).await;
    println!("{SMALL} contacts: {small} pages, {LARGE} contacts: {large} pages");
    assert!(small > i64::from(SMALL / 1_000), "{small}");
    assert!(large * 10 <= small * 4 * 12, "{large} and {small}");

    // The control: bounded by whole keys, the same rows cost the pages up to the account's end.
    let round = |account: &str| {
        format!(
            "SELECT resource_id, user_id FROM ambit.resource_owner WHERE account_id = '{account}'
                AND (resource_type, resource_id) > ('contact', '')
                AND (resource_type, resource_id) <= ('contact', 'c00020000')
                ORDER BY resource_type, resource_id"
        )
    };
    let small = pages_of(&mut sql, &round("one")).await;
    let large = pages_of(&mut sql, &round("two")).await;
    println!("20,000 owners by whole keys: {small} and {large} pages");
    assert!(large >= small * 2, "{large} and {small}");
}

/// Builds the graph of so many contacts, with an owner and an assignment each, by the round.
fn build(contacts: u32) {
    const ROUND: u32 = 5_000;
    let data_set = DataSet {
        users: 1_000,
        contacts,
        seed: 7,
    };
    let mut builder = GraphBuilder::default();
    for change in data_set.directory().unwrap() {
        if let EntityChange::Put(entity) = change {
            builder.push(entity);
        }
    }
    for begin in (0..contacts).step_by(ROUND as usize) {
        let ids = Vec::from_iter((begin..begin + ROUND).map(|number| format!("c{number:08}")));
        let mut rows = ResourceRowsBuilder::new(Id::parse(RESOURCE_TYPE).unwrap());
        for id in &ids {
            rows.resource(id, None, true).unwrap();
        }
        for (id, number) in ids.iter().zip(begin..) {
            let owner = rows.name(&data_set.user(number % 1_000)).unwrap();
            rows.owner(id, owner).unwrap();
        }
        for (id, number) in ids.iter().zip(begin..) {
            let assignment = AssignmentRow {
                kind: PrincipalKind::User,
                principal: rows.name(&data_set.user(number % 999)).unwrap(),
                expires_at: None,
                provenance: None,
            };
            rows.assignment(id, assignment).unwrap();
        }
        builder.push_rows(&rows.finish().unwrap());
    }
    let graph = builder.finish().unwrap();
    assert_eq!(graph.resource_count(RESOURCE_TYPE), u64::from(contacts));
}

/// Nanoseconds for which this thread has been on a processor: what else the machine does counts
/// little.
fn on_processor() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let (nanos, _) = told.split_once(' ').unwrap();
    nanos.parse().unwrap()
}

/// How many times the work of the smaller size the larger one is, each at its best of three.
fn growth(work: impl Fn(u32), small: u32, large: u32) -> f64 {
    let cost = |size: u32| {
        let costs = (0..3).map(|_| {
            let before = on_processor();
            work(size);
            on_processor() - before
        });
        costs.min().unwrap() as f64
    };
    cost(large) / cost(small)
}

/// targets.md T7: an account eight times as large is built with eight times the work, give or take
/// what caches do; it would be 64 times if each row cost what is there before it.
#[test]
fn t7_a_load_is_built_in_proportion_to_the_account() {
    let grown = growth(build, 5_000, 40_000);
    println!("40,000 contacts are built with {grown:.1} times the work of 5,000");
    assert!(grown < 24.0, "{grown}");
    // The control: what looks through all that is there for each row is told apart.
    let scan = |rows: u32| {
        for row in 0..rows {
            assert_eq!(
                (0..row).map(black_box).filter(|seen| *seen == row).count(),
                0
            );
        }
    };
    let grown = growth(scan, 1_000, 8_000);
    println!("a scan for each row is {grown:.1} times the work");
    assert!(grown > 32.0, "{grown}");
}

/// More owners and assignments than one statement tells: none is lost where one ends and the next
/// begins, which is in the middle of a resource.
#[tokio::test]
async fn resources_of_many_assignments_are_loaded_whole() {
    const EACH: usize = 45_000;
    let database = Database::empty();
    PostgresStore::migrate(database.url()).await.unwrap();
    let mut sql = cluster::connect(database.url()).await;
    let rows = format!(
        "SELECT 'one', 'contact', 'c' || c, u FROM generate_series(1, 3) AS c,
            (SELECT 'u' || lpad(n::text, 6, '0') FROM generate_series(1, {EACH}) AS n) AS users (u)"
    );
    run(
        &mut sql,
        format!(
            "INSERT INTO ambit.account (account_id, catalog, plan)
                VALUES ('one', 'hubspot', 'enterprise');
            SET session_replication_role = replica;
            INSERT INTO ambit.resource (account_id, resource_type, resource_id)
                SELECT 'one', 'contact', 'c' || n FROM generate_series(1, 4) AS n;
            INSERT INTO ambit.resource_owner (account_id, resource_type, resource_id, user_id) {rows};
            INSERT INTO ambit.assignment
                (account_id, resource_type, resource_id, principal_id, principal_kind, provenance,
                    expires_at)
                SELECT *, 'user', 'segment:s', '2030-01-01T00:00:00Z'::timestamptz
                FROM ({rows}) AS r;
            SET session_replication_role = origin"
        ),
    )
    .await;
    let open = OpenOptions {
        migrate: false,
        connections_max: 4,
    };
    let store = PostgresStore::open(database.url(), open).await.unwrap();
    let account = Id::parse("one").unwrap();
    let mut snapshot = store.snapshot(&account, false).await.unwrap().unwrap();
    let mut found = Vec::new();
    while let Some(chunk) = snapshot.chunks.recv().await {
        for entity in chunk.unwrap().into_entities() {
            if let Entity::Resource(resource, _) = entity {
                let timed = resource
                    .assignments
                    .iter()
                    .filter(|assignment| assignment.expires_at.is_some())
                    .count();
                found.push((resource.key.to_string(), resource.owners.len(), timed));
            }
        }
    }
    store.close().await;
    let expected = [1, 2, 3, 4].map(|n| {
        let each = if n == 4 { 0 } else { EACH };
        (format!("contact/c{n}"), each, each)
    });
    assert_eq!(found, expected);
}
