//! The layer before a gRPC service: the standard health service stands for any.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ambit::client::layer::{CheckLayer, GrpcStatus, Unasked};
use ambit::client::{Client, Consistency, Question};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use super::client_of;
use crate::grpc::server::TestServer;

fn ask(request: &Request<Body>) -> Result<Question, Unasked> {
    let user = request
        .headers()
        .get("x-user")
        .and_then(|user| user.to_str().ok())
        .ok_or_else(Unasked::unauthenticated)?;
    let action = match request.uri().path() {
        "/grpc.health.v1.Health/Check" => "view",
        _ => return Err(Unasked::not_found()),
    };
    Ok(Question::new("acme", user, "contact", action).on("c"))
}

async fn serve(client: Client) -> HealthClient<Channel> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (_reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(
        Server::builder()
            .layer(CheckLayer::new(client, ask, GrpcStatus))
            .add_service(health)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    HealthClient::new(channel)
}

async fn call(service: &mut HealthClient<Channel>, user: &str) -> Result<i32, Status> {
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    if !user.is_empty() {
        request
            .metadata_mut()
            .insert("x-user", user.parse().unwrap());
    }
    Ok(service.check(request).await?.into_inner().status)
}

#[tokio::test]
async fn a_grpc_service_runs_only_behind_an_allow() {
    let server = TestServer::start().await;
    server.make_account("acme", &["c".to_owned()]).await;
    let client = client_of(&server).with_consistency(Consistency::FullyConsistent);
    let mut service = serve(client).await;
    assert_eq!(call(&mut service, "u").await.unwrap(), 1);

    let denied = call(&mut service, "nobody").await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let info = denied.get_details_error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("USER_UNKNOWN", "ambit")
    );
    let metadata: BTreeMap<_, _> = info.metadata.into_iter().collect();
    let expected = [("presentation", "none"), ("requestable", "none")];
    assert_eq!(
        metadata,
        expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into()
    );

    let unknown = call(&mut service, "").await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated);
    let other = service.watch(HealthCheckRequest::default()).await;
    assert_eq!(other.unwrap_err().code(), Code::Unauthenticated);

    // The server is gone: nobody knows, so no.
    server.stop().await;
    let failed = call(&mut service, "u").await.unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable);
    assert!(!failed.message().contains("127.0.0.1"), "{failed:?}");
}
