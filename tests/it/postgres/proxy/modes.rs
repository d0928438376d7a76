//! Each way in which the proxy fails is what it says, as a client of the database meets it.

use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection as _, Executor as _};

use super::{Flow, Proxy, Which};
use crate::postgres::cluster::{self, Cluster};

/// Longer than anything that works takes.
const SOON: Duration = Duration::from_secs(20);
/// So long is nothing awaited that must not come.
const NEVER: Duration = Duration::from_millis(300);

async fn listener(proxy: &Proxy) -> PgListener {
    let url = cluster::url(proxy.port(), "postgres");
    let pool = PgPoolOptions::new().max_connections(1);
    let mut listener = PgListener::connect_with(&pool.connect_lazy(&url).unwrap())
        .await
        .unwrap();
    listener.eager_reconnect(false);
    listener.listen("tested").await.unwrap();
    listener
}

async fn heard(listener: &mut PgListener, within: Duration) -> Option<String> {
    let heard = tokio::time::timeout(within, listener.try_recv())
        .await
        .ok()?;
    heard
        .ok()
        .flatten()
        .map(|notification| notification.payload().to_owned())
}

async fn say(connection: &mut PgConnection, word: &'static str) {
    sqlx::query("SELECT pg_notify('tested', $1)")
        .bind(word)
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listening_connection_passes_is_muted_and_goes_black_while_others_go_on() {
    let cluster = Cluster::start();
    let proxy = Proxy::to(cluster.port()).await;
    let mut other = cluster::connect(&cluster::url(proxy.port(), "postgres")).await;
    let mut listener = listener(&proxy).await;
    assert_eq!(
        (proxy.count(Which::All), proxy.count(Which::Listening)),
        (2, 1)
    );
    say(&mut other, "one").await;
    assert_eq!(heard(&mut listener, SOON).await.as_deref(), Some("one"));

    proxy.set(Which::Listening, Flow::Mute);
    say(&mut other, "two").await;
    assert_eq!(heard(&mut listener, NEVER).await, None);
    assert_eq!(proxy.muted(), 1);
    proxy.set(Which::Listening, Flow::Delay(NEVER));
    let begun = SystemClock::new();
    say(&mut other, "three").await;
    assert!(begun.monotonic() < NEVER, "the others are not delayed");
    assert_eq!(heard(&mut listener, SOON).await.as_deref(), Some("three"));
    assert!(begun.monotonic() >= NEVER);

    proxy.set(Which::Listening, Flow::Blackhole);
    say(&mut other, "four").await;
    assert_eq!(heard(&mut listener, NEVER).await, None);
    // A hole stays one, and the connection stays open.
    proxy.set(Which::Listening, Flow::Pass);
    say(&mut other, "five").await;
    assert_eq!(heard(&mut listener, NEVER).await, None);
    assert_eq!(proxy.count(Which::Listening), 1);
    assert!(proxy.swallowed() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_cut_refused_and_led_elsewhere() {
    let cluster = Cluster::start();
    let elsewhere = Cluster::start();
    let proxy = Proxy::to(cluster.port()).await;
    let url = cluster::url(proxy.port(), "postgres");
    for cut in [Proxy::reset, Proxy::close] {
        let mut connection = cluster::connect(&url).await;
        assert_eq!(cut(&proxy, Which::Listening), 0);
        connection.execute("SELECT 1").await.unwrap();
        assert_eq!(cut(&proxy, Which::All), 1);
        connection.execute("SELECT 1").await.unwrap_err();
    }
    proxy.refuse(true);
    PgConnection::connect(&url).await.unwrap_err();
    proxy.refuse(false);
    let port = async |connection: &mut PgConnection| -> String {
        sqlx::query_scalar("SHOW port")
            .fetch_one(connection)
            .await
            .unwrap()
    };
    let mut before = cluster::connect(&url).await;
    proxy.switch_to(elsewhere.port());
    let mut after = cluster::connect(&url).await;
    assert_eq!(port(&mut before).await, cluster.port().to_string());
    assert_eq!(port(&mut after).await, elsewhere.port().to_string());
}
