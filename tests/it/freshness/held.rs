//! A store behind a valve.

use std::sync::{Arc, Mutex};

use ambit::authz::access_request::*;
use ambit::authz::model::*;
use ambit::store::audit::{AuditFilter, AuditPage, AuditStep, Author};
use ambit::store::*;
use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::database::Database;

/// What a held store does not answer until it is let go: a database that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Nothing,
    Snapshots,
    Changes,
    /// Probes are refused.
    Probes,
    /// Probes are given, and say that nothing ever happens.
    News,
}

struct SilentProbe;

#[async_trait]
impl ChangeProbe for SilentProbe {
    async fn changed(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// What becomes of what is said on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// There is none, as on SQLite.
    Absent,
    /// It can be listened on, and nothing ever arrives: a pooler, a half-open connection.
    Dead,
    Alive,
}

/// A store behind a valve. Everything that it answers is the store's own answer, but for what a
/// test changes: which store that is, who it says that it is, and what is heard on its line.
/// Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct HeldStore {
    inner: Arc<Inner>,
}

struct Inner {
    store: Mutex<Arc<dyn Store>>,
    hold: watch::Receiver<Hold>,
    /// What it says of itself when it is asked, and what it said last.
    epoch: Mutex<Option<[u8; 8]>>,
    told: Mutex<Arc<StoreIdentity>>,
    line: Mutex<Line>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<Notification>>>,
}

impl HeldStore {
    pub async fn open(database: &Database) -> (Self, watch::Sender<Hold>) {
        Self::over(database.open().await)
    }

    pub fn over(store: Arc<dyn Store>) -> (Self, watch::Sender<Hold>) {
        let (sender, hold) = watch::channel(Hold::Nothing);
        let told = Mutex::new(store.identity());
        let inner = Arc::new(Inner {
            store: Mutex::new(store),
            hold,
            epoch: Mutex::new(None),
            told,
            line: Mutex::new(Line::Absent),
            listeners: Mutex::default(),
        });
        (Self { inner }, sender)
    }

    /// From now on another database answers, as after a restore under the running server.
    pub fn switch_to(&self, store: Arc<dyn Store>) {
        *self.inner.store.lock().unwrap() = store;
    }

    /// From now on it says that it is another one.
    pub fn become_another(&self, epoch: [u8; 8]) {
        *self.inner.epoch.lock().unwrap() = Some(epoch);
    }

    pub fn set_line(&self, line: Line) {
        *self.inner.line.lock().unwrap() = line;
    }

    pub fn say(&self, notification: &Notification) {
        if *self.inner.line.lock().unwrap() != Line::Alive {
            return;
        }
        let mut listeners = self.inner.listeners.lock().unwrap();
        listeners.retain(|listener| listener.send(notification.clone()).is_ok());
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner.store.lock().unwrap())
    }

    fn held(&self) -> Hold {
        *self.inner.hold.borrow()
    }

    async fn pass(&self, what: Hold) {
        let mut hold = self.inner.hold.clone();
        hold.wait_for(|held| *held != what).await.unwrap();
    }
}

struct Channel(mpsc::UnboundedReceiver<Notification>);

#[async_trait]
impl Notifications for Channel {
    async fn next(&mut self) -> Result<Notification, StoreError> {
        let lost = || StoreError::Unavailable("the line was cut by the test".into());
        self.0.recv().await.ok_or_else(lost)
    }
}

#[async_trait]
impl Store for HeldStore {
    fn identity(&self) -> Arc<StoreIdentity> {
        Arc::clone(&self.inner.told.lock().unwrap())
    }

    async fn refresh_identity(&self) -> Result<Arc<StoreIdentity>, StoreError> {
        let mut identity = self.store().refresh_identity().await?;
        if let Some(epoch) = *self.inner.epoch.lock().unwrap() {
            identity = Arc::new(StoreIdentity {
                epoch,
                ..(*identity).clone()
            });
        }
        *self.inner.told.lock().unwrap() = Arc::clone(&identity);
        Ok(identity)
    }

    async fn head(&self, account: &Id) -> Result<Option<Head>, StoreError> {
        self.store().head(account).await
    }

    async fn heads(&self, accounts: &[Id]) -> Result<Vec<AccountSummary>, StoreError> {
        self.store().heads(accounts).await
    }

    async fn nonce_at(&self, account: &Id, revision: u64) -> Result<Option<Nonce>, StoreError> {
        self.store().nonce_at(account, revision).await
    }

    async fn accounts(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccountSummary>, StoreError> {
        self.store().accounts(after, limit).await
    }

    async fn snapshot(
        &self,
        account: &Id,
        attributes: bool,
    ) -> Result<Option<Snapshot>, StoreError> {
        self.pass(Hold::Snapshots).await;
        self.store().snapshot(account, attributes).await
    }

    async fn changes_since(&self, account: &Id, have: Head) -> Result<Changes, StoreError> {
        self.pass(Hold::Changes).await;
        self.store().changes_since(account, have).await
    }

    async fn attributes(
        &self,
        account: &Id,
        resources: &[ResourceKey],
    ) -> Result<Vec<(ResourceKey, Attributes)>, StoreError> {
        self.store().attributes(account, resources).await
    }

    async fn apply(&self, write: Write<'_>) -> Result<Head, StoreError> {
        self.store().apply(write).await
    }

    async fn remembered(
        &self,
        account: &Id,
        idempotency: IdempotencyKey<'_>,
    ) -> Result<Option<RememberedWrite>, StoreError> {
        self.store().remembered(account, idempotency).await
    }

    async fn access_request(
        &self,
        account: &Id,
        id: &Id,
    ) -> Result<Option<AccessRequest>, StoreError> {
        self.store().access_request(account, id).await
    }

    async fn access_requests(
        &self,
        account: &Id,
        filter: &RequestFilter,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        self.store()
            .access_requests(account, filter, after, limit)
            .await
    }

    async fn access_request_events(
        &self,
        account: &Id,
        request: &Id,
    ) -> Result<Vec<RequestEvent>, StoreError> {
        self.store().access_request_events(account, request).await
    }

    async fn last_denial(
        &self,
        account: &Id,
        user: &Id,
        target: &RequestTarget,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.store().last_denial(account, user, target).await
    }

    async fn accounts_with_pending(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<PendingAccount>, StoreError> {
        self.store().accounts_with_pending(after, limit).await
    }

    async fn spend_link(
        &self,
        account: &Id,
        link: [u8; 16],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.store()
            .spend_link(account, link, expires_at, now)
            .await
    }

    async fn is_link_spent(&self, account: &Id, link: [u8; 16]) -> Result<bool, StoreError> {
        self.store().is_link_spent(account, link).await
    }

    async fn delete_account(
        &self,
        account: &Id,
        expected: Option<Head>,
        author: &Author,
    ) -> Result<bool, StoreError> {
        self.store().delete_account(account, expected, author).await
    }

    async fn note_access_request(
        &self,
        account: &Id,
        request: &Id,
        author: &Author,
    ) -> Result<bool, StoreError> {
        let store = self.store();
        store.note_access_request(account, request, author).await
    }

    async fn audit_records(
        &self,
        account: &Id,
        filter: &AuditFilter,
        step: AuditStep,
    ) -> Result<AuditPage, StoreError> {
        self.store().audit_records(account, filter, step).await
    }

    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.store().trim_audit(before, limit).await
    }

    async fn change_probe(&self) -> Result<Box<dyn ChangeProbe>, StoreError> {
        match self.held() {
            Hold::Probes => return Err(StoreError::Unavailable("refused by the test".into())),
            Hold::News => return Ok(Box::new(SilentProbe)),
            Hold::Nothing | Hold::Snapshots | Hold::Changes => {}
        }
        self.store().change_probe().await
    }

    async fn notifications(&self) -> Result<Option<Box<dyn Notifications>>, StoreError> {
        if *self.inner.line.lock().unwrap() == Line::Absent {
            return Ok(None);
        }
        let (listener, heard) = mpsc::unbounded_channel();
        self.inner.listeners.lock().unwrap().push(listener);
        Ok(Some(Box::new(Channel(heard))))
    }

    async fn send_heartbeat(&self, heartbeat: Heartbeat) -> Result<(), StoreError> {
        self.say(&Notification::Heartbeat(heartbeat));
        Ok(())
    }

    async fn notification_queue_usage(&self) -> Result<Option<f64>, StoreError> {
        self.store().notification_queue_usage().await
    }

    async fn trim_history(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.store().trim_history(before, limit).await
    }

    async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        self.store().clock().await
    }

    async fn close(&self) {
        self.store().close().await;
    }
}
