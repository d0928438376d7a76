//! An agency's clients, employees and contractors (S4.19, S4.21).
//!
//! Whoever asks manages the agency's people (S4.2); what a caller may not name is left out, and
//! counted nowhere.

use std::collections::{BTreeMap, BTreeSet};

use super::{PartnerError, Partners};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, User, UserKind, UserStatus};
use crate::authz::partnership::require_management;
use crate::store::partners::{Counted, PartnerUser, PartnerUserFilter};

/// Somebody of an agency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub user: Id,
    /// Where they stand in the agency's account; `None`: they are not in it.
    pub status: Option<UserStatus>,
    /// Clients in which they are a user.
    pub clients: u64,
}

impl Partners {
    /// Users of clients who stand for people of the agency, after a (client, user), in byte order of
    /// these, at most `limit`.
    pub async fn clients(
        &self,
        agency: &Id,
        actor: &Id,
        filter: PartnerUserFilter<'_>,
        after: Option<(&Id, &Id)>,
        limit: u32,
    ) -> Result<Vec<PartnerUser>, PartnerError> {
        let read = self.read(agency).await?;
        require_management(&read.graph, actor, self.clock.now())?;
        let users = self.store.partner_users(agency, filter, after, limit);
        Ok(users.await?)
    }

    /// The agency's full-time staff: the internal users of its account, whether they work for a client
    /// or not; after an id, in byte order of ids, at most `limit`.
    pub async fn employees(
        &self,
        agency: &Id,
        actor: &Id,
        clients: Option<&BTreeSet<Id>>,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<Person>, PartnerError> {
        let read = self.read(agency).await?;
        require_management(&read.graph, actor, self.clock.now())?;
        let staff = page(&read.graph, UserKind::Internal, after, limit);
        let ids: Vec<Id> = staff.keys().cloned().collect();
        let counted = self
            .store
            .clients_counted(agency, Counted::Employees(&ids), clients, limit)
            .await?;
        let counted: BTreeMap<Id, u64> = counted.into_iter().collect();
        Ok(staff
            .into_iter()
            .map(|(user, status)| Person {
                clients: counted.get(&user).copied().unwrap_or(0),
                status: Some(status),
                user,
            })
            .collect())
    }

    /// The agency's contractors: users of that kind in its account, and whoever is a contractor of it
    /// in a client.
    pub async fn contractors(
        &self,
        agency: &Id,
        actor: &Id,
        clients: Option<&BTreeSet<Id>>,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<Person>, PartnerError> {
        let read = self.read(agency).await?;
        require_management(&read.graph, actor, self.clock.now())?;
        let idle = page(&read.graph, UserKind::Contractor, after, limit);
        let working = self
            .store
            .clients_counted(agency, Counted::Contractors(after), clients, limit)
            .await?;
        let mut people: BTreeMap<Id, u64> = idle.into_keys().map(|user| (user, 0)).collect();
        people.extend(working);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(people
            .into_iter()
            .take(limit)
            .map(|(user, clients)| Person {
                status: read.graph.user(user.as_str()).map(|user| user.status),
                user,
                clients,
            })
            .collect())
    }
}

/// Users of a kind after an id, in byte order of ids, at most `limit`.
fn page(
    agency: &AccountGraph,
    kind: UserKind,
    after: Option<&Id>,
    limit: u32,
) -> BTreeMap<Id, UserStatus> {
    let is_meant = |user: &&User| {
        user.kind == kind
            && user.status != UserStatus::Removed
            && after.is_none_or(|after| user.id > *after)
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    agency
        .users()
        .filter(is_meant)
        .take(limit)
        .map(|user| (user.id.clone(), user.status))
        .collect()
}
