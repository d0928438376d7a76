//! Links that a product asks for, to be put where its own admins read.

use super::{AccessRequestError, AccessRequests, unknown_account};
use crate::authz::access_request::may_resolve;
use crate::authz::model::{Id, Timestamp};
use crate::links::Links;
use crate::store::audit::Author;

/// A link for one approver.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestLink {
    /// With the token: a credential.
    pub url: String,
    pub expires_at: Timestamp,
}

impl AccessRequests {
    /// Makes a link to the page of a request for a user who may resolve it now. That is judged again
    /// whenever the link is opened, so it gives nothing that is lost meanwhile.
    ///
    /// # Errors
    /// Why the user may not resolve it.
    pub async fn link(
        &self,
        account: &Id,
        id: &Id,
        approver: &Id,
        author: &Author,
    ) -> Result<RequestLink, AccessRequestError> {
        let read = self.present(account).await?;
        let request = self.request(account, id).await?;
        let now = self.clock.now();
        let (judged, by) = (request.clone(), approver.clone());
        let judge = move || may_resolve(&read.graph, &judged, &by, now);
        self.directory.graphs().compute(account, judge).await??;
        // Under the key that the database has now.
        let key = self.store.identity().token_key;
        let links = Links::new(key, &self.console.url, self.console.link_ttl);
        let random = self.randomness.bytes()?;
        let url = links.make(account, id, &request.user, approver, random, now);
        let expires_at = links.expiry(now);
        // Recorded before anybody has it.
        if !self.store.note_access_request(account, id, author).await? {
            return Err(unknown_account(account));
        }
        // Whom it is for, and not the link.
        tracing::info!(
            target: AUDIT,
            account = %account,
            request = %id,
            approver = %approver,
            expires_at = %expires_at,
            "a link to an access request was made"
        );
        Ok(RequestLink { url, expires_at })
    }
}

/// Events of the log that an auditor looks for.
const AUDIT: &str = "ambit::audit";
