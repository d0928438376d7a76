//! Batches and filters: order, limits, and items that are wrong (case 33).

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use tonic::Code;

use super::server::{TestServer, check};
use super::{collect, names, refused};

fn item(resource_id: &str) -> wire::BatchCheckItem {
    wire::BatchCheckItem {
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: resource_id.to_owned(),
        ..wire::BatchCheckItem::default()
    }
}

async fn batch(
    server: &TestServer,
    items: Vec<wire::BatchCheckItem>,
) -> Result<wire::BatchCheckResponse, tonic::Status> {
    let request = wire::BatchCheckRequest {
        account_id: "acme".to_owned(),
        items,
        ..wire::BatchCheckRequest::default()
    };
    let answer = server.decisions().batch_check(request).await?;
    Ok(answer.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_answered_in_order_up_to_its_limit() {
    let server = TestServer::start().await;
    let contacts = names("c", 3);
    let revision = server.make_account("acme", &contacts).await;

    let empty = batch(&server, Vec::new()).await.unwrap();
    assert_eq!(empty.results.len(), 0);
    assert_eq!(empty.revision, revision);

    // Every third is stored, so the order shows; the same item comes many times.
    let questions: Vec<wire::BatchCheckItem> = (0..10_000)
        .map(|number| match number % 3 {
            0 => item("c00001"),
            1 => item("no-such-contact"),
            _ => item(""),
        })
        .collect();
    let answer = batch(&server, questions.clone()).await.unwrap();
    assert_eq!(answer.results.len(), 10_000);
    for (number, result) in answer.results.iter().enumerate() {
        let expected = ["EVERYTHING", "RESOURCE_NOT_FOUND", "TOOL"][number % 3];
        assert_eq!(result.reason, expected, "item {number}");
        assert!(result.error.is_none());
    }

    let one_more = [questions, vec![item("c00001")]].concat();
    assert_eq!(
        refused(batch(&server, one_more).await),
        (Reason::TooManyItems, Some("items".to_owned()))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_item_gets_its_own_error_and_spoils_no_other() {
    let server = TestServer::start().await;
    server.make_account("acme", &names("c", 1)).await;
    let good = item("c00000");
    let cases = [
        (
            wire::BatchCheckItem {
                user_id: String::new(),
                ..good.clone()
            },
            "INVALID_FIELD",
            "user_id",
        ),
        (
            wire::BatchCheckItem {
                action: "fly".to_owned(),
                ..good.clone()
            },
            "UNKNOWN_ACTION",
            "action",
        ),
        (
            wire::BatchCheckItem {
                resource_type: "spaceship".to_owned(),
                ..good.clone()
            },
            "UNKNOWN_RESOURCE_TYPE",
            "resource_type",
        ),
        (
            wire::BatchCheckItem {
                resource_id: String::new(),
                resource_facts: Some(wire::ResourceFacts::default()),
                ..good.clone()
            },
            "INVALID_FIELD",
            "resource_facts",
        ),
        (
            wire::BatchCheckItem {
                at: Some(prost_types::Timestamp {
                    seconds: i64::MAX,
                    nanos: 0,
                }),
                ..good.clone()
            },
            "INVALID_FIELD",
            "at",
        ),
    ];
    let mut items = vec![good.clone()];
    for (bad, _, _) in &cases {
        items.extend([bad.clone(), good.clone()]);
    }
    let results = batch(&server, items).await.unwrap().results;
    assert_eq!(results.len(), 2 * cases.len() + 1);
    for result in results.iter().step_by(2) {
        assert_eq!(result.reason, "EVERYTHING");
    }
    for (result, (_, reason, field)) in results.iter().skip(1).step_by(2).zip(&cases) {
        let error = result.error.as_ref().unwrap();
        assert_eq!(
            (error.reason.as_str(), error.field.as_str()),
            (*reason, *field)
        );
        assert_eq!(error.code, i32::from(Code::InvalidArgument));
        assert!(!error.message.is_empty());
        assert_eq!(result.decision(), wire::Decision::Unspecified);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_may_have_a_time_and_facts_of_its_own() {
    let server = TestServer::start().await;
    server.make_account("acme", &names("c", 1)).await;
    let walled = wire::ResourceFacts {
        assigned_to: vec![wire::DescribedAssignment {
            principal: Some(wire::Principal {
                principal: Some(wire::principal::Principal::UserId("sa".to_owned())),
            }),
            expires_at: None,
        }],
        ..wire::ResourceFacts::default()
    };
    let results = batch(
        &server,
        vec![
            wire::BatchCheckItem {
                resource_facts: Some(walled.clone()),
                ..item("c00000")
            },
            wire::BatchCheckItem {
                resource_facts: Some(wire::ResourceFacts::default()),
                ..item("nowhere-stored")
            },
            wire::BatchCheckItem {
                at: Some(prost_types::Timestamp::default()),
                ..item("c00000")
            },
        ],
    )
    .await
    .unwrap()
    .results;
    let reasons: Vec<&str> = results
        .iter()
        .map(|result| result.reason.as_str())
        .collect();
    assert_eq!(reasons, ["NOT_IN_PARTITION", "EVERYTHING", "EVERYTHING"]);
    let single = server
        .decisions()
        .check(wire::CheckRequest {
            resource_facts: Some(walled),
            ..check("acme", "c00000")
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(single.reason, "NOT_IN_PARTITION");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_keeps_order_and_repetitions_of_as_many_ids_as_fit() {
    let server = TestServer::start().await;
    let contacts = names("c", 100);
    server.make_account("acme", &contacts).await;
    let ids: Vec<String> = (0..50_000)
        .map(|number| match number % 2 {
            0 => contacts[number % 100].clone(),
            _ => format!("stranger-{number}"),
        })
        .collect();
    let expected: Vec<String> = ids.iter().step_by(2).cloned().collect();
    let request = wire::FilterAccessibleRequest {
        account_id: "acme".to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_ids: ids,
        ..wire::FilterAccessibleRequest::default()
    };
    let answer = server
        .decisions()
        .filter_accessible(request.clone())
        .await
        .unwrap();
    assert_eq!(answer.into_inner().ids, expected);

    let mut wrong = request.clone();
    wrong.resource_ids[7] = "a\u{7}".to_owned();
    assert_eq!(
        refused(server.decisions().filter_accessible(wrong).await),
        (Reason::InvalidField, Some("resource_ids[7]".to_owned()))
    );

    // In the stream a header comes once.
    let header = wire::FilterAccessibleStreamRequest {
        account_id: "acme".to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_ids: request.resource_ids,
        ..wire::FilterAccessibleStreamRequest::default()
    };
    let stream = server
        .decisions()
        .filter_accessible_stream(tokio_stream::iter([header.clone(), header]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        refused(collect(stream).await),
        (Reason::InvalidField, Some("account_id".to_owned()))
    );
    let stream = server
        .decisions()
        .filter_accessible_stream(tokio_stream::iter([]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        refused(collect(stream).await),
        (Reason::InvalidField, Some("account_id".to_owned()))
    );
    server.stop().await;
}
