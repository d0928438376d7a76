//! Bytes that no honest client sends (case 27): each is an error of its own, and the server lives.

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use prost::Message as _;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};

use super::server::{TestServer, check};
use super::{names, reason};

/// Sends a body as it is, and reads the status that comes back.
async fn send(server: &TestServer, method: &str, encoding: Option<&str>, body: Vec<u8>) -> Status {
    let mut request = Request::builder()
        .method("POST")
        .uri(format!("http://ambit/ambit.v1.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let request = request
        .body(Body::new(axum::body::Body::from(body)))
        .unwrap();
    let mut channel = server.channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    let response: Response<Body> = channel.call(request).await.unwrap();
    Status::from_header_map(response.headers()).expect("an error is told in the headers")
}

/// The frame of one message: not compressed, its length, its bytes.
fn frame(compressed: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![compressed];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// A length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    encoded.extend_from_slice(bytes);
    encoded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_27_what_is_no_message_is_invalid_and_the_server_lives() {
    let server = TestServer::start().await;
    server.make_account("acme", &["c1".to_owned()]).await;
    let mut deep = Vec::new();
    deep.extend(std::iter::repeat_n(0xa3_u8, 1_000).flat_map(|start| [start, 0x06]));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        (
            "invalid UTF-8 in a string",
            frame(0, &field(1, b"\xff\xfe")),
        ),
        ("an overlong form of NUL", frame(0, &field(2, b"\xc0\x80"))),
        ("a surrogate", frame(0, &field(2, b"\xed\xa0\x80"))),
        ("a field that is cut off", frame(0, &[0x0a, 0x7f, b'a'])),
        ("a tag without an end", frame(0, &[0xff; 11])),
        ("a wire type that does not exist", frame(0, &[0x0f])),
        ("groups a thousand deep", frame(0, &deep)),
        ("a string where a message is", frame(0, &[0x30, 0x01])),
        ("random bytes", frame(0, &(0..255).collect::<Vec<u8>>())),
        ("a frame that is cut off", frame(0, b"abc")[..6].to_vec()),
        ("a compression flag that does not exist", frame(7, b"")),
    ];
    for (what, body) in cases {
        let status = send(&server, "DecisionService/Check", None, body).await;
        assert_eq!(
            Reason::of(&status),
            Some(Reason::MalformedMessage),
            "{what}: {status:?}"
        );
        assert_eq!(status.code(), Code::InvalidArgument, "{what}");
    }
    // Fields that are not known yet are skipped, as protobuf has it.
    let mut newer = check("acme", "c1").encode_to_vec();
    newer.extend(field(15, b"of the future"));
    let answer: Result<Vec<u8>, Status> = raw(&server, newer).await;
    let answer = wire::CheckResponse::decode(&*answer.unwrap()).unwrap();
    assert_eq!(answer.reason, "EVERYTHING");
    server.stop().await;
}

async fn raw(server: &TestServer, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let request = Request::builder()
        .method("POST")
        .uri("http://ambit/ambit.v1.DecisionService/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(axum::body::Body::from(frame(0, &message))))
        .unwrap();
    let mut channel = server.channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    let response = channel.call(request).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return Err(status);
    }
    let body = axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1 << 20)
        .await
        .unwrap();
    Ok(body[5..].to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_27_messages_over_their_limit_are_refused() {
    let server = TestServer::start().await;
    server.make_account("acme", &["c1".to_owned()]).await;
    // 1 MiB and 4 MiB are fine as such, one byte more is not.
    let fill = |bytes: usize| {
        let mut request = check("acme", "c1");
        request.resource_facts = Some(wire::ResourceFacts {
            // Each owner of 200 bytes takes 203.
            owners: vec!["x".repeat(200); bytes / 203],
            ..wire::ResourceFacts::default()
        });
        request
    };
    let fits = fill(1_024 * 1_024 - 1_024);
    server.decisions().check(fits).await.unwrap();
    let over = fill(1_024 * 1_024 + 1_024);
    assert_eq!(
        reason(server.decisions().check(over).await),
        Reason::MessageTooLarge
    );

    let filter = |count: usize| wire::FilterAccessibleRequest {
        account_id: "acme".to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_ids: names("stranger-number-", count),
        ..wire::FilterAccessibleRequest::default()
    };
    let message = filter(150_000);
    assert!(message.encoded_len() < 4 * 1_024 * 1_024);
    server.decisions().filter_accessible(message).await.unwrap();
    let message = filter(200_000);
    assert!(message.encoded_len() > 4 * 1_024 * 1_024);
    assert_eq!(
        reason(server.decisions().filter_accessible(message).await),
        Reason::MessageTooLarge
    );

    // A frame that only says that it is huge, and one that is compressed.
    let mut huge = vec![0];
    huge.extend_from_slice(&u32::MAX.to_be_bytes());
    let status = send(&server, "DecisionService/Check", None, huge).await;
    assert_eq!(
        Reason::of(&status),
        Some(Reason::MessageTooLarge),
        "{status:?}"
    );
    assert_eq!(status.code(), Code::ResourceExhausted);
    let status = send(
        &server,
        "DecisionService/Check",
        Some("gzip"),
        frame(1, b"bomb"),
    )
    .await;
    assert_eq!(
        Reason::of(&status),
        Some(Reason::UnsupportedEncoding),
        "{status:?}"
    );

    let answer = server.decisions().check(check("acme", "c1")).await.unwrap();
    assert_eq!(answer.into_inner().reason, "EVERYTHING");
    server.stop().await;
}

/// Errors in the middle of a client's stream come back as the status of the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_with_a_broken_message_writes_nothing() {
    let server = TestServer::start().await;
    let before = server.make_account("acme", &[]).await;
    let first = wire::ApplyChangesRequest {
        account_id: "acme".to_owned(),
        changes: vec![super::server::put_contact("c1")],
        ..wire::ApplyChangesRequest::default()
    };
    let mut body = frame(0, &first.encode_to_vec());
    body.extend(frame(0, &field(1, b"\xff")));
    let status = send(&server, "DirectoryService/ApplyChanges", None, body).await;
    assert_eq!(
        Reason::of(&status),
        Some(Reason::MalformedMessage),
        "{status:?}"
    );
    let answer = server
        .decisions()
        .check(wire::CheckRequest {
            consistency: super::server::fully_consistent(),
            ..check("acme", "c1")
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.reason, "RESOURCE_NOT_FOUND");
    assert_eq!(answer.revision, before);
    server.stop().await;
}
