//! A write of several accounts in one transaction (D7): for what touches an agency and its clients,
//! and for nothing else.
//!
//! It is made as a write of one account is ([`super::write`]): the writers of each account queue, all
//! graphs are read at their heads, the plan is made on all of them, and it is stored on top of just
//! those heads. Where another writer was faster on any of them, all of it is done again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::write::{BACKOFF_STEPS_MAX, CONFLICT_BACKOFF};
use super::{Directory, DirectoryError, WRITE_TRIES_MAX};
use crate::authz::change::{self, Change, ChangeProblem};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{EntityChange, Id};
use crate::authz::partner_event::PartnerNews;
use crate::graph_cache::{ReadError, ReadGraph};
use crate::store::audit::Author;
use crate::store::partners::{LinkStep, PartnerStore};
use crate::store::{Head, StoreError, Write};

/// The accounts of a write as the store has them now; one that is not there is missing.
pub(crate) type Present = BTreeMap<Id, Arc<ReadGraph>>;

/// What is to be stored of one account.
#[derive(Debug)]
pub(crate) struct AccountWrite {
    pub(crate) account: Id,
    /// Nothing: the account must stand where it stood, and that is all.
    pub(crate) changes: Vec<EntityChange>,
    /// Who makes it, for the audit of that account: an actor is a user of one account.
    pub(crate) author: Author,
}

/// What a write makes of several accounts.
#[derive(Debug)]
pub(crate) struct PlannedAcross<T> {
    /// Empty: nothing is stored.
    pub(crate) writes: Vec<AccountWrite>,
    pub(crate) link: Option<LinkStep>,
    /// Of accounts that are written.
    pub(crate) news: Vec<PartnerNews>,
    pub(crate) told: T,
}

/// Planned anew for each state of the accounts that it meets.
#[async_trait]
pub(crate) trait PlanningAcross: Sync {
    type Told: Send;
    type Error: From<DirectoryError> + Send;

    async fn plan(&self, present: &Present) -> Result<PlannedAcross<Self::Told>, Self::Error>;
}

/// What came of it: where each account stands, of those that were there.
#[derive(Debug)]
pub(crate) struct WrittenAcross<T> {
    pub(crate) heads: BTreeMap<Id, Head>,
    pub(crate) told: T,
}

impl Directory {
    /// Carries out a write of several accounts in one transaction, or none of it.
    pub(crate) async fn write_across<P: PlanningAcross>(
        &self,
        store: &dyn PartnerStore,
        accounts: &BTreeSet<Id>,
        planning: &P,
    ) -> Result<WrittenAcross<P::Told>, P::Error> {
        for tries in 1..=WRITE_TRIES_MAX {
            if let Some(written) = self.write_across_once(store, accounts, planning).await? {
                return Ok(written);
            }
            tracing::debug!(tries, "write across accounts met another, plans again");
            tokio::time::sleep(CONFLICT_BACKOFF * tries.min(BACKOFF_STEPS_MAX)).await;
        }
        Err(DirectoryError::Contended.into())
    }

    /// `None`: another writer was faster.
    async fn write_across_once<P: PlanningAcross>(
        &self,
        store: &dyn PartnerStore,
        accounts: &BTreeSet<Id>,
        planning: &P,
    ) -> Result<Option<WrittenAcross<P::Told>>, P::Error> {
        // In the order of ids, as the store locks them: nobody waits in a circle.
        let mut lives = Vec::new();
        for account in accounts {
            match self.graphs.live(account).await {
                Ok(live) => lives.push(live),
                Err(ReadError::UnknownAccount(_)) => {}
                Err(error) => return Err(DirectoryError::Read(error).into()),
            }
        }
        let mut turns = Vec::new();
        for live in &lives {
            turns.push(live.write_turn().await);
        }
        let mut present = Present::new();
        for account in accounts {
            if let Some(read) = self.present(account).await? {
                present.insert(account.clone(), read);
            }
        }
        let planned = planning.plan(&present).await?;
        let mut heads: BTreeMap<Id, Head> = present
            .iter()
            .map(|(account, read)| (account.clone(), read.head))
            .collect();
        if planned.writes.is_empty() {
            return Ok(Some(WrittenAcross {
                heads,
                told: planned.told,
            }));
        }
        let writes: Vec<Write<'_>> = planned
            .writes
            .iter()
            .map(|write| Write {
                account: &write.account,
                expected: heads.get(&write.account).copied(),
                changes: &write.changes,
                events: &[],
                idempotency: None,
                batch: None,
                author: &write.author,
            })
            .collect();
        let (link, news) = (planned.link.as_ref(), planned.news.as_slice());
        let applied = match store.apply_across(&writes, link, news).await {
            Ok(applied) => applied,
            Err(StoreError::Conflict) => return Ok(None),
            Err(error) => return Err(DirectoryError::Store(error).into()),
        };
        for (write, head) in planned.writes.iter().zip(applied) {
            heads.insert(write.account.clone(), head);
            // The write is made, whatever happens here: a reader with its token catches up itself.
            if let Err(error) = self.graphs.catch_up_cached(&write.account).await {
                tracing::warn!(account = %write.account, error = %error, "written, but the cache could not follow yet");
            }
        }
        Ok(Some(WrittenAcross {
            heads,
            told: planned.told,
        }))
    }
}

/// Plans changes of one account, and proves that what they lead to can be loaded.
pub(crate) fn entity_changes(
    graph: &AccountGraph,
    changes: &[Change],
) -> Result<Vec<EntityChange>, DirectoryError> {
    let account = &graph.account().id;
    let set = change::plan(account, Some(graph), changes).map_err(|error| match error.problem {
        ChangeProblem::NoAccount => ReadError::UnknownAccount(account.clone()).into(),
        _ => DirectoryError::Change(error),
    })?;
    graph
        .apply(&set.changes)
        .map_err(DirectoryError::Unusable)?;
    Ok(set.changes)
}
