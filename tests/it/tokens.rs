//! Every opaque token, forged: always an error with its own reason, never a decision, and the
//! server lives (section 2 row 9, case 34).

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tonic::Status;

use crate::grpc::server::{TestServer, at_least, check, list};
use crate::grpc::{collect, names, refused};

/// Fixed, so that a failure is found again; proptest prints what failed.
const SEED: [u8; 32] = *b"ambit opaque tokens, never a yes";

const REVISION_REASONS: [Reason; 4] = [
    Reason::RevisionMalformed,
    Reason::RevisionOfAnotherAccount,
    Reason::RevisionOfAnotherHistory,
    Reason::RevisionNotReached,
];

fn runner() -> TestRunner {
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
    TestRunner::new_with_rng(config, rng)
}

/// The answer of every rpc that takes a revision, in every field that takes one.
async fn ask_at(server: &TestServer, token: &str) -> Vec<(&'static str, Option<Status>)> {
    let mut decisions = server.decisions();
    let mut directory = server.directory();
    let checked = decisions
        .check(wire::CheckRequest {
            consistency: at_least(token),
            ..check("acme", "c00001")
        })
        .await
        .err();
    let listed = decisions
        .list_accessible(wire::ListAccessibleRequest {
            consistency: at_least(token),
            ..list("acme")
        })
        .await
        .err();
    let batched = decisions
        .batch_check(wire::BatchCheckRequest {
            account_id: "acme".to_owned(),
            consistency: at_least(token),
            ..wire::BatchCheckRequest::default()
        })
        .await
        .err();
    let users = directory
        .list_users(wire::ListUsersRequest {
            account_id: "acme".to_owned(),
            consistency: at_least(token),
            ..wire::ListUsersRequest::default()
        })
        .await
        .err();
    let watched = directory
        .watch_changes(wire::WatchChangesRequest {
            account_id: "acme".to_owned(),
            after_revision: token.to_owned(),
        })
        .await
        .err();
    vec![
        ("consistency.at_least_as_fresh", checked),
        ("consistency.at_least_as_fresh", listed),
        ("consistency.at_least_as_fresh", batched),
        ("consistency.at_least_as_fresh", users),
        ("after_revision", watched),
    ]
}

/// A write with this expected revision; it must not be made.
async fn write_at(server: &TestServer, token: &str) -> Option<Status> {
    server
        .send(vec![wire::ApplyChangesRequest {
            account_id: "acme".to_owned(),
            expected_revision: token.to_owned(),
            changes: vec![crate::grpc::server::put_contact("intruder")],
            ..wire::ApplyChangesRequest::default()
        }])
        .await
        .err()
}

async fn expect_refused(server: &TestServer, token: &str, expected: Option<Reason>) {
    for (field, status) in ask_at(server, token).await {
        let status = status.unwrap_or_else(|| panic!("a forged token was answered: {token}"));
        let (reason, blamed) = refused::<()>(Err(status));
        assert_eq!(blamed.as_deref(), Some(field), "{token}");
        match expected {
            Some(expected) => assert_eq!(reason, expected, "{token}"),
            None => assert!(REVISION_REASONS.contains(&reason), "{token}: {reason:?}"),
        }
    }
    let status = write_at(server, token)
        .await
        .unwrap_or_else(|| panic!("a write was made at a forged token: {token}"));
    let (reason, field) = refused::<()>(Err(status));
    assert_eq!(field.as_deref(), Some("expected_revision"), "{token}");
    let mismatch = reason == Reason::RevisionMismatch;
    assert!(
        mismatch || REVISION_REASONS.contains(&reason),
        "{token}: {reason:?}"
    );
}

/// What was never written was never there.
async fn expect_unharmed(server: &TestServer) {
    let answer = server
        .decisions()
        .check(check("acme", "c00001"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.reason, "EVERYTHING");
    let answer = server
        .decisions()
        .check(check("acme", "intruder"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.reason, "RESOURCE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revision_tokens_of_others_have_reasons_of_their_own() {
    let server = TestServer::start().await;
    let token = server.make_account("acme", &names("c", 3)).await;
    let foreign = server.make_account("acme2", &[]).await;
    expect_refused(&server, &foreign, Some(Reason::RevisionOfAnotherAccount)).await;

    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    let forged = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] ^= value;
        URL_SAFE_NO_PAD.encode(bytes)
    };
    // Epoch, account, far ahead, nonce: the four parts of a token.
    expect_refused(
        &server,
        &forged(0, 1),
        Some(Reason::RevisionOfAnotherHistory),
    )
    .await;
    expect_refused(
        &server,
        &forged(8, 1),
        Some(Reason::RevisionOfAnotherAccount),
    )
    .await;
    expect_refused(&server, &forged(16, 0x40), Some(Reason::RevisionNotReached)).await;
    expect_refused(
        &server,
        &forged(31, 1),
        Some(Reason::RevisionOfAnotherHistory),
    )
    .await;
    expect_unharmed(&server).await;

    // Deleted and made again, the account has another history.
    let delete = wire::DeleteAccountRequest {
        account_id: "acme".to_owned(),
        ..wire::DeleteAccountRequest::default()
    };
    server.directory().delete_account(delete).await.unwrap();
    server.make_account("acme", &names("c", 3)).await;
    expect_refused(&server, &token, Some(Reason::RevisionOfAnotherHistory)).await;

    // And so has another database.
    let elsewhere = TestServer::start().await;
    let stranger = elsewhere.make_account("acme", &names("c", 3)).await;
    expect_refused(&server, &stranger, Some(Reason::RevisionOfAnotherHistory)).await;
    expect_unharmed(&server).await;
    server.stop().await;
    elsewhere.stop().await;
}

/// A token that goes wrong in transit or in a database column of 32 characters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cut_and_every_changed_byte_of_a_revision_is_refused() {
    let server = TestServer::start().await;
    let token = server.make_account("acme", &names("c", 3)).await;
    for at in 1..token.len() {
        expect_refused(
            &server,
            token.get(..at).unwrap(),
            Some(Reason::RevisionMalformed),
        )
        .await;
    }
    for longer in [
        format!("{token}A"),
        format!("{token}="),
        format!(" {token}"),
    ] {
        expect_refused(&server, &longer, Some(Reason::RevisionMalformed)).await;
    }
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(bytes).unwrap();
        // A smaller revision is one that the account did stand at; its nonce tells it apart.
        expect_refused(&server, &forged, None).await;
    }
    expect_unharmed(&server).await;
    server.stop().await;
}

#[test]
fn random_revisions_are_never_answered() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let server = TestServer::start().await;
        server.make_account("acme", &names("c", 3)).await;
        server
    });
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 32).prop_map(|bytes| URL_SAFE_NO_PAD.encode(bytes)),
        prop::collection::vec(any::<u8>(), 1..80).prop_map(|bytes| URL_SAFE_NO_PAD.encode(bytes)),
        "\\PC{1,60}",
    ];
    let outcome = runner().run(&bytes, |token| {
        runtime.block_on(expect_refused(&server, &token, None));
        Ok(())
    });
    outcome.unwrap();
    runtime.block_on(async {
        expect_unharmed(&server).await;
        server.stop().await;
    });
}

/// The first page of a list of three, with its token.
async fn first_page(server: &TestServer, request: &wire::ListAccessibleRequest) -> String {
    let request = wire::ListAccessibleRequest {
        page_size: 1,
        ..request.clone()
    };
    let stream = server.decisions().list_accessible(request).await.unwrap();
    let chunks = collect(stream.into_inner()).await.unwrap();
    let token = chunks.last().unwrap().next_page_token.clone();
    assert!(!token.is_empty());
    token
}

async fn expect_page_refused(server: &TestServer, request: wire::ListAccessibleRequest) {
    let context = format!("{request:?}");
    let answer = server.decisions().list_accessible(request).await;
    assert_eq!(
        refused(answer.map(|_| ())),
        (Reason::PageTokenInvalid, Some("page_token".to_owned())),
        "{context}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_token_is_good_for_its_own_request_alone() {
    let server = TestServer::start().await;
    server.make_account("acme", &names("c", 3)).await;
    server.make_account("acme2", &names("c", 3)).await;
    let base = list("acme");
    let page_token = first_page(&server, &base).await;
    let own = wire::ListAccessibleRequest {
        page_token: page_token.clone(),
        ..base.clone()
    };
    let stream = server
        .decisions()
        .list_accessible(own.clone())
        .await
        .unwrap();
    let ids = collect(stream.into_inner()).await.unwrap().remove(0).ids;
    assert_eq!(ids, ["c00001", "c00002"]);

    for foreign in [
        wire::ListAccessibleRequest {
            account_id: "acme2".to_owned(),
            ..own.clone()
        },
        wire::ListAccessibleRequest {
            user_id: "sa".to_owned(),
            ..own.clone()
        },
        wire::ListAccessibleRequest {
            action: "edit".to_owned(),
            ..own.clone()
        },
        wire::ListAccessibleRequest {
            resource_type: "deal".to_owned(),
            ..own.clone()
        },
        wire::ListAccessibleRequest {
            owner_id: "u".to_owned(),
            ..own.clone()
        },
        wire::ListAccessibleRequest {
            team_id: "de".to_owned(),
            ..own.clone()
        },
        wire::ListAccessibleRequest {
            access_group_id: "g".to_owned(),
            ..own.clone()
        },
        wire::ListAccessibleRequest {
            at: Some(prost_types::Timestamp::default()),
            ..own.clone()
        },
    ] {
        expect_page_refused(&server, foreign).await;
    }
    for at in 1..page_token.len() {
        expect_page_refused(
            &server,
            wire::ListAccessibleRequest {
                page_token: page_token.get(..at).unwrap().to_owned(),
                ..base.clone()
            },
        )
        .await;
        let mut bytes = page_token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        expect_page_refused(
            &server,
            wire::ListAccessibleRequest {
                page_token: String::from_utf8(bytes).unwrap(),
                ..base.clone()
            },
        )
        .await;
    }
    // A revision is no page token, and the token of another list none of this one.
    let users = server
        .directory()
        .list_users(wire::ListUsersRequest {
            account_id: "acme".to_owned(),
            page_size: 1,
            ..wire::ListUsersRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    for other in [users.next_page_token.clone(), users.revision] {
        expect_page_refused(
            &server,
            wire::ListAccessibleRequest {
                page_token: other,
                ..base.clone()
            },
        )
        .await;
    }
    let elsewhere = server
        .directory()
        .list_users(wire::ListUsersRequest {
            account_id: "acme2".to_owned(),
            page_token: users.next_page_token,
            ..wire::ListUsersRequest::default()
        })
        .await;
    assert_eq!(refused(elsewhere).0, Reason::PageTokenInvalid);
    server.stop().await;
}

#[test]
fn random_page_tokens_are_never_answered() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let server = TestServer::start().await;
        server.make_account("acme", &names("c", 3)).await;
        server
    });
    let tokens = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..300).prop_map(|bytes| URL_SAFE_NO_PAD.encode(bytes)),
        "\\PC{1,400}",
    ];
    let outcome = runner().run(&tokens, |page_token| {
        runtime.block_on(async {
            expect_page_refused(
                &server,
                wire::ListAccessibleRequest {
                    page_token: page_token.clone(),
                    ..list("acme")
                },
            )
            .await;
            let accounts = server
                .directory()
                .list_accounts(wire::ListAccountsRequest {
                    page_size: 0,
                    page_token: page_token.clone(),
                })
                .await;
            assert_eq!(refused(accounts).0, Reason::PageTokenInvalid);
        });
        Ok(())
    });
    outcome.unwrap();
    runtime.block_on(async {
        expect_unharmed(&server).await;
        server.stop().await;
    });
}

/// Page tokens are bound to the database that gave them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_token_of_another_database_is_refused() {
    let server = TestServer::start().await;
    let elsewhere = TestServer::start().await;
    for one in [&server, &elsewhere] {
        one.make_account("acme", &names("c", 3)).await;
    }
    let page_token = first_page(&elsewhere, &list("acme")).await;
    expect_page_refused(
        &server,
        wire::ListAccessibleRequest {
            page_token,
            ..list("acme")
        },
    )
    .await;
    server.stop().await;
    elsewhere.stop().await;
}
