//! The channel on which the database tells of commits.
//!
//! The driver's listener makes a new connection by itself and says nothing of what it missed, so it
//! is asked in the one way that tells: whatever isn't a notification ends the channel, and who
//! follows makes another and compares. It has a connection of its own, on which nothing is asked.

use async_trait::async_trait;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgListener;

use super::connect::{SMALL, bounded};
use super::error::store_error;
use super::session::{Route, Session};
use crate::authz::model::Id;
use crate::store::rows::unavailable;
use crate::store::{Heartbeat, Nonce, Notification, Notifications, StoreError};

const CHANNEL: &str = "ambit";

pub(super) struct Channel(PgListener);

/// Opens the channel, where the session is ours. One that is lent to others would go on listening for
/// them, and its notifications break whoever has it then: so LISTEN is not even tried.
pub(super) async fn listen(route: &Route) -> Result<Channel, StoreError> {
    if route.shares_sessions() {
        return Err(unavailable(
            "a pooler stands in between, behind which no session is for listening",
        ));
    }
    let pool = PoolOptions::new()
        .max_connections(1)
        .acquire_timeout(SMALL)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(route.options().clone());
    // The driver's future is large.
    let listening = Box::pin(async {
        let mut listener = PgListener::connect_with(&pool).await.map_err(store_error)?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await.map_err(store_error)?;
        Ok(Channel(listener))
    });
    bounded(SMALL, listening).await
}

#[async_trait]
impl Notifications for Channel {
    async fn next(&mut self) -> Result<Notification, StoreError> {
        match self.0.try_recv().await {
            Ok(Some(notification)) => Ok(read(notification.payload())),
            Ok(None) => Err(unavailable("the connection for notifications was lost")),
            Err(error) => Err(store_error(error)),
        }
    }
}

pub(super) async fn send(connection: &mut Session, heartbeat: Heartbeat) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(written(heartbeat))
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

fn written(heartbeat: Heartbeat) -> String {
    let sender = u64::from_be_bytes(heartbeat.sender);
    format!("h {sender:016x} {}", heartbeat.sequence)
}

/// `r REVISION ACCOUNT` or `h SENDER SEQUENCE`; anyone may write anything to the channel.
fn read(payload: &str) -> Notification {
    let own = || {
        let (word, rest) = payload.split_once(' ')?;
        let (first, second) = rest.split_once(' ')?;
        match word {
            "r" => Some(Notification::Changed {
                revision: first.parse().ok()?,
                account: Id::parse(second).ok()?,
            }),
            "h" if first.len() == 2 * size_of::<Nonce>() => {
                Some(Notification::Heartbeat(Heartbeat {
                    sender: u64::from_str_radix(first, 16).ok()?.to_be_bytes(),
                    sequence: second.parse().ok()?,
                }))
            }
            _ => None,
        }
    };
    own().unwrap_or(Notification::Foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_as_it_is_written_and_anything_else_is_foreign() {
        let heartbeat = Heartbeat {
            sender: [0, 1, 2, 3, 252, 253, 254, 255],
            sequence: u64::MAX,
        };
        assert_eq!(
            read(&written(heartbeat)),
            Notification::Heartbeat(heartbeat)
        );
        for name in ["acme", "with a space ", "ä b"] {
            assert_eq!(
                read(&format!("r 17 {name}")),
                Notification::Changed {
                    account: Id::parse(name).unwrap(),
                    revision: 17
                }
            );
        }
        let long = "x".repeat(7_999);
        for foreign in [
            "",
            "r",
            "r 1",
            "r 1 ",
            "r -1 acme",
            "r 18446744073709551616 acme",
            "h 1 1",
            "h zzzzzzzzzzzzzzzz 1",
            "h 0102030405060708 ",
            "x 1 acme",
            long.as_str(),
        ] {
            assert_eq!(read(foreign), Notification::Foreign, "{foreign}");
        }
    }
}
