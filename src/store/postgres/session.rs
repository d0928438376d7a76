//! A session with the database, and the way to it.
//!
//! Behind a pooler that lends a server's session for one transaction at a time nothing of a session
//! stays: a statement that was prepared under a name is gone with the next transaction, or is that of
//! another client. So what leads there is found out when a connection is made: the database itself
//! tells back a mark that came with the connection, a pooler refuses the mark or keeps it to itself.
//! Where it is not told back every statement stands in a transaction and has no name, which costs
//! round trips and nothing else.

use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::error::BoxDynError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{
    PgArguments, PgConnectOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo,
};
use sqlx::{Connection, Describe, Either, Execute, Executor, PgConnection, Postgres, SqlStr};
use tokio_stream::Stream;

use super::connect::{Mode, SMALL, bounded};
use super::error::store_error;
use crate::store::StoreError;

/// A setting that nobody else makes, and which means nothing to the database.
const MARK: (&str, &str) = ("ambit.session", "own");

/// How the database is reached, and what stands in between; all clones learn it together.
#[derive(Debug, Clone)]
pub(super) struct Route {
    options: PgConnectOptions,
    shares_sessions: Arc<AtomicBool>,
}

impl Route {
    /// With a mark in each connection, unless it is known that sessions are shared.
    pub(super) fn new(options: PgConnectOptions, shares_sessions: bool) -> Self {
        let options = if shares_sessions {
            options
        } else {
            options.options([MARK])
        };
        Self {
            options,
            shares_sessions: Arc::new(AtomicBool::new(shares_sessions)),
        }
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Whether a session may be another client's as soon as a transaction ends.
    pub(super) fn shares_sessions(&self) -> bool {
        self.shares_sessions.load(Ordering::SeqCst)
    }

    /// Takes note of what a new connection tells back, before anything else is asked on it. Once
    /// shared is shared for ever: a connection that is lent out is never safer than it was taken
    /// for.
    pub(super) fn told(&self, mark: Option<&str>) {
        if mark != Some(MARK.1) {
            self.shares_sessions.store(true, Ordering::SeqCst);
        }
    }
}

/// The setting in which the mark is told back.
pub(super) const fn mark() -> &'static str {
    MARK.0
}

/// A connection on which is asked.
pub(super) struct Session {
    held: Held,
    route: Route,
    is_in_transaction: bool,
}

enum Held {
    Own(PgConnection),
    Lent(PoolConnection<Postgres>),
}

impl Session {
    pub(super) fn own(connection: PgConnection, route: Route) -> Self {
        Self::new(Held::Own(connection), route)
    }

    pub(super) fn lent(connection: PoolConnection<Postgres>, route: Route) -> Self {
        Self::new(Held::Lent(connection), route)
    }

    fn new(held: Held, route: Route) -> Self {
        Self {
            held,
            route,
            is_in_transaction: false,
        }
    }

    /// The driver's own, for what goes without a prepared statement: COPY.
    pub(super) fn driver(&mut self) -> &mut PgConnection {
        match &mut self.held {
            Held::Own(connection) => connection,
            Held::Lent(connection) => connection,
        }
    }

    /// Begins what a way of use needs; nothing where statements may stand alone.
    pub(super) async fn begin(&mut self, mode: Mode) -> Result<(), StoreError> {
        if let Some(begin) = mode.begin(self.route.shares_sessions()) {
            self.transact(begin, SMALL).await?;
            self.is_in_transaction = true;
        }
        Ok(())
    }

    /// Commits what [`Session::begin`] began.
    pub(super) async fn commit(&mut self, limit: Duration) -> Result<(), StoreError> {
        self.end("COMMIT", limit).await
    }

    pub(super) async fn roll_back(&mut self, limit: Duration) -> Result<(), StoreError> {
        self.end("ROLLBACK", limit).await
    }

    async fn end(&mut self, statement: &'static str, limit: Duration) -> Result<(), StoreError> {
        if self.is_in_transaction {
            self.transact(statement, limit).await?;
            self.is_in_transaction = false;
        }
        Ok(())
    }

    async fn transact(
        &mut self,
        statement: &'static str,
        limit: Duration,
    ) -> Result<(), StoreError> {
        let executing = sqlx::raw_sql(statement).execute(self.driver());
        bounded(limit, async { executing.await.map_err(store_error) }).await?;
        Ok(())
    }

    /// Lets go of it in good order, where it is not a pool's.
    pub(super) async fn close(self) {
        if let Held::Own(connection) = self.held {
            // What was asked was answered; that the goodbye arrives is not needed.
            drop(tokio::time::timeout(SMALL, connection.close()).await);
        }
    }

    /// Closes it hard: whatever it is in the middle of is not awaited.
    pub(super) fn cut(self) {
        if let Held::Lent(connection) = self.held {
            drop(connection.detach());
        }
    }
}

impl Debug for Session {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").finish_non_exhaustive()
    }
}

type Boxed<'e, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'e>>;
type BoxedStream<'e, T> = Pin<Box<dyn Stream<Item = Result<T, sqlx::Error>> + Send + 'e>>;

impl<'c> Executor<'c> for &'c mut Session {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxedStream<'e, Either<PgQueryResult, PgRow>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let query = Asked::on(self, query);
        self.driver().fetch_many(query)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Boxed<'e, Option<PgRow>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let query = Asked::on(self, query);
        self.driver().fetch_optional(query)
    }

    /// A statement that is prepared apart would have a name whatever the session is, and no query
    /// of this store is.
    fn prepare_with<'e>(self, _: SqlStr, _: &'e [PgTypeInfo]) -> Boxed<'e, PgStatement>
    where
        'c: 'e,
    {
        Box::pin(async { Err(apart()) })
    }

    fn describe<'e>(self, _: SqlStr) -> Boxed<'e, Describe<Postgres>>
    where
        'c: 'e,
    {
        Box::pin(async { Err(apart()) })
    }
}

fn apart() -> sqlx::Error {
    sqlx::Error::Protocol("statements are not prepared apart from their execution".to_owned())
}

/// A statement that has a name in the session only where the session is ours.
struct Asked<E> {
    query: E,
    has_name: bool,
}

impl<E> Asked<E> {
    fn on(session: &Session, query: E) -> Self {
        Self {
            query,
            has_name: !session.route.shares_sessions(),
        }
    }
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Asked<E> {
    fn sql(self) -> SqlStr {
        self.query.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.has_name && self.query.persistent()
    }
}
