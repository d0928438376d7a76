//! A database whose calls are timed, by their fixed names and by what came of them.
//!
//! One name for each method of the contract, so a new method of it is timed or does not compile.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::authz::access_request::{AccessRequest, RequestEvent, RequestTarget};
use crate::authz::model::{Attributes, Id, ResourceKey, Timestamp};
use crate::clock::Clock;
use crate::metrics::StoreMetrics;
use crate::store::audit::{AuditFilter, AuditPage, AuditStep, Author};
use crate::store::{
    AccountSummary, ChangeProbe, Changes, Head, Heartbeat, IdempotencyKey, Nonce, Notifications,
    PendingAccount, RememberedWrite, RequestFilter, Snapshot, Store, StoreError, StoreIdentity,
    Write,
};

mod partners;
mod roles;

/// A database in all of its roles.
pub struct Measured<D> {
    database: Arc<D>,
    clock: Arc<dyn Clock>,
    metrics: StoreMetrics,
}

impl<D> Measured<D> {
    pub fn new(database: Arc<D>, clock: Arc<dyn Clock>, metrics: StoreMetrics) -> Self {
        Self {
            database,
            clock,
            metrics,
        }
    }

    async fn timed<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let begun_at = self.clock.monotonic();
        let span = tracing::debug_span!(
            "store",
            otel.name = %format_args!("store.{name}"),
            otel.kind = "client",
            outcome = Empty
        );
        let answer = call.instrument(span.clone()).await;
        let took = self.clock.monotonic().saturating_sub(begun_at);
        let outcome = answer.as_ref().err().map_or("ok", outcome);
        span.record("outcome", outcome);
        self.metrics.took(name, outcome, took);
        answer
    }
}

fn outcome(error: &StoreError) -> &'static str {
    match error {
        StoreError::Conflict => "conflict",
        StoreError::Constraint { .. } => "constraint",
        StoreError::Full => "full",
        StoreError::Unavailable(_) => "unavailable",
        StoreError::Inconsistent { .. } | StoreError::Schema(_) => "failed",
    }
}

#[async_trait]
impl<D: Store> Store for Measured<D> {
    fn identity(&self) -> Arc<StoreIdentity> {
        self.database.identity()
    }

    async fn refresh_identity(&self) -> Result<Arc<StoreIdentity>, StoreError> {
        self.timed("refresh_identity", self.database.refresh_identity())
            .await
    }

    async fn head(&self, account: &Id) -> Result<Option<Head>, StoreError> {
        self.timed("head", self.database.head(account)).await
    }

    async fn heads(&self, accounts: &[Id]) -> Result<Vec<AccountSummary>, StoreError> {
        self.timed("heads", self.database.heads(accounts)).await
    }

    async fn nonce_at(&self, account: &Id, revision: u64) -> Result<Option<Nonce>, StoreError> {
        self.timed("nonce_at", self.database.nonce_at(account, revision))
            .await
    }

    async fn accounts(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccountSummary>, StoreError> {
        self.timed("accounts", self.database.accounts(after, limit))
            .await
    }

    async fn snapshot(
        &self,
        account: &Id,
        attributes: bool,
    ) -> Result<Option<Snapshot>, StoreError> {
        self.timed("snapshot", self.database.snapshot(account, attributes))
            .await
    }

    async fn changes_since(&self, account: &Id, have: Head) -> Result<Changes, StoreError> {
        self.timed("changes_since", self.database.changes_since(account, have))
            .await
    }

    async fn attributes(
        &self,
        account: &Id,
        resources: &[ResourceKey],
    ) -> Result<Vec<(ResourceKey, Attributes)>, StoreError> {
        self.timed("attributes", self.database.attributes(account, resources))
            .await
    }

    async fn apply(&self, write: Write<'_>) -> Result<Head, StoreError> {
        self.timed("apply", self.database.apply(write)).await
    }

    async fn remembered(
        &self,
        account: &Id,
        idempotency: IdempotencyKey<'_>,
    ) -> Result<Option<RememberedWrite>, StoreError> {
        self.timed("remembered", self.database.remembered(account, idempotency))
            .await
    }

    async fn access_request(
        &self,
        account: &Id,
        id: &Id,
    ) -> Result<Option<AccessRequest>, StoreError> {
        self.timed("access_request", self.database.access_request(account, id))
            .await
    }

    async fn access_requests(
        &self,
        account: &Id,
        filter: &RequestFilter,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        self.timed(
            "access_requests",
            self.database.access_requests(account, filter, after, limit),
        )
        .await
    }

    async fn access_request_events(
        &self,
        account: &Id,
        request: &Id,
    ) -> Result<Vec<RequestEvent>, StoreError> {
        self.timed(
            "access_request_events",
            self.database.access_request_events(account, request),
        )
        .await
    }

    async fn last_denial(
        &self,
        account: &Id,
        user: &Id,
        target: &RequestTarget,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.timed(
            "last_denial",
            self.database.last_denial(account, user, target),
        )
        .await
    }

    async fn accounts_with_pending(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<PendingAccount>, StoreError> {
        self.timed(
            "accounts_with_pending",
            self.database.accounts_with_pending(after, limit),
        )
        .await
    }

    async fn spend_link(
        &self,
        account: &Id,
        link: [u8; 16],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let spent = self.database.spend_link(account, link, expires_at, now);
        self.timed("spend_link", spent).await
    }

    async fn is_link_spent(&self, account: &Id, link: [u8; 16]) -> Result<bool, StoreError> {
        let spent = self.database.is_link_spent(account, link);
        self.timed("is_link_spent", spent).await
    }

    async fn delete_account(
        &self,
        account: &Id,
        expected: Option<Head>,
        author: &Author,
    ) -> Result<bool, StoreError> {
        let deleted = self.database.delete_account(account, expected, author);
        self.timed("delete_account", deleted).await
    }

    async fn note_access_request(
        &self,
        account: &Id,
        request: &Id,
        author: &Author,
    ) -> Result<bool, StoreError> {
        let noted = self.database.note_access_request(account, request, author);
        self.timed("note_access_request", noted).await
    }

    async fn audit_records(
        &self,
        account: &Id,
        filter: &AuditFilter,
        step: AuditStep,
    ) -> Result<AuditPage, StoreError> {
        let records = self.database.audit_records(account, filter, step);
        self.timed("audit_records", records).await
    }

    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.timed("trim_audit", self.database.trim_audit(before, limit))
            .await
    }

    async fn change_probe(&self) -> Result<Box<dyn ChangeProbe>, StoreError> {
        self.timed("change_probe", self.database.change_probe())
            .await
    }

    async fn notifications(&self) -> Result<Option<Box<dyn Notifications>>, StoreError> {
        self.timed("notifications", self.database.notifications())
            .await
    }

    async fn send_heartbeat(&self, heartbeat: Heartbeat) -> Result<(), StoreError> {
        self.timed("send_heartbeat", self.database.send_heartbeat(heartbeat))
            .await
    }

    async fn notification_queue_usage(&self) -> Result<Option<f64>, StoreError> {
        self.timed(
            "notification_queue_usage",
            self.database.notification_queue_usage(),
        )
        .await
    }

    async fn trim_history(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.timed("trim_history", self.database.trim_history(before, limit))
            .await
    }

    async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        self.timed("clock", self.database.clock()).await
    }

    async fn close(&self) {
        self.database.close().await
    }
}
