//! An account with people of every kind, and servers that share its database and its clock.

use std::sync::Arc;
use std::time::Duration;

use ambit::authz::document::parse_file;
use ambit::authz::model::Timestamp;
use ambit::clock::ManualClock;
use ambit::grpc::convert::timestamp_to_wire;
use ambit::grpc::wire;
use ambit::store::Store;
use tonic::Status;
use wire::resolution::Kind;

use crate::database::Database;
use crate::grpc::server::{TestServer, at_least};

pub const START: &str = "2026-11-22T12:00:00Z";

/// `u` may view own contacts and has none; `c1` is walled to France, so it is an OBJECT request, and
/// exporting contacts is a TOOL request. `t` may view those of teams, and `c3` is Germany's. `sa` is above the ceiling; `boss` manages users, may
/// assign, and holds viewing and exporting; `junior` manages users and holds nothing else.
pub const ACME: &str = "
account: acme
catalog: hubspot
plan: enterprise
teams: [{id: de}, {id: fr}]
permission_sets:
  - {id: exporters, grants: {contact.export: everything}}
users:
  - {id: sa, super_admin: true, seats: [core]}
  - {id: boss, main_team: fr, seats: [core], grants: {user_management.edit: everything, partition.assign: everything, contact.view: everything, contact.export: everything}}
  - {id: junior, seats: [core], grants: {user_management.edit: everything}}
  - {id: u, main_team: de, person: una, seats: [core], grants: {contact.view: owned}}
  - {id: u-admin, super_admin: true, person: una, seats: [core]}
  - {id: w, main_team: de, seats: [core], grants: {contact.view: owned}}
  - {id: t, main_team: de, seats: [core], grants: {contact.view: team}}
  - {id: v, main_team: fr, seats: [core], grants: {contact.view: team}}
resources:
  - {type: contact, id: c1, owners: [v], assigned_to: [team:fr]}
  - {type: contact, id: c2, owners: [v], assigned_to: [team:fr]}
  - {type: contact, id: c3, owners: [v], owning_team: de}
  - {type: contact, id: mine, owners: [u]}
";

pub struct Scene {
    pub clock: Arc<ManualClock>,
    database: Database,
}

impl Scene {
    /// Beside the server.
    pub async fn store(&self) -> Arc<dyn Store> {
        self.database.open().await
    }

    pub fn new() -> Self {
        Self {
            clock: Arc::new(ManualClock::at(Timestamp::parse(START).unwrap())),
            database: Database::new(),
        }
    }

    /// Another server on the same database and clock.
    pub async fn server(&self) -> TestServer {
        TestServer::start_on(&self.database, self.clock.clone()).await
    }

    /// The same with further settings.
    pub async fn server_with(&self, more: &[(&str, &str)]) -> TestServer {
        TestServer::start_with(&self.database, self.clock.clone(), more).await
    }

    /// A server on a database with the account in it.
    pub async fn with_acme() -> (Self, TestServer) {
        let scene = Self::new();
        let server = scene.server().await;
        server.put(ACME).await;
        (scene, server)
    }

    /// A moment so many seconds after now.
    pub fn after(&self, seconds: i64) -> Option<prost_types::Timestamp> {
        use ambit::clock::Clock as _;
        let micros = self.clock.now().unix_micros() + seconds * 1_000_000;
        Some(timestamp_to_wire(
            Timestamp::from_unix_micros(micros).unwrap(),
        ))
    }
}

impl TestServer {
    /// Writes documents; the revision of the last one.
    pub async fn put(&self, documents: &str) -> String {
        let parsed = parse_file(documents, &mut |name| Err(name.to_owned())).unwrap();
        self.write(parsed).await.pop().unwrap().1
    }

    pub async fn file(
        &self,
        request: wire::FileAccessRequestRequest,
    ) -> Result<wire::FileAccessRequestResponse, Status> {
        let answer = self.requests().file_access_request(request).await?;
        Ok(answer.into_inner())
    }

    /// The id of a request that is filed now.
    pub async fn filed(&self, request: wire::FileAccessRequestRequest) -> String {
        let answer = self.file(request).await.unwrap();
        assert!(!answer.existing, "{answer:?}");
        answer.access_request.unwrap().id
    }

    pub async fn get(&self, account: &str, id: &str) -> Result<wire::AccessRequest, Status> {
        let request = wire::GetAccessRequestRequest {
            account_id: account.to_owned(),
            access_request_id: id.to_owned(),
        };
        let answer = self.requests().get_access_request(request).await?;
        Ok(answer.into_inner().access_request.unwrap())
    }

    pub async fn state(&self, id: &str) -> wire::AccessRequestState {
        self.get("acme", id).await.unwrap().state()
    }

    pub async fn events(&self, id: &str) -> Vec<wire::AccessRequestEvent> {
        let request = wire::ListAccessRequestEventsRequest {
            account_id: "acme".to_owned(),
            access_request_id: id.to_owned(),
        };
        let answer = self.requests().list_access_request_events(request).await;
        answer.unwrap().into_inner().events
    }

    pub async fn approve(
        &self,
        request: wire::ApproveAccessRequestRequest,
    ) -> Result<wire::ApproveAccessRequestResponse, Status> {
        let answer = self.requests().approve_access_request(request).await?;
        Ok(answer.into_inner())
    }

    pub async fn deny(
        &self,
        id: &str,
        by: &str,
    ) -> Result<wire::DenyAccessRequestResponse, Status> {
        let request = wire::DenyAccessRequestRequest {
            account_id: "acme".to_owned(),
            access_request_id: id.to_owned(),
            approver_user_id: by.to_owned(),
            reason: "not this one".to_owned(),
            ..wire::DenyAccessRequestRequest::default()
        };
        Ok(self
            .requests()
            .deny_access_request(request)
            .await?
            .into_inner())
    }

    pub async fn cancel(
        &self,
        id: &str,
        by: &str,
    ) -> Result<wire::CancelAccessRequestResponse, Status> {
        let request = wire::CancelAccessRequestRequest {
            account_id: "acme".to_owned(),
            access_request_id: id.to_owned(),
            user_id: by.to_owned(),
            ..wire::CancelAccessRequestRequest::default()
        };
        Ok(self
            .requests()
            .cancel_access_request(request)
            .await?
            .into_inner())
    }

    pub async fn revoke(
        &self,
        id: &str,
        by: &str,
    ) -> Result<wire::RevokeAccessRequestResponse, Status> {
        let request = wire::RevokeAccessRequestRequest {
            account_id: "acme".to_owned(),
            access_request_id: id.to_owned(),
            approver_user_id: by.to_owned(),
            ..wire::RevokeAccessRequestRequest::default()
        };
        Ok(self
            .requests()
            .revoke_access_request(request)
            .await?
            .into_inner())
    }

    pub async fn suggest(&self, id: &str, approver: &str) -> Result<Vec<wire::Suggestion>, Status> {
        let request = wire::SuggestResolutionsRequest {
            account_id: "acme".to_owned(),
            access_request_id: id.to_owned(),
            approver_user_id: approver.to_owned(),
            expires_at: None,
        };
        let answer = self.requests().suggest_resolutions(request).await?;
        Ok(answer.into_inner().suggestions)
    }

    /// The check of what a user asks for, at a revision or, where that is empty, as it is now.
    pub async fn checked(
        &self,
        asked: &wire::FileAccessRequestRequest,
        revision: &str,
    ) -> wire::CheckResponse {
        let consistency = match revision {
            "" => crate::grpc::server::fully_consistent(),
            revision => at_least(revision),
        };
        let request = wire::CheckRequest {
            account_id: asked.account_id.clone(),
            user_id: asked.user_id.clone(),
            action: asked.action.clone(),
            resource_type: asked.resource_type.clone(),
            resource_id: asked.resource_id.clone(),
            consistency,
            ..wire::CheckRequest::default()
        };
        self.decisions().check(request).await.unwrap().into_inner()
    }

    pub async fn allows(&self, asked: &wire::FileAccessRequestRequest, revision: &str) -> bool {
        let answer = self.checked(asked, revision).await;
        answer.decision() == wire::Decision::Allow
    }
}

/// `user` wants to view a contact.
pub fn view(user: &str, contact: &str) -> wire::FileAccessRequestRequest {
    wire::FileAccessRequestRequest {
        account_id: "acme".to_owned(),
        user_id: user.to_owned(),
        resource_type: "contact".to_owned(),
        action: "view".to_owned(),
        resource_id: contact.to_owned(),
        reason: "I take over this customer".to_owned(),
        ..wire::FileAccessRequestRequest::default()
    }
}

/// `user` wants to export contacts.
pub fn export(user: &str) -> wire::FileAccessRequestRequest {
    wire::FileAccessRequestRequest {
        action: "export".to_owned(),
        reason: "The yearly report".to_owned(),
        ..view(user, "")
    }
}

pub fn approval(id: &str, by: &str, kind: Kind) -> wire::ApproveAccessRequestRequest {
    wire::ApproveAccessRequestRequest {
        account_id: "acme".to_owned(),
        access_request_id: id.to_owned(),
        approver_user_id: by.to_owned(),
        resolution: Some(wire::Resolution { kind: Some(kind) }),
        ..wire::ApproveAccessRequestRequest::default()
    }
}

pub fn object_grant() -> Kind {
    Kind::ObjectGrant(wire::ObjectGrantResolution {})
}

pub fn direct_grant(permission: &str, level: wire::Level) -> Kind {
    Kind::DirectGrant(wire::GrantOffer {
        resource_type: "contact".to_owned(),
        permission: permission.to_owned(),
        level: level.into(),
        include_unassigned: false,
    })
}

/// Waits for what must come to be, and fails where it doesn't.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    crate::faults::replica::until(what, || condition()).await;
}

pub const DAY: Duration = Duration::from_secs(86_400);
