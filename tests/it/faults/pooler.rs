//! Behind a real PgBouncer: nothing of a session stays from one transaction to the next, and the
//! server works all the same, by polling alone.

use std::collections::HashSet;
use std::sync::Arc;

use ambit::clock::SystemClock;
use ambit::grpc::wire;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError};
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::task::JoinSet;

use super::by_soak;
use super::replica::{Replica, until};
use super::scene::{ACCOUNT, Sql, follow, view};
use crate::cli::{ambit, run};
use crate::grpc::server::{at_least, built_in, change, check, grant, put_contact, put_user};
use crate::postgres::cluster::Cluster;
use crate::postgres::pooler::{Pooler, SESSIONS};

/// What operators let PgBouncer leave out, for drivers like ours.
const IGNORED: (&str, &str) = ("ignore_startup_parameters", "extra_float_digits, options");

/// A database and what leads to it.
struct Behind {
    cluster: Cluster,
    /// Refuses what it does not know of a new connection.
    strict: Pooler,
    /// Leaves it out.
    lenient: Pooler,
}

impl Behind {
    fn new() -> Self {
        let cluster = Cluster::start();
        cluster.make_database("pooled");
        let strict = Pooler::of_transactions(&cluster, &[]);
        let lenient = Pooler::of_transactions(&cluster, &[IGNORED]);
        Self {
            cluster,
            strict,
            lenient,
        }
    }

    async fn direct(&self) -> Replica {
        Replica::start(&self.cluster.url("pooled")).await
    }
}

async fn plain(pooler: &Pooler) -> PgConnection {
    let options: PgConnectOptions = pooler.url("pooled").parse().unwrap();
    options.connect().await.unwrap()
}

/// The control: sessions are lent to others, so that a statement with a name, as the driver makes
/// them by itself, meets another's.
async fn assert_that_names_collide(pooler: &Pooler) {
    let mut clients = Vec::new();
    for _ in 0..2 * SESSIONS {
        clients.push(plain(pooler).await);
    }
    let mut refusals = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        let number = i32::try_from(number).unwrap();
        let asked = sqlx::query("SELECT $1").bind(number).execute(client).await;
        if let Err(sqlx::Error::Database(error)) = asked {
            let error = error.downcast_ref::<PgDatabaseError>();
            assert_eq!(error.code(), "42P05", "{error}");
            refusals += 1;
        }
    }
    assert!(refusals >= SESSIONS, "{refusals} refusals");
}

fn account() -> Vec<wire::Change> {
    let account = change(wire::change::Change::PutAccount(wire::AccountPatch {
        catalog: Some(built_in("hubspot")),
        plan: Some("enterprise".to_owned()),
        ..wire::AccountPatch::default()
    }));
    vec![
        account,
        put_user("sa", Some(true)),
        put_user("u", None),
        grant("u", "contact", "view", wire::Level::Everything),
        put_contact("c"),
    ]
}

/// Writes through one replica and reads through another with the token, many at a time.
async fn write_and_read(writer: &Arc<Replica>, reader: &Arc<Replica>, rounds: usize) {
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let (writer, reader) = (Arc::clone(writer), Arc::clone(reader));
        tasks.spawn(async move {
            let user = format!("w{task}");
            for round in 0..rounds {
                let level = match round % 2 {
                    0 => wire::Level::Everything,
                    _ => wire::Level::None,
                };
                let write = vec![
                    put_user(&user, None),
                    grant(&user, "contact", "view", level),
                ];
                let token = writer.apply(ACCOUNT, write).await.unwrap();
                let question = wire::CheckRequest {
                    user_id: user.clone(),
                    consistency: at_least(&token),
                    ..check(ACCOUNT, "c")
                };
                let allowed = reader.check(question).await.unwrap();
                assert_eq!(allowed, round % 2 == 0, "{user} in round {round}");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

/// `migrate`, `serve`, writes, tokens, imports, `apply`, `export`, `doctor`, and a plain SQL writer's
/// changes: all of it, with fewer sessions than the servers have connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_8_behind_a_pgbouncer_of_transactions_everything_works_by_polling() {
    let behind = Behind::new();
    let pooled = behind.strict.url("pooled");
    let direct = behind.cluster.url("pooled");
    let migrated = run(&mut ambit(["migrate", "--database-url", &pooled])).ends(0);
    println!("{}", migrated.stdout);
    let writer = Arc::new(Replica::start(&pooled).await);
    let reader = Arc::new(Replica::start(&behind.lenient.url("pooled")).await);
    let beside = behind.direct().await;
    writer.apply(ACCOUNT, account()).await.unwrap();

    write_and_read(&writer, &reader, by_soak(10, 200)).await;
    imports(&writer, &pooled).await;
    let mut sql = Sql::on(&direct).await;
    for round in 0..by_soak(6, 100) {
        let allowed = round % 2 == 1;
        sql.set(allowed).await;
        let committed = SystemClock::new();
        let slowest = tokio::join!(
            follow(&writer, allowed, &committed),
            follow(&reader, allowed, &committed)
        );
        println!("visible after {slowest:?}");
    }

    // The controls: names collide there, and beside the pooler notifications arrive.
    assert_that_names_collide(&behind.lenient).await;
    beside.until_listening().await;
    assert!(beside.check(view()).await.is_ok());
    for replica in [&writer, &reader] {
        until("it is known that none arrive", async || {
            replica.metric("ambit_feed_reconnects_total").await > 0.0
        })
        .await;
        assert!(!replica.listens().await);
    }
    drop((writer, reader));
    assert_eq!(sessions_that_listen(&behind.strict).await, 0);
}

async fn imports(server: &Replica, pooled: &str) {
    let file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    let mut rows = String::from("type,id,owners\n");
    for number in 0..2_500 {
        rows.push_str(&format!("contact,i{number},u\n"));
    }
    std::fs::write(file.path(), rows).unwrap();
    let path = file.path().to_str().unwrap();
    // To the database itself, and then the same to a server.
    for to in [["--database-url", pooled], ["--server", &server.server]] {
        run(ambit(["import", ACCOUNT, path]).args(to)).ends(0);
    }
    let exported = run(&mut ambit(["export", ACCOUNT, "--database-url", pooled])).ends(0);
    assert!(exported.stdout.contains("i2499"));
    let document = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(document.path(), &exported.stdout).unwrap();
    let path = document.path().to_str().unwrap();
    run(&mut ambit(["apply", path, "--database-url", pooled])).ends(0);
    let question = wire::CheckRequest {
        consistency: crate::grpc::server::fully_consistent(),
        ..check(ACCOUNT, "i2499")
    };
    assert!(server.check(question).await.unwrap());
    let looked = run(&mut ambit(["doctor", "--database-url", pooled]));
    assert!(looked.stdout.contains("a pooler"), "{looked:?}");
}

/// Sessions in which LISTEN was left behind, of all that a pooler has.
async fn sessions_that_listen(pooler: &Pooler) -> usize {
    let mut listening = 0;
    let mut sessions = HashSet::new();
    let mut holders = Vec::new();
    for _ in 0..SESSIONS {
        let options: PgConnectOptions = pooler.url("pooled").parse().unwrap();
        let mut holder = options.extra_float_digits(None).connect().await.unwrap();
        sqlx::raw_sql("BEGIN").execute(&mut holder).await.unwrap();
        let found: (i32, i64) = row(
            &mut holder,
            "SELECT pg_backend_pid(), (SELECT count(*) FROM pg_listening_channels())",
        )
        .await;
        sessions.insert(found.0);
        listening += usize::from(found.1 > 0);
        holders.push(holder);
    }
    assert_eq!(sessions.len(), SESSIONS, "each is another");
    listening
}

async fn row(connection: &mut PgConnection, sql: &'static str) -> (i32, i64) {
    use sqlx::Row as _;
    let row = sqlx::raw_sql(sql).fetch_one(connection).await.unwrap();
    (row.get(0), row.get(1))
}

/// A session that its client keeps can't be told from one that is lent: it is treated like that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pgbouncer_of_sessions_it_is_the_same() {
    let cluster = Cluster::start();
    cluster.make_database("pooled");
    let pooler = Pooler::of_sessions(&cluster);
    let replica = Arc::new(Replica::start(&pooler.url("pooled")).await);
    replica.apply(ACCOUNT, account()).await.unwrap();
    write_and_read(&replica, &replica, by_soak(3, 30)).await;
    let mut sql = Sql::on(&cluster.url("pooled")).await;
    sql.set(false).await;
    let committed = SystemClock::new();
    let took = follow(&replica, false, &committed).await;
    println!("visible after {took:?}");
    assert!(!replica.listens().await);
}
