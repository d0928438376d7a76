//! The standard services: health, reflection in both versions, and the end of streams.

use std::collections::BTreeSet;

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use super::server::{TestServer, check};
use super::{collect, reason};

const SERVED: [&str; 2] = ["ambit.v1.DecisionService", "ambit.v1.DirectoryService"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_answers_for_the_server_and_for_each_service() {
    let server = TestServer::start().await;
    for service in ["", SERVED[0], SERVED[1]] {
        let answer = server
            .health()
            .check(HealthCheckRequest {
                service: service.to_owned(),
            })
            .await
            .unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    }
    let unknown = server
        .health()
        .check(HealthCheckRequest {
            service: "ambit.v1.NoSuchService".to_owned(),
        })
        .await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

/// The shutdown has a grace of seconds; a stream that stayed open would use it up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_end_with_the_shutdown() {
    let server = TestServer::start().await;
    server.make_account("acme", &[]).await;
    let mut health = server
        .health()
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut changes = server
        .directory()
        .watch_changes(wire::WatchChangesRequest {
            account_id: "acme".to_owned(),
            after_revision: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    assert!(changes.message().await.unwrap().is_some());
    assert_eq!(
        health.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    let ending = tokio::spawn(server.stop());
    assert_eq!(
        health.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    assert!(health.message().await.unwrap().is_none());
    assert_eq!(reason(collect(changes).await), Reason::ShuttingDown);
    ending.await.unwrap();
}

macro_rules! reflection_test {
    ($test:ident, $version:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, ServerReflectionResponse,
            };

            let server = TestServer::start().await;
            let ask = async |question: MessageRequest| -> ServerReflectionResponse {
                let request = ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(question),
                };
                ServerReflectionClient::new(server.channel.clone())
                    .server_reflection_info(tokio_stream::iter([request]))
                    .await
                    .unwrap()
                    .into_inner()
                    .message()
                    .await
                    .unwrap()
                    .unwrap()
            };
            let answer = ask(MessageRequest::ListServices(String::new())).await;
            let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response
            else {
                panic!("no list of services: {answer:?}");
            };
            let names: BTreeSet<&str> = services
                .service
                .iter()
                .map(|service| service.name.as_str())
                .collect();
            for service in SERVED.iter().chain(&["grpc.health.v1.Health"]) {
                assert!(
                    names.contains(service),
                    "{service} is not reflected: {names:?}"
                );
            }
            // What a generic client needs to call and to print errors.
            for symbol in [
                "ambit.v1.DecisionService",
                "ambit.v1.DecisionService.ListAccessible",
                "ambit.v1.CheckRequest",
                "google.rpc.ErrorInfo",
                "google.rpc.BadRequest",
            ] {
                let answer = ask(MessageRequest::FileContainingSymbol(symbol.to_owned())).await;
                let Some(MessageResponse::FileDescriptorResponse(files)) = answer.message_response
                else {
                    panic!("{symbol} is not reflected: {answer:?}");
                };
                let file = FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).unwrap();
                assert!(!file.name().is_empty(), "{symbol}");
            }
            server.stop().await;
        }
    };
}

reflection_test!(reflection_v1_finds_the_services, v1);
reflection_test!(reflection_v1alpha_finds_the_services, v1alpha);

/// Every rpc that the contract names is there, by the descriptors that reflection serves.
#[test]
fn the_contract_is_served_whole() {
    let set = prost_types::FileDescriptorSet::decode(wire::FILE_DESCRIPTOR_SET).unwrap();
    let methods: BTreeSet<String> = set
        .file
        .iter()
        .flat_map(|file| &file.service)
        .flat_map(|service| {
            service
                .method
                .iter()
                .map(|method| format!("{}/{}", service.name(), method.name()))
        })
        .collect();
    let expected: BTreeSet<String> = [
        ("DecisionService", "Check BatchCheck ListAccessible FilterAccessible FilterAccessibleStream ListUsersWithAccess ListActions Explain"),
        ("DirectoryService", "CreateAccount GetAccount DeleteAccount ListAccounts ApplyChanges ImportResources ExportAccount ListTeams ListUsers GetUser ListResources GetResource ListPermissionSets ListAccessGroups ListSegments WatchChanges ListAuditRecords ListGrantsBeyondCeiling"),
        ("AccessRequestService", "FileAccessRequest GetAccessRequest ListAccessRequests SuggestResolutions ApproveAccessRequest DenyAccessRequest CancelAccessRequest RevokeAccessRequest CreateRequestLink WatchAccessRequests ListAccessRequestEvents ListNotifications ReplayNotification"),
        ("PartitionService", "AssignResources Unpartition UndoBatch UndoImport PutForm DeleteForm ListForms SubmitForm PreviewChanges ListPreviewedAccess WatchAccess ListSegmentJobs GetSegmentJob RecalculateSegment"),
        ("PartnerService", "CreateAccessLink RevokeAccessLink ListAccessLinks ApproveAccessLink EndPartnership ListClients ListPartnerEmployees ListContractors AddStaff LinkContractor ChangePermissionSet PreviewRemoval CommitRemoval DeactivateEmployee ReactivateEmployee MigrateToPartnerAdmin"),
    ]
    .iter()
    .flat_map(|(service, methods)| methods.split(' ').map(move |method| format!("{service}/{method}")))
    .collect();
    assert_eq!(methods, expected);
}

/// C17: what a write answers is seen at once by whoever hands the revision back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_is_answered_everywhere_and_read_at() {
    let server = TestServer::start().await;
    let created = server.make_account("acme", &["c1".to_owned()]).await;
    let answer = server
        .decisions()
        .check(wire::CheckRequest {
            consistency: super::server::at_least(&created),
            ..check("acme", "c1")
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.revision, created);
    assert_eq!(answer.decision(), wire::Decision::Allow);
    let fresh = server
        .decisions()
        .check(wire::CheckRequest {
            consistency: super::server::fully_consistent(),
            ..check("acme", "c1")
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(fresh.revision, created);
    server.stop().await;
}
