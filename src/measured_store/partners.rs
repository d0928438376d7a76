//! What agencies have in several accounts, timed like the rest.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::Measured;
use crate::authz::model::Id;
use crate::authz::partner_event::PartnerNews;
use crate::store::partners::{
    AccessLink, Counted, LinkApproval, LinkStep, ListedLink, PartnerStore, PartnerUser,
    PartnerUserFilter,
};
use crate::store::{Head, StoreError, Write};

#[async_trait]
impl<D: PartnerStore> PartnerStore for Measured<D> {
    async fn access_link(&self, account: &Id, link: &Id) -> Result<Option<AccessLink>, StoreError> {
        self.timed("access_link", self.database.access_link(account, link))
            .await
    }

    async fn access_links(
        &self,
        account: &Id,
        clients: Option<&BTreeSet<Id>>,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<ListedLink>, StoreError> {
        let links = self.database.access_links(account, clients, after, limit);
        self.timed("access_links", links).await
    }

    async fn link_approval(
        &self,
        account: &Id,
        link: &Id,
        client: &Id,
    ) -> Result<Option<LinkApproval>, StoreError> {
        let approval = self.database.link_approval(account, link, client);
        self.timed("link_approval", approval).await
    }

    async fn partner_users(
        &self,
        agency: &Id,
        filter: PartnerUserFilter<'_>,
        after: Option<(&Id, &Id)>,
        limit: u32,
    ) -> Result<Vec<PartnerUser>, StoreError> {
        let users = self.database.partner_users(agency, filter, after, limit);
        self.timed("partner_users", users).await
    }

    async fn clients_counted(
        &self,
        agency: &Id,
        counted: Counted<'_>,
        clients: Option<&BTreeSet<Id>>,
        limit: u32,
    ) -> Result<Vec<(Id, u64)>, StoreError> {
        let counts = self
            .database
            .clients_counted(agency, counted, clients, limit);
        self.timed("clients_counted", counts).await
    }

    async fn apply_across(
        &self,
        writes: &[Write<'_>],
        link: Option<&LinkStep>,
        news: &[PartnerNews],
    ) -> Result<Vec<Head>, StoreError> {
        let applied = self.database.apply_across(writes, link, news);
        self.timed("apply_across", applied).await
    }
}
