//! What a database keeps beside the accounts, timed like those.

use async_trait::async_trait;

use super::Measured;
use crate::authz::model::{Id, ResourceKey, Timestamp};
use crate::callers::TokenId;
use crate::store::audit::Author;
use crate::store::batches::{Batch, BatchEntry, BatchStore};
use crate::store::forms::{Form, FormStore};
use crate::store::outbox::{
    ClaimedDelivery, Delivery, DeliveryKey, DeliveryOutcome, DeliveryState, Event, Lane, Outbox,
    Subject,
};
use crate::store::segment_jobs::{FollowedAccount, JobFilter, SegmentJob, SegmentJobs};
use crate::store::tokens::{StoredToken, StoredTokens, TokenStore, TokensVersion};
use crate::store::{Head, StoreError};

#[async_trait]
impl<D: Outbox> Outbox for Measured<D> {
    async fn unsent_events(&self, limit: u32) -> Result<Vec<(Id, Event)>, StoreError> {
        self.timed("unsent_events", self.database.unsent_events(limit))
            .await
    }

    async fn fan_out(
        &self,
        account: &Id,
        subject: &Subject,
        ordinal: u32,
        destinations: &[String],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.timed(
            "fan_out",
            self.database
                .fan_out(account, subject, ordinal, destinations, now),
        )
        .await
    }

    async fn claim_deliveries(
        &self,
        lane: Lane<'_>,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        self.timed(
            "claim_deliveries",
            self.database
                .claim_deliveries(lane, now, lease_until, limit),
        )
        .await
    }

    async fn undelivered(&self) -> Result<Option<Timestamp>, StoreError> {
        self.timed("undelivered", self.database.undelivered()).await
    }

    async fn depth(&self) -> Result<u64, StoreError> {
        self.timed("depth", self.database.depth()).await
    }

    async fn settle_delivery(
        &self,
        claimed: &ClaimedDelivery,
        outcome: DeliveryOutcome,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.timed(
            "settle_delivery",
            self.database.settle_delivery(claimed, outcome, now),
        )
        .await
    }

    async fn deliveries(
        &self,
        account: &Id,
        state: Option<DeliveryState>,
        after: Option<&DeliveryKey>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.timed(
            "deliveries",
            self.database.deliveries(account, state, after, limit),
        )
        .await
    }

    async fn replay_delivery(
        &self,
        key: &DeliveryKey,
        now: Timestamp,
        author: &Author,
    ) -> Result<bool, StoreError> {
        let replayed = self.database.replay_delivery(key, now, author);
        self.timed("replay_delivery", replayed).await
    }

    async fn trim_deliveries(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.timed(
            "trim_deliveries",
            self.database.trim_deliveries(before, limit),
        )
        .await
    }
}

#[async_trait]
impl<D: BatchStore> BatchStore for Measured<D> {
    async fn batch(&self, account: &Id, id: &Id) -> Result<Option<(Batch, Head)>, StoreError> {
        let call = self.database.batch(account, id);
        self.timed("batch", call).await
    }

    async fn batch_entries(
        &self,
        account: &Id,
        batch: &Id,
        after: Option<&ResourceKey>,
        limit: u32,
    ) -> Result<Vec<BatchEntry>, StoreError> {
        let call = self.database.batch_entries(account, batch, after, limit);
        self.timed("batch_entries", call).await
    }

    async fn trim_batches(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let call = self.database.trim_batches(before, limit);
        self.timed("trim_batches", call).await
    }
}

#[async_trait]
impl<D: FormStore> FormStore for Measured<D> {
    async fn form(&self, account: &Id, id: &Id) -> Result<Option<Form>, StoreError> {
        let call = self.database.form(account, id);
        self.timed("form", call).await
    }

    async fn forms(
        &self,
        account: &Id,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<Form>, StoreError> {
        let call = self.database.forms(account, after, limit);
        self.timed("forms", call).await
    }

    async fn put_form(
        &self,
        account: &Id,
        form: &Form,
        author: &Author,
    ) -> Result<bool, StoreError> {
        let call = self.database.put_form(account, form, author);
        self.timed("put_form", call).await
    }

    async fn delete_form(
        &self,
        account: &Id,
        id: &Id,
        author: &Author,
    ) -> Result<bool, StoreError> {
        let call = self.database.delete_form(account, id, author);
        self.timed("delete_form", call).await
    }
}

#[async_trait]
impl<D: SegmentJobs> SegmentJobs for Measured<D> {
    async fn accounts_to_reconcile(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<FollowedAccount>, StoreError> {
        let call = self.database.accounts_to_reconcile(after, limit);
        self.timed("accounts_to_reconcile", call).await
    }

    async fn claim_reconciling(
        &self,
        account: &Id,
        holder: [u8; 16],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let call = self.database.claim_reconciling(account, holder, now, until);
        self.timed("claim_reconciling", call).await
    }

    async fn set_reconciled(
        &self,
        account: &Id,
        holder: [u8; 16],
        head: Head,
    ) -> Result<bool, StoreError> {
        let call = self.database.set_reconciled(account, holder, head);
        self.timed("set_reconciled", call).await
    }

    async fn put_segment_jobs(
        &self,
        account: &Id,
        jobs: &[SegmentJob],
    ) -> Result<bool, StoreError> {
        let call = self.database.put_segment_jobs(account, jobs);
        self.timed("put_segment_jobs", call).await
    }

    async fn segment_jobs(
        &self,
        account: &Id,
        filter: JobFilter<'_>,
        limit: u32,
    ) -> Result<Vec<SegmentJob>, StoreError> {
        let call = self.database.segment_jobs(account, filter, limit);
        self.timed("segment_jobs", call).await
    }
}

#[async_trait]
impl<D: TokenStore> TokenStore for Measured<D> {
    async fn tokens_version(&self) -> Result<TokensVersion, StoreError> {
        let call = self.database.tokens_version();
        self.timed("tokens_version", call).await
    }

    async fn tokens(&self) -> Result<StoredTokens, StoreError> {
        let call = self.database.tokens();
        self.timed("tokens", call).await
    }

    async fn put_token(&self, token: &StoredToken) -> Result<(), StoreError> {
        let call = self.database.put_token(token);
        self.timed("put_token", call).await
    }

    async fn revoke_token(&self, id: &TokenId, now: Timestamp) -> Result<bool, StoreError> {
        let call = self.database.revoke_token(id, now);
        self.timed("revoke_token", call).await
    }
}
