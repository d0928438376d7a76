//! `ImportResources` as a client meets it.

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::grpc::server::{TestServer, check, fully_consistent};
use crate::grpc::{collect, refused};

fn header(key: &str) -> wire::ImportResourcesRequest {
    wire::ImportResourcesRequest {
        account_id: "acme".to_owned(),
        import_key: key.to_owned(),
        ..wire::ImportResourcesRequest::default()
    }
}

fn row(id: &str) -> wire::ImportRow {
    wire::ImportRow {
        resource: Some(wire::ResourcePatch {
            resource_type: "contact".to_owned(),
            id: id.to_owned(),
            ..wire::ResourcePatch::default()
        }),
        ..wire::ImportRow::default()
    }
}

fn numbered(count: usize) -> Vec<wire::ImportRow> {
    (0..count)
        .map(|number| row(&format!("n{number}")))
        .collect()
}

fn with_rows(rows: Vec<wire::ImportRow>) -> wire::ImportResourcesRequest {
    wire::ImportResourcesRequest {
        rows,
        ..wire::ImportResourcesRequest::default()
    }
}

async fn open(
    server: &TestServer,
    messages: Vec<wire::ImportResourcesRequest>,
) -> Streaming<wire::ImportResourcesResponse> {
    let answer = server
        .directory()
        .import_resources(tokio_stream::iter(messages))
        .await;
    answer.unwrap().into_inner()
}

async fn import(
    server: &TestServer,
    messages: Vec<wire::ImportResourcesRequest>,
) -> Result<Vec<wire::ImportResourcesResponse>, Status> {
    collect(open(server, messages).await).await
}

async fn started() -> TestServer {
    let server = TestServer::start().await;
    server.make_account("acme", &["c1".to_owned()]).await;
    server
}

async fn exists(server: &TestServer, id: &str) -> bool {
    let request = wire::GetResourceRequest {
        account_id: "acme".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: id.to_owned(),
        consistency: fully_consistent(),
    };
    server.directory().get_resource(request).await.is_ok()
}

#[tokio::test]
async fn every_batch_is_told_and_the_last_answer_sees_all_of_it() {
    let server = started().await;
    let first = wire::ImportResourcesRequest {
        batch_rows: 100,
        ..header("k")
    };
    // How rows are cut into messages means nothing.
    let rows = numbered(250);
    let messages = [
        vec![first],
        rows.chunks(70)
            .map(|rows| with_rows(rows.to_vec()))
            .collect(),
    ]
    .concat();
    let answers = import(&server, messages).await.unwrap();
    let written: Vec<u64> = answers
        .iter()
        .map(|answer| answer.progress.unwrap().written)
        .collect();
    assert_eq!(written, [100, 200, 250, 250]);
    let last = answers.last().unwrap();
    assert_eq!(last.end(), wire::ImportEnd::Complete);
    let consistency = crate::grpc::server::at_least(&last.revision);
    let asked = wire::CheckRequest {
        consistency,
        ..check("acme", "n249")
    };
    let answer = server.decisions().check(asked).await.unwrap();
    assert_eq!(answer.into_inner().decision(), wire::Decision::Allow);
    server.stop().await;
}

#[tokio::test]
async fn the_header_is_judged_before_any_row() {
    let server = started().await;
    let long = "k".repeat(201);
    let cases = [
        (
            wire::ImportResourcesRequest::default(),
            Reason::InvalidField,
            "account_id",
        ),
        (header(""), Reason::InvalidField, "import_key"),
        (header(&long), Reason::InvalidField, "import_key"),
        (
            wire::ImportResourcesRequest {
                account_id: "nobody".to_owned(),
                ..header("k")
            },
            Reason::AccountNotFound,
            "account_id",
        ),
        (
            wire::ImportResourcesRequest {
                job: "a\nb".to_owned(),
                ..header("k")
            },
            Reason::InvalidField,
            "job",
        ),
        (
            wire::ImportResourcesRequest {
                mode: 77,
                ..header("k")
            },
            Reason::InvalidField,
            "mode",
        ),
        (
            wire::ImportResourcesRequest {
                actor_user_id: "nobody".to_owned(),
                ..header("k")
            },
            Reason::ActorMayNot,
            "actor_user_id",
        ),
        (
            wire::ImportResourcesRequest {
                targets: vec![wire::Principal::default()],
                ..header("k")
            },
            Reason::InvalidField,
            "targets[0]",
        ),
        (
            wire::ImportResourcesRequest {
                targets: vec![wire::Principal {
                    principal: Some(wire::principal::Principal::TeamId("nobody".to_owned())),
                }],
                ..header("k")
            },
            Reason::UnknownReference,
            "targets[0]",
        ),
    ];
    for (header, reason, field) in cases {
        let header = wire::ImportResourcesRequest {
            rows: vec![row("x")],
            ..header
        };
        let answer = refused(import(&server, vec![header]).await);
        assert_eq!(answer, (reason, Some(field.to_owned())));
    }
    assert_eq!(
        refused(import(&server, Vec::new()).await),
        (Reason::InvalidField, Some("account_id".to_owned()))
    );
    let again = refused(import(&server, vec![header("k"), header("k")]).await);
    assert_eq!(again, (Reason::InvalidField, Some("account_id".to_owned())));
    assert!(!exists(&server, "x").await);
    server.stop().await;
}

#[tokio::test]
async fn rows_are_told_by_line_field_and_reason_and_spoil_no_other_batch() {
    let server = started().await;
    let first = wire::ImportResourcesRequest {
        batch_rows: 10,
        ..header("k")
    };
    let mut rows = numbered(20);
    rows[0] = row("");
    rows[1].line = 700;
    rows[1].resource = None;
    rows[2].line = 701;
    rows[2].unreadable = Some(wire::ImportLineError {
        field: "attributes_json".to_owned(),
        message: "torn".to_owned(),
        ..wire::ImportLineError::default()
    });
    rows[3].resource.as_mut().unwrap().attributes_json = Some("[]".to_owned());
    rows[4].resource.as_mut().unwrap().owners = Some(wire::IdList {
        ids: vec!["u".to_owned(), "nobody".to_owned()],
    });
    rows[5].assigned_to = vec![wire::ImportAssignment {
        principal: None,
        expires_at: None,
    }];
    rows[6].assigned_to = vec![wire::ImportAssignment {
        principal: Some(wire::Principal {
            principal: Some(wire::principal::Principal::TeamId("nowhere".to_owned())),
        }),
        expires_at: None,
    }];
    let answers = import(&server, vec![first, with_rows(rows)]).await.unwrap();
    let errors: Vec<(u64, &str, &str)> = answers
        .iter()
        .flat_map(|answer| &answer.errors)
        .map(|error| (error.line, error.field.as_str(), error.reason.as_str()))
        .collect();
    assert_eq!(
        errors,
        [
            (1, "id", "INVALID_FIELD"),
            (4, "attributes_json", "INVALID_FIELD"),
            (5, "owners", "UNKNOWN_REFERENCE"),
            (6, "assigned_to[0].principal", "INVALID_FIELD"),
            (7, "assigned_to[0]", "UNKNOWN_REFERENCE"),
            (700, "resource", "INVALID_FIELD"),
            (701, "attributes_json", "INVALID_FIELD"),
        ]
    );
    let progress = answers.last().unwrap().progress.unwrap();
    assert_eq!(
        (progress.refused, progress.held_back, progress.written),
        (7, 3, 10)
    );
    assert!(!exists(&server, "n9").await && exists(&server, "n10").await);
    server.stop().await;
}

#[tokio::test]
async fn an_import_is_a_stream_both_ways() {
    let server = started().await;
    let (sender, messages) = mpsc::channel(1);
    let first = wire::ImportResourcesRequest {
        batch_rows: 10,
        ..header("k")
    };
    sender.send(first).await.unwrap();
    let answer = server
        .directory()
        .import_resources(ReceiverStream::new(messages))
        .await;
    let mut answers = answer.unwrap().into_inner();
    // Full before the eleventh row, which waits for more.
    sender.send(with_rows(numbered(15))).await.unwrap();
    let answer = answers.next().await.unwrap().unwrap();
    assert_eq!(answer.progress.unwrap().written, 10);
    assert!(exists(&server, "n9").await && !exists(&server, "n10").await);
    // In good order the end of the stream writes what waited.
    drop(sender);
    let last = collect(answers).await.unwrap().pop().unwrap();
    assert_eq!(last.progress.unwrap().written, 15);
    assert!(exists(&server, "n14").await);
    server.stop().await;
}

#[tokio::test]
async fn what_is_too_large_or_says_something_else_under_the_key_is_refused() {
    let server = started().await;
    let mut large = row("large");
    large.resource.as_mut().unwrap().attributes_json =
        Some(format!("{{\"a\":\"{}\"}}", "x".repeat(70_000)));
    let answers = import(&server, vec![header("k"), with_rows(vec![large])]).await;
    let errors = answers.unwrap().remove(0).errors;
    assert_eq!(
        (errors[0].field.as_str(), errors[0].reason.as_str()),
        ("attributes_json", "TOO_MANY_CHANGES")
    );
    let mut huge = row("huge");
    huge.resource.as_mut().unwrap().attributes_json = Some("x".repeat(5 * 1024 * 1024));
    let answer = import(&server, vec![header("k"), with_rows(vec![huge])]).await;
    assert_eq!(refused(answer).0, Reason::MessageTooLarge);

    import(&server, vec![header("k"), with_rows(numbered(3))])
        .await
        .unwrap();
    let answer = import(&server, vec![header("k"), with_rows(numbered(4))]).await;
    assert_eq!(
        refused(answer),
        (Reason::IdempotencyKeyReused, Some("import_key".to_owned()))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_shuts_down_ends_an_import_between_two_batches() {
    let server = started().await;
    let (sender, messages) = mpsc::channel(1);
    sender.send(header("k")).await.unwrap();
    let answer = server
        .directory()
        .import_resources(ReceiverStream::new(messages))
        .await;
    let answers = answer.unwrap().into_inner();
    sender.send(with_rows(numbered(5))).await.unwrap();
    server.shutdown.begin();
    let ended = collect(answers).await;
    assert_eq!(refused(ended).0, Reason::ShuttingDown);
    server.stop().await;
}
