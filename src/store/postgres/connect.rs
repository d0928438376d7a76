//! Connections: how they are made, checked, lent out and given up.
//!
//! - Every wait has an end. A call whose time is up closes its connection hard, so that one that is
//!   half open, or whose server hangs, is never lent out again.
//! - Three pools, so that long work never stands in the way of the small queries on which
//!   freshness rests.
//! - What stands in between is found out with each connection, see `session`.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPool};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

use super::error::store_error;
use super::session::{Route, Session, mark};
use crate::store::StoreError;
use crate::store::rows::unavailable;

/// The longest that a small query may take.
pub(super) const SMALL: Duration = Duration::from_secs(5);
/// The longest that one statement of a write, or one page of a load, may take.
pub(super) const LARGE: Duration = Duration::from_secs(30);
/// How long a call waits for a connection, which includes making one.
const ACQUIRE: Duration = Duration::from_secs(3);
/// A connection that was idle for so long is asked whether it still is one before it is lent out.
const TRUSTED: Duration = Duration::from_secs(1);
/// The longest that such a question, or the end of a failed transaction, may take.
const BRIEF: Duration = Duration::from_secs(1);

const VERSION_LEAST: i32 = 150_000;

/// What a pooler answers to a setting that comes with a connection and which it does not know.
const SETTING_REFUSED: [&str; 4] = ["08P01", "0A000", "22023", "42704"];

/// The parameter that says what is otherwise found out: that sessions are shared.
const SHARED: &str = "statement-cache-capacity=0";

/// What may stand behind the `?` of a URL. The driver would ignore others and log their values.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Why a database can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is none. Nothing of it is told, since it may hold a password.
    #[error("the database URL {0}")]
    Url(&'static str),
    /// The server answers and refuses: no repetition will change its mind.
    #[error("the database server refuses this connection: {0}")]
    Refused(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// Whether it may go away by itself: the server is starting, or promoted, or reachable again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable(_)))
    }
}

/// What connections are made with.
fn options(url: &str) -> Result<PgConnectOptions, OpenError> {
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Err(OpenError::Url(
            "must begin with postgres:// or postgresql://",
        ));
    }
    if let Some((_, query)) = url.split_once('?') {
        let known = query.split('&').all(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            PARAMETERS.contains(&name) || name.starts_with("options[")
        });
        if !known {
            return Err(OpenError::Url(
                "has a parameter that is not known; docs/postgres.md lists those that are",
            ));
        }
    }
    // The driver's error may repeat parts of the URL.
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        OpenError::Url(
            "can't be read; it is written postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, with %-escapes for characters that mean something in a URL",
        )
    })?;
    let options = match options.get_application_name() {
        None => options.application_name("ambit"),
        Some(_) => options,
    };
    Ok(options
        // No number that is read needs it, and poolers refuse it.
        .extra_float_digits(None)
        .disable_statement_logging())
}

/// A connection beside the pools, of a server that can be worked with, and the way on which it was
/// found.
pub(super) async fn connect(url: &str) -> Result<(Route, Session), OpenError> {
    let options = options(url)?;
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let is_shared = query.split('&').any(|parameter| parameter == SHARED);
    let mut route = Route::new(options.clone(), is_shared);
    let mut connected = connect_by(&route).await?;
    if let Err(error) = &connected
        && !is_shared
        && SETTING_REFUSED.contains(&code(error))
    {
        route = Route::new(options, true);
        connected = connect_by(&route).await?;
    }
    let mut connection = connected.map_err(connect_error)?;
    bounded(SMALL, check(&mut connection, &route)).await?;
    Ok((route.clone(), Session::own(connection, route)))
}

async fn connect_by(route: &Route) -> Result<Result<PgConnection, sqlx::Error>, StoreError> {
    // The driver's future is large.
    let connecting = Box::pin(route.options().connect());
    bounded(SMALL, async { Ok(connecting.await) }).await
}

fn code(error: &sqlx::Error) -> &str {
    match error {
        sqlx::Error::Database(database) => database
            .try_downcast_ref::<PgDatabaseError>()
            .map_or("", PgDatabaseError::code),
        _ => "",
    }
}

fn connect_error(error: sqlx::Error) -> OpenError {
    match &error {
        sqlx::Error::Tls(_) => OpenError::Refused(
            "no TLS as `sslmode` of the URL asks for it; see the server's certificate and `ssl` setting",
        ),
        sqlx::Error::Configuration(_) => OpenError::Url("names a file that can't be used"),
        _ => match code(&error) {
            "28P01" | "28000" => OpenError::Refused(
                "wrong user or password, or no rule of pg_hba.conf lets this user in from here",
            ),
            "3D000" => OpenError::Refused("there is no database of that name; create it first"),
            "42501" => OpenError::Refused("the user has no right to connect to that database"),
            _ => store_error(error).into(),
        },
    }
}

/// Looks whether the server is one that can be worked with, and what leads there. Without a prepared
/// statement, since it is not known yet whether one would stay.
async fn check(connection: &mut PgConnection, route: &Route) -> Result<(), StoreError> {
    let asked = format!(
        "SELECT pg_is_in_recovery(), current_setting('server_version_num')::int4,
            current_setting('server_encoding'), current_setting('{}', true)",
        mark()
    );
    let row = sqlx::raw_sql(AssertSqlSafe(asked))
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    route.told(row.try_get(3).map_err(store_error)?);
    let version: i32 = row.try_get(1).map_err(store_error)?;
    if version < VERSION_LEAST {
        return Err(StoreError::Schema(format!(
            "the server is PostgreSQL {}, and 15 is the oldest that will do",
            version / 10_000
        )));
    }
    let encoding: &str = row.try_get(2).map_err(store_error)?;
    if encoding != "UTF8" {
        return Err(StoreError::Schema(format!(
            "the encoding of the database is {encoding}; create one with ENCODING 'UTF8'"
        )));
    }
    if row.try_get(0).map_err(store_error)? {
        return Err(unavailable(
            "the server is a standby, which takes no writes; name the primary",
        ));
    }
    Ok(())
}

fn unanswered() -> StoreError {
    unavailable("the database did not answer in time")
}

/// Waits for an answer so long and no longer. Who gives up drops the connection that it was asked
/// on: see [`Lease`].
pub(super) async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(unanswered()),
    }
}

/// The pools of a store.
#[derive(Clone)]
pub(super) struct Pools {
    /// Heads, identities, heartbeats: what is asked often and answered at once.
    pub(super) small: Lane,
    /// Loads and deltas.
    pub(super) loads: Lane,
    pub(super) writes: Lane,
}

impl Pools {
    /// So many connections in all, none of them made before it is needed.
    pub(super) fn new(route: &Route, connections_max: u32) -> Self {
        let small = (connections_max / 4).max(2);
        let rest = connections_max.saturating_sub(small);
        let writes = (rest / 2).max(1);
        let loads = rest.saturating_sub(writes).max(1);
        Self {
            small: Lane::new(route, small),
            loads: Lane::new(route, loads),
            writes: Lane::new(route, writes),
        }
    }

    pub(super) async fn close(&self) {
        for lane in self.lanes() {
            lane.pool.load_full().close().await;
        }
    }

    /// Gives up all connections, those on loan once they come back. After a failover some of them
    /// may still lead to the server of before, which may still answer.
    pub(super) fn renew(&self) {
        for lane in self.lanes() {
            lane.renew();
        }
    }

    fn lanes(&self) -> [&Lane; 3] {
        [&self.small, &self.loads, &self.writes]
    }
}

/// Connections for one sort of work; cheap to clone, all clones share them.
#[derive(Clone)]
pub(super) struct Lane {
    pool: Arc<ArcSwap<PgPool>>,
    route: Route,
    connections_max: u32,
}

/// How a connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Statements that stand alone.
    Alone,
    /// Several that see one state.
    Read,
    /// One write. The server itself ends a transaction whose client went away or hangs, so that
    /// what it has locked is not locked for long.
    Write,
}

impl Mode {
    /// How its transaction begins; in a session that is shared there must be one.
    pub(super) fn begin(self, shares_sessions: bool) -> Option<&'static str> {
        match self {
            Self::Alone => {
                shares_sessions.then_some("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            }
            Self::Read => Some("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
            Self::Write => Some(
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
                SET LOCAL client_connection_check_interval = '1s';
                SET LOCAL idle_in_transaction_session_timeout = '60s';
                SET LOCAL lock_timeout = '500ms'",
            ),
        }
    }
}

impl Lane {
    fn new(route: &Route, connections_max: u32) -> Self {
        let pool = Self::pool(route, connections_max);
        Self {
            pool: Arc::new(ArcSwap::from_pointee(pool)),
            route: route.clone(),
            connections_max,
        }
    }

    fn pool(route: &Route, connections_max: u32) -> PgPool {
        let checked = route.clone();
        PoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .before_acquire(|connection: &mut PgConnection, meta| {
                Box::pin(async move {
                    if meta.idle_for < TRUSTED {
                        return Ok(true);
                    }
                    match tokio::time::timeout(BRIEF, connection.ping()).await {
                        Ok(answered) => answered.map(|()| true),
                        Err(_elapsed) => Err(sqlx::Error::PoolTimedOut),
                    }
                })
            })
            .after_connect(move |connection, _| {
                let route = checked.clone();
                Box::pin(async move {
                    match bounded(BRIEF, check(connection, &route)).await {
                        Ok(()) => Ok(()),
                        Err(error) => Err(sqlx::Error::Protocol(error.to_string())),
                    }
                })
            })
            .connect_lazy_with(route.options().clone())
    }

    fn renew(&self) {
        let pool = Self::pool(&self.route, self.connections_max);
        let old = self.pool.swap(Arc::new(pool));
        tokio::spawn(async move { old.close().await });
    }

    pub(super) async fn lease(&self, mode: Mode) -> Result<Lease, StoreError> {
        let connection = self.pool.load_full().acquire().await.map_err(store_error)?;
        let mut lease = Lease {
            session: Some(Session::lent(connection, self.route.clone())),
            mode,
        };
        lease.connection()?.begin(mode).await?;
        Ok(lease)
    }
}

/// A connection on loan. Dropped without [`Lease::settle`], which is what happens when a call is
/// given up in the middle, it is closed hard: whatever it was in the middle of is not awaited.
pub(super) struct Lease {
    session: Option<Session>,
    mode: Mode,
}

impl Lease {
    pub(super) fn connection(&mut self) -> Result<&mut Session, StoreError> {
        self.session
            .as_mut()
            .ok_or_else(|| unavailable("the connection was given up"))
    }

    /// Ends the use: a transaction is committed, or rolled back for an error, and the connection
    /// goes back to its pool unless it is of no use any more.
    pub(super) async fn settle<T>(
        mut self,
        outcome: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match (&outcome, self.mode) {
            // What was read is so, however the transaction ends: who asked need not wait for it.
            (Ok(_), Mode::Read) => {
                tokio::spawn(self.end_read());
                return outcome;
            }
            (Ok(_), Mode::Alone | Mode::Write) => self.connection()?.commit(LARGE).await?,
            (Err(StoreError::Unavailable(_)), _) => return outcome,
            (Err(_), _) => {
                if self.connection()?.roll_back(BRIEF).await.is_err() {
                    return outcome;
                }
            }
        }
        self.give_back();
        outcome
    }

    async fn end_read(mut self) {
        if let Ok(session) = self.connection()
            && session.commit(BRIEF).await.is_ok()
        {
            self.give_back();
        }
    }

    /// Taken out, so that it is no more closed with this.
    fn give_back(mut self) {
        drop(self.session.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.cut();
        }
    }
}
