//! Who is told of access requests, by real receivers: HTTP servers that check signatures with
//! another implementation of Standard Webhooks, and an SMTP server that keeps what it is handed.
//!
//! The worker runs on the real store, beside nothing: its clock is the test's, so waits of hours
//! pass when the test says so.

use std::sync::Arc;
use std::time::Duration;

use ambit::authz::access_request::{
    AccessRequest, Filing, RequestEvent, RequestState, RequestTarget, Wish, cancel, deny, file,
};
use ambit::authz::change::{Change, UserPatch};
use ambit::authz::model::*;
use ambit::clock::{Clock, ManualClock, SystemClock};
use ambit::config::{Config, NotificationSettings};
use ambit::graph_cache::{Consistency, ReadGraph};
use ambit::metrics::Metrics;
use ambit::notifications::{Notifications, Surroundings};
use ambit::randomness::SeededRandomness;
use ambit::store::audit::Author;
use ambit::store::outbox::{Delivery, DeliveryState, Outbox};
use ambit::store::{Head, Store, Write};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::directory::{Replica, id, put_user};

mod killed;
mod mail;
pub mod receiver;
pub mod smtp;
mod ssrf;
mod tls;
mod webhooks;

use receiver::Receiver;

const ACCOUNT: &str = "acme";
const CONSOLE: &str = "https://access.example.com";
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

/// Longer than anything here takes, so that a hang fails rather than holds up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Networks in which the receivers of these tests lie.
const LOOPBACK: (&str, &str) = ("webhook_allowed_networks", "127.0.0.0/8,::1/128");

/// An account with approvers, and requests to tell of.
struct World {
    database: Database,
    replica: Replica,
    outbox: Arc<dyn Outbox>,
    /// Of the workers; begins now, since receivers look at how old a message is.
    clock: Arc<ManualClock>,
}

/// A worker that runs until it is dropped.
struct Worker {
    ending: CancellationToken,
    task: Option<JoinHandle<()>>,
    metrics: Metrics,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.ending.cancel();
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Worker {
    async fn ended(mut self) {
        self.ending.cancel();
        self.task.take().unwrap().await.unwrap();
    }
}

fn user(name: &str, change: impl FnOnce(&mut UserPatch)) -> Change {
    let Change::PutUser(mut patch) = put_user(name) else {
        panic!("it is a user");
    };
    patch.email = Some(Some(format!("{name}@example.com")));
    change(&mut patch);
    Change::PutUser(patch)
}

fn settings(flags: &[(&str, &str)]) -> NotificationSettings {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let none: [(String, String); 0] = [];
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    Config::load(&flags.iter().map(owned).collect(), none, Some(file.path()))
        .unwrap()
        .notifications
}

/// One webhook at a receiver on loopback, which is allowed.
fn to(receiver: &Receiver) -> NotificationSettings {
    settings(&[
        ("webhook_url", &receiver.url()),
        ("webhook_secret", SECRET),
        LOOPBACK,
    ])
}

impl World {
    /// `owner` and `sa` may approve, `other` may nothing, `de1` of two teams asks.
    async fn new() -> Self {
        let database = Database::new();
        let (_, outbox) = database.open_both().await;
        let replica = Replica::open(&database).await;
        let account = ambit::directory::Directory::create_account(
            &replica.directory,
            id(ACCOUNT),
            crate::directory::enterprise(),
            None,
            Author::anyone("CreateAccount"),
        );
        account.await.unwrap();
        let teams = ["de", "sales"].map(|team| crate::directory::put_team(team, None));
        let mut changes = teams.to_vec();
        changes.extend([
            user("owner", |user| user.account_owner = Some(true)),
            user("sa", |user| user.super_admin = Some(true)),
            user("other", |_| {}),
            user("de1", |user| {
                user.main_team = Some(Some(id("sales")));
                user.teams = Some([id("de")].into());
            }),
        ]);
        replica.apply(ACCOUNT, changes).await.unwrap();
        Self {
            database,
            replica,
            outbox,
            clock: Arc::new(ManualClock::at(SystemClock::new().now())),
        }
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.replica.store
    }

    fn worker(&self, settings: NotificationSettings) -> Worker {
        self.worker_beside(settings, &self.replica, Arc::clone(&self.outbox))
    }

    fn worker_beside(
        &self,
        settings: NotificationSettings,
        replica: &Replica,
        outbox: Arc<dyn Outbox>,
    ) -> Worker {
        let metrics = Metrics::new().unwrap();
        let around = Surroundings {
            store: Arc::clone(&replica.store),
            outbox,
            graphs: replica.graphs.clone(),
            clock: self.clock.clone(),
            randomness: Arc::new(SeededRandomness::new(20_261_122)),
            metrics: metrics.notifications(),
            written: Arc::new(Notify::new()),
            console_url: CONSOLE.to_owned(),
        };
        let worker = Notifications::new(around, settings).unwrap();
        let ending = CancellationToken::new();
        Worker {
            task: Some(tokio::spawn(worker.run(ending.clone()))),
            ending,
            metrics,
        }
    }

    /// A tool-level request of `de1`, by the rules and in one transaction.
    async fn file(&self, request: &str, action: &str) -> AccessRequest {
        self.file_as(request, action, "I look after the spring campaign")
            .await
    }

    async fn file_as(&self, request: &str, action: &str, reason: &str) -> AccessRequest {
        let read = self.read().await;
        let wish = Wish {
            user: id("de1"),
            target: RequestTarget {
                resource_type: id("email"),
                action: id(action),
                resource_id: None,
            },
            reason: reason.to_owned(),
            wanted_seconds: Some(7 * 86_400),
            origin_url: Some("https://app.example.com/emails".to_owned()),
        };
        let filing = file(&read.graph, &wish, id(request), None, self.clock.now()).unwrap();
        let Filing::New { request, event, .. } = filing else {
            panic!("it is a new one");
        };
        self.commit(read.head, &request, event).await;
        request
    }

    /// The owner's no.
    async fn deny(&self, request: &AccessRequest, note: &str) {
        let read = self.read().await;
        let (owner, now) = (id("owner"), self.clock.now());
        let denial = deny(&read.graph, request, &owner, note.to_owned(), 1, now);
        let denial = denial.unwrap();
        assert_eq!(denial.request.state, RequestState::Denied);
        assert_eq!(denial.changes, []);
        self.commit(read.head, &denial.request, denial.event).await;
    }

    /// The requester's change of mind.
    async fn cancel(&self, request: &AccessRequest) {
        let read = self.read().await;
        let cancelled = cancel(
            &read.graph,
            request,
            &request.user,
            None,
            1,
            self.clock.now(),
        );
        let cancelled = cancelled.unwrap();
        self.commit(read.head, &cancelled.request, cancelled.event)
            .await;
    }

    async fn read(&self) -> Arc<ReadGraph> {
        let (account, consistency) = (id(ACCOUNT), Consistency::FullyConsistent);
        self.replica
            .graphs
            .read(&account, &consistency)
            .await
            .unwrap()
    }

    async fn commit(&self, head: Head, request: &AccessRequest, event: RequestEvent) {
        let put = EntityChange::Put(Entity::AccessRequest(request.clone()));
        let write = Write {
            account: &id(ACCOUNT),
            expected: Some(head),
            changes: &[put],
            events: &[event],
            batch: None,
            idempotency: None,
            author: &Author::anyone("ApplyChanges"),
        };
        self.store().apply(write).await.unwrap();
    }

    async fn deliveries(&self, state: DeliveryState) -> Vec<Delivery> {
        let account = id(ACCOUNT);
        let found = self.outbox.deliveries(&account, Some(state), None, 1_000);
        found.await.unwrap()
    }

    /// Waits for so many deliveries of a state.
    async fn until(&self, state: DeliveryState, count: usize) -> Vec<Delivery> {
        let begun = SystemClock::new();
        loop {
            let found = self.deliveries(state).await;
            if found.len() >= count {
                return found;
            }
            assert!(begun.monotonic() < PATIENCE, "{count} {state}: {found:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for a delivery that has failed so often.
    async fn until_failed(&self, attempts: u32) -> Delivery {
        let has_failed =
            |delivery: &Delivery| delivery.attempts >= attempts && delivery.last_problem.is_some();
        self.until_pending(has_failed).await
    }

    /// Waits for a delivery whose last attempt had this problem.
    async fn until_problem(&self, problem: &str) -> Delivery {
        self.until_pending(|delivery| delivery.last_problem.as_deref() == Some(problem))
            .await
    }

    async fn until_pending(&self, is_meant: impl Fn(&Delivery) -> bool) -> Delivery {
        let begun = SystemClock::new();
        loop {
            let found = self.deliveries(DeliveryState::Pending).await;
            if let Some(found) = found.iter().find(|delivery| is_meant(delivery)) {
                return found.clone();
            }
            assert!(begun.monotonic() < PATIENCE, "{found:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets the workers' time pass, longer than any wait, until that is so.
    async fn pass_time_until(&self, is_so: impl AsyncFn() -> bool) {
        let begun = SystemClock::new();
        while !is_so().await {
            assert!(begun.monotonic() < PATIENCE, "it never came to be so");
            self.clock.advance(Duration::from_secs(7_200));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A sample of the metrics, as they are rendered.
fn sample(worker: &Worker, line: &str) -> Option<String> {
    let text = worker.metrics.text();
    text.lines()
        .find_map(|found| found.strip_prefix(line))
        .map(|value| value.trim().to_owned())
}

/// Takes an approver's right away.
async fn demote(world: &World, name: &str) {
    // An account keeps a super admin.
    let other = user("sb", |user| {
        user.super_admin = Some(true);
        user.email = None;
    });
    let change = user(name, |user| user.super_admin = Some(false));
    let changes = vec![other, change];
    world.replica.apply(ACCOUNT, changes).await.unwrap();
}
