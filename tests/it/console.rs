//! The console over HTTP: who sees what, what a form does, and what is refused. One test lets a
//! real browser walk through it.

use std::sync::Arc;
use std::time::Duration;

use crate::database::Database;
use crate::grpc::server::{TestServer, at_least};
use ambit::authz::document::{Document, parse_file};
use ambit::authz::model::Id;
use ambit::clock::{Clock, SystemClock};
use ambit::grpc::wire;
use ambit::links::Links;

mod browser;
mod browser_like;
mod forms;
mod pages;
mod refusals;

pub use browser_like::Browser;

/// An account with two approvers: `ada`, who may do everything, and `otto`, who manages users and
/// can give no more than he has. `lena` and `nils` ask.
const ACCOUNT: &str = "
account: acme
catalog: hubspot
plan: enterprise
teams:
  - {id: dach}
  - {id: germany, parent: dach}
  - {id: france}
permission_sets:
  - {id: rep, grants: {contact.view: everything, contact.edit: owned}}
  - {id: exporter, grants: {contact.export: everything}}
users:
  - {id: ada, super_admin: true, seats: [core]}
  - {id: otto, seats: [core], grants: {user_management.edit: everything}}
  - {id: lena, main_team: germany, teams: [france], seats: [core], permission_sets: [rep]}
  - {id: nils, main_team: germany, seats: [core], permission_sets: [rep]}
resources:
  - {type: contact, id: bosch, owners: [nils], owning_team: germany}
  - {type: contact, id: siemens, owners: [nils]}
";

const HOUR: Duration = Duration::from_secs(3_600);

/// A server with that account, and what makes links to it.
pub struct Desk {
    pub server: TestServer,
    database: Database,
    token_key: [u8; 32],
    clock: Arc<dyn Clock>,
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn documents(text: &str) -> Vec<Document> {
    parse_file(text, &mut |name| Err(name.to_owned())).unwrap()
}

/// Sixteen bytes that no other link of this run has.
fn random() -> [u8; 16] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut random = [7; 16];
    random[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    random
}

impl Desk {
    pub async fn start() -> Self {
        Self::start_with(ACCOUNT, Arc::new(SystemClock::new())).await
    }

    pub async fn start_with(account: &str, clock: Arc<dyn Clock>) -> Self {
        Self::start_telling(account, clock, &[]).await
    }

    /// With settings of the server, e.g. of whom it tells.
    pub async fn start_telling(
        account: &str,
        clock: Arc<dyn Clock>,
        settings: &[(&str, &str)],
    ) -> Self {
        let database = Database::new();
        let server = TestServer::start_with(&database, Arc::clone(&clock), settings).await;
        let store = database.open().await;
        let token_key = store.identity().token_key;
        store.close().await;
        server.write(documents(account)).await;
        Self {
            server,
            database,
            token_key,
            clock,
        }
    }

    /// Another server on the same database.
    pub async fn replica(&self) -> TestServer {
        TestServer::start_on(&self.database, Arc::clone(&self.clock)).await
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.server.http)
    }

    /// Files a request of an account, and answers its id.
    pub async fn file_in(
        &self,
        account: &str,
        user: &str,
        action: &str,
        resource_id: &str,
        reason: &str,
    ) -> String {
        let filed = self
            .server
            .requests()
            .file_access_request(wire::FileAccessRequestRequest {
                account_id: account.to_owned(),
                user_id: user.to_owned(),
                resource_type: "contact".to_owned(),
                action: action.to_owned(),
                resource_id: resource_id.to_owned(),
                reason: reason.to_owned(),
                wanted_seconds: Some(7 * 24 * 3_600),
                origin_url: "https://crm.example.com/contacts?tab=all".to_owned(),
                ..wire::FileAccessRequestRequest::default()
            })
            .await
            .unwrap();
        filed.into_inner().access_request.unwrap().id
    }

    /// `lena` asks for what she is denied on a contact.
    pub async fn file(&self, action: &str, resource_id: &str) -> String {
        let reason = "The audit of the spring fair, until Friday";
        self.file_in("acme", "lena", action, resource_id, reason)
            .await
    }

    pub fn links(&self, time_to_live: Duration) -> Links {
        Links::new(
            self.token_key,
            &format!("http://{}", self.server.http),
            time_to_live,
        )
    }

    pub fn link_in(&self, account: &str, request: &str, user: &str, approver: &str) -> String {
        self.links(HOUR).make(
            &id(account),
            &id(request),
            &id(user),
            &id(approver),
            random(),
            self.clock.now(),
        )
    }

    /// A link to a request of `lena`'s.
    pub fn link(&self, request: &str, approver: &str) -> String {
        self.link_in("acme", request, "lena", approver)
    }

    pub async fn state_in(&self, account: &str, request: &str) -> wire::AccessRequestState {
        let read = self
            .server
            .requests()
            .get_access_request(wire::GetAccessRequestRequest {
                account_id: account.to_owned(),
                access_request_id: request.to_owned(),
            })
            .await
            .unwrap();
        read.into_inner().access_request.unwrap().state()
    }

    pub async fn state(&self, request: &str) -> wire::AccessRequestState {
        self.state_in("acme", request).await
    }

    pub async fn change(&self, document: &str) {
        self.server.write(documents(document)).await;
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// What `lena` is answered on a contact, at a revision or later; empty: as it is now.
pub async fn check(
    server: &TestServer,
    action: &str,
    resource_id: &str,
    revision: &str,
) -> wire::CheckResponse {
    let answer = server
        .decisions()
        .check(wire::CheckRequest {
            account_id: "acme".to_owned(),
            user_id: "lena".to_owned(),
            action: action.to_owned(),
            resource_type: "contact".to_owned(),
            resource_id: resource_id.to_owned(),
            consistency: (!revision.is_empty()).then(|| at_least(revision)).flatten(),
            ..wire::CheckRequest::default()
        })
        .await
        .unwrap();
    answer.into_inner()
}

pub fn is_allow(answer: &wire::CheckResponse) -> bool {
    answer.decision() == wire::Decision::Allow
}
