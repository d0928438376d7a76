//! The real server in this process: real store, real port, real clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ambit::app::App;
use ambit::authz::document::{Document, parse_file};
use ambit::clock::{Clock, SystemClock};
use ambit::config::Config;
use ambit::grpc::convert::change_to_wire;
use ambit::grpc::wire;
use ambit::grpc::wire::access_request_service_client::AccessRequestServiceClient;
use ambit::grpc::wire::decision_service_client::DecisionServiceClient;
use ambit::grpc::wire::directory_service_client::DirectoryServiceClient;
use ambit::grpc::wire::partition_service_client::PartitionServiceClient;
use ambit::grpc::wire::partner_service_client::PartnerServiceClient;
use ambit::shutdown::Shutdown;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::database::Database;

pub struct TestServer {
    pub channel: Channel,
    pub shutdown: Shutdown,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    running: JoinHandle<()>,
    /// Kept as long as the server.
    database: Option<Database>,
}

impl TestServer {
    /// Answers when the server says that it serves.
    pub async fn start() -> Self {
        let database = Database::new();
        let mut server = Self::start_on(&database, Arc::new(SystemClock::new())).await;
        server.database = Some(database);
        server
    }

    /// One of several on a database that the caller keeps, with a clock of the caller's.
    pub async fn start_on(database: &Database, clock: Arc<dyn Clock>) -> Self {
        Self::start_with(database, clock, &[]).await
    }

    /// The same with further settings.
    pub async fn start_with(
        database: &Database,
        clock: Arc<dyn Clock>,
        more: &[(&str, &str)],
    ) -> Self {
        let settings = [&[database.setting()], more].concat();
        Self::start_with_settings(clock, &settings).await
    }

    /// With these settings alone, the database's among them.
    pub async fn start_with_settings(clock: Arc<dyn Clock>, settings: &[(&str, &str)]) -> Self {
        let flags: BTreeMap<String, String> = [
            ("grpc_address", "127.0.0.1:0"),
            ("http_address", "127.0.0.1:0"),
        ]
        .iter()
        .chain(settings)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
        let config = Config::load(&flags, [], None).unwrap();
        let shutdown = Shutdown::new();
        let app = App::start(&config, clock, shutdown.clone()).await.unwrap();
        let address = app.grpc_address();
        let http = app.http_address();
        let running = tokio::spawn(async move { app.run().await.unwrap() });
        let channel = Channel::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .unwrap();
        let server = Self {
            channel,
            shutdown,
            http,
            grpc: address,
            running,
            database: None,
        };
        server.wait_until_serving().await;
        server
    }

    async fn wait_until_serving(&self) {
        let mut statuses = self
            .health()
            .watch(HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner();
        while let Some(answer) = statuses.message().await.unwrap() {
            if answer.status() == ServingStatus::Serving {
                return;
            }
        }
        panic!("the server ended before it served");
    }

    /// Where it answers, for clients that make their own connections.
    pub fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    pub fn decisions(&self) -> DecisionServiceClient<Channel> {
        DecisionServiceClient::new(self.channel.clone())
    }

    pub fn requests(&self) -> AccessRequestServiceClient<Channel> {
        AccessRequestServiceClient::new(self.channel.clone())
    }

    pub fn directory(&self) -> DirectoryServiceClient<Channel> {
        DirectoryServiceClient::new(self.channel.clone())
    }

    pub fn partitions(&self) -> PartitionServiceClient<Channel> {
        PartitionServiceClient::new(self.channel.clone())
    }

    pub fn partners(&self) -> PartnerServiceClient<Channel> {
        PartnerServiceClient::new(self.channel.clone())
    }

    pub fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    /// Writes all documents of a file; account ids with their revisions.
    pub async fn load(&self, file: &str) -> Vec<(String, String)> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let folder = path.parent().unwrap();
        let mut catalogs = |name: &str| {
            std::fs::read_to_string(folder.join(name)).map_err(|error| error.to_string())
        };
        let documents =
            parse_file(&text, &mut catalogs).unwrap_or_else(|error| panic!("{file}: {error}"));
        self.write(documents).await
    }

    /// Writes documents; account ids with their revisions.
    pub async fn write(&self, documents: Vec<Document>) -> Vec<(String, String)> {
        let mut loaded = Vec::new();
        for document in documents {
            let account = document.account_id().to_string();
            let changes = document.to_changes(None, false).unwrap();
            let changes = changes.iter().map(change_to_wire).collect();
            let revision = self.apply(&account, changes).await.unwrap().revision;
            loaded.push((account, revision));
        }
        loaded
    }

    /// One write, in messages of a thousand changes.
    pub async fn apply(
        &self,
        account: &str,
        changes: Vec<wire::Change>,
    ) -> Result<wire::ApplyChangesResponse, Status> {
        let mut messages: Vec<wire::ApplyChangesRequest> = changes
            .chunks(1_000)
            .map(|changes| wire::ApplyChangesRequest {
                changes: changes.to_vec(),
                ..wire::ApplyChangesRequest::default()
            })
            .collect();
        if messages.is_empty() {
            messages.push(wire::ApplyChangesRequest::default());
        }
        account.clone_into(&mut messages[0].account_id);
        self.send(messages).await
    }

    pub async fn send(
        &self,
        messages: Vec<wire::ApplyChangesRequest>,
    ) -> Result<wire::ApplyChangesResponse, Status> {
        let answer = self
            .directory()
            .apply_changes(tokio_stream::iter(messages))
            .await?;
        Ok(answer.into_inner())
    }

    /// An Enterprise account with a super admin `sa`, a user `u` who may view all contacts and none
    /// of the deals, and contacts by these ids; its revision.
    pub async fn make_account(&self, account: &str, contacts: &[String]) -> String {
        let mut changes = vec![
            change(wire::change::Change::PutAccount(wire::AccountPatch {
                catalog: Some(built_in("hubspot")),
                plan: Some("enterprise".to_owned()),
                ..wire::AccountPatch::default()
            })),
            put_user("sa", Some(true)),
            put_user("u", None),
            grant("u", "contact", "view", wire::Level::Everything),
        ];
        changes.extend(contacts.iter().map(|id| put_contact(id)));
        self.apply(account, changes).await.unwrap().revision
    }

    /// Ends the server and waits until it has ended.
    pub async fn stop(self) {
        self.shutdown.begin();
        drop(self.channel);
        self.running.await.unwrap();
    }
}

pub fn change(change: wire::change::Change) -> wire::Change {
    wire::Change {
        change: Some(change),
    }
}

pub fn built_in(name: &str) -> wire::CatalogRef {
    wire::CatalogRef {
        catalog: Some(wire::catalog_ref::Catalog::BuiltIn(name.to_owned())),
    }
}

pub fn put_user(id: &str, super_admin: Option<bool>) -> wire::Change {
    change(wire::change::Change::PutUser(wire::UserPatch {
        id: id.to_owned(),
        super_admin,
        ..wire::UserPatch::default()
    }))
}

pub fn grant(user: &str, resource_type: &str, action: &str, level: wire::Level) -> wire::Change {
    change(wire::change::Change::SetGrants(wire::SetGrants {
        holder: Some(wire::set_grants::Holder::UserId(user.to_owned())),
        resource_type: resource_type.to_owned(),
        permission: action.to_owned(),
        provenance: String::new(),
        terms: vec![wire::GrantTerms {
            level: level.into(),
            ..wire::GrantTerms::default()
        }],
    }))
}

pub fn put_contact(id: &str) -> wire::Change {
    change(wire::change::Change::PutResource(wire::ResourcePatch {
        resource_type: "contact".to_owned(),
        id: id.to_owned(),
        ..wire::ResourcePatch::default()
    }))
}

pub fn delete_contact(id: &str) -> wire::Change {
    change(wire::change::Change::DeleteResource(wire::ResourceRef {
        resource_type: "contact".to_owned(),
        id: id.to_owned(),
    }))
}

/// `View contact` by the user `u`.
pub fn check(account: &str, resource_id: &str) -> wire::CheckRequest {
    wire::CheckRequest {
        account_id: account.to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: resource_id.to_owned(),
        ..wire::CheckRequest::default()
    }
}

/// What `u` may view of the contacts.
pub fn list(account: &str) -> wire::ListAccessibleRequest {
    wire::ListAccessibleRequest {
        account_id: account.to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        ..wire::ListAccessibleRequest::default()
    }
}

pub fn at_least(revision: &str) -> Option<wire::Consistency> {
    Some(wire::Consistency {
        requirement: Some(wire::consistency::Requirement::AtLeastAsFresh(
            revision.to_owned(),
        )),
    })
}

pub fn fully_consistent() -> Option<wire::Consistency> {
    Some(wire::Consistency {
        requirement: Some(wire::consistency::Requirement::FullyConsistent(true)),
    })
}
