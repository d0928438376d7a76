//! Two replicas of one database, one of them behind a network that fails on demand; a user who may
//! or may not view the contacts of an account; and a plain SQL writer who changes that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::wire;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tonic::Code;

use super::replica::Replica;
use crate::grpc::server::{built_in, change, grant, put_contact, put_user};
use crate::postgres::cluster::{self, Cluster};
use crate::postgres::proxy::Proxy;

pub const ACCOUNT: &str = "acme";

/// The default staleness bound, which the replicas here have.
pub const BOUND: Duration = Duration::from_secs(2);

pub struct Scene {
    pub cluster: Arc<Cluster>,
    pub database: String,
    /// On the straight way to the database.
    pub writer: Replica,
    /// Behind the proxy.
    pub reader: Replica,
    pub proxy: Proxy,
}

/// A server for tests that break the network alone.
fn shared() -> Arc<Cluster> {
    static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
    Arc::clone(SHARED.get_or_init(|| Arc::new(Cluster::start())))
}

impl Scene {
    pub async fn new() -> Self {
        Self::on(shared()).await
    }

    /// On a server of its own, for a test that breaks that too.
    pub async fn alone() -> Self {
        Self::on(Arc::new(Cluster::start())).await
    }

    async fn on(cluster: Arc<Cluster>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let database = format!("faults_{number}");
        let url = cluster.make_database(&database);
        let writer = Replica::start(&url).await;
        let proxy = Proxy::to(cluster.port()).await;
        let reader = Replica::start(&cluster::url(proxy.port(), &database)).await;
        let scene = Self {
            cluster,
            database,
            writer,
            reader,
            proxy,
        };
        scene.make_account().await;
        scene
    }

    async fn make_account(&self) {
        let account = change(wire::change::Change::PutAccount(wire::AccountPatch {
            catalog: Some(built_in("hubspot")),
            plan: Some("enterprise".to_owned()),
            ..wire::AccountPatch::default()
        }));
        let changes = vec![
            account,
            put_user("sa", Some(true)),
            put_user("u", None),
            grant("u", "contact", "view", wire::Level::Everything),
            put_contact("c"),
        ];
        let token = self.writer.apply(ACCOUNT, changes).await.unwrap();
        let check = wire::CheckRequest {
            consistency: crate::grpc::server::at_least(&token),
            ..view()
        };
        assert!(self.reader.check(check).await.unwrap());
    }

    /// A connection of a plain SQL writer, on the straight way.
    pub async fn sql(&self) -> Sql {
        Sql::on(&self.cluster.url(&self.database)).await
    }

    /// Lets a plain SQL writer change what the user may, and sees that the reader follows: answers
    /// how long it took from the commit. See [`follow`].
    pub async fn toggle(&self, sql: &mut Sql, allowed: bool) -> Duration {
        sql.set(allowed).await;
        let committed = SystemClock::new();
        follow(&self.reader, allowed, &committed).await
    }
}

/// Asks without a token until the answer is the new one. An old one is right up to the bound and
/// never past it, whatever is broken; past it an error is right.
pub async fn follow(replica: &Replica, allowed: bool, committed: &SystemClock) -> Duration {
    loop {
        let asked_at = committed.monotonic();
        match replica.check(view()).await {
            Ok(answer) if answer == allowed => return committed.monotonic(),
            Ok(_) => assert!(asked_at <= BOUND, "stale {asked_at:?} after the commit"),
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
        assert!(
            asked_at < super::replica::PATIENCE,
            "the reader does not come back"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether the user may view the contact.
pub fn view() -> wire::CheckRequest {
    crate::grpc::server::check(ACCOUNT, "c")
}

/// A plain SQL writer.
pub struct Sql(PgConnection);

impl Sql {
    pub async fn on(url: &str) -> Self {
        Self(cluster::connect(url).await)
    }

    pub async fn run(&mut self, statement: &str) -> u64 {
        let statement = AssertSqlSafe(statement.to_owned());
        let done = sqlx::query(statement).execute(&mut self.0).await.unwrap();
        done.rows_affected()
    }

    /// The one value that a statement answers.
    pub async fn text(&mut self, statement: &str) -> String {
        let statement = AssertSqlSafe(statement.to_owned());
        sqlx::query_scalar(statement)
            .fetch_one(&mut self.0)
            .await
            .unwrap()
    }

    /// Gives the user the right to view everything, or takes it away.
    pub async fn set(&mut self, allowed: bool) {
        let statement = if allowed {
            "INSERT INTO ambit.user_grant (account_id, user_id, resource_type, permission, level)
                VALUES ('acme', 'u', 'contact', 'view', 'everything')"
        } else {
            "DELETE FROM ambit.user_grant WHERE account_id = 'acme' AND user_id = 'u'"
        };
        assert_eq!(self.run(statement).await, 1);
    }

    pub async fn close(self) {
        self.0.close().await.unwrap();
    }
}
