//! What is refused, and how it is told: each reason that a caller can bring about is brought about,
//! and the others are named with what it takes.

use std::collections::BTreeSet;

use ambit::grpc::status::{Reason, TABLE};
use ambit::grpc::wire;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use wire::change::Change;

use super::server::{TestServer, at_least, built_in, change, check, list, put_contact, put_user};
use super::{collect, reason, refused};

/// Reasons that need more than a request, each with where it is proven.
const ELSEWHERE: [(Reason, &str); 67] = [
    (Reason::OwnRights, "on_behalf/refusals.rs"),
    (Reason::ProtectedUser, "on_behalf/refusals.rs"),
    (Reason::ReservedChange, "on_behalf/refusals.rs"),
    (Reason::Unauthenticated, "callers/"),
    (Reason::RoleMissing, "callers/"),
    (Reason::ActorRequired, "callers/"),
    (Reason::Overloaded, "transport/bounds.rs"),
    (Reason::AccountOverloaded, "transport/fairness.rs"),
    (Reason::MalformedMessage, "hostile.rs sends the bytes"),
    (Reason::MessageTooLarge, "hostile.rs sends the bytes"),
    (Reason::UnsupportedEncoding, "hostile.rs sends the bytes"),
    (Reason::TooManyItems, "bulk.rs"),
    (Reason::TooManyChanges, "writes.rs"),
    (Reason::ShuttingDown, "standard.rs"),
    (
        Reason::RevisionOfAnotherHistory,
        "tokens.rs forges the token",
    ),
    (Reason::PageTokenInvalid, "tokens.rs forges the token"),
    (Reason::WriteConflict, "needs eight lost races in a row"),
    (
        Reason::StoreRule,
        "needs a write that the planner lets pass",
    ),
    (Reason::AccountUnusable, "needs a plain SQL write"),
    (Reason::Stale, "needs a store that can't be followed"),
    (Reason::StoreUnavailable, "unit test of the mapping"),
    (Reason::StoreFull, "needs a full disk"),
    (Reason::StoreInconsistent, "needs a plain SQL write"),
    (Reason::AccessRequestNotFound, "access_requests/tenancy.rs"),
    (Reason::NotificationNotFound, "access_requests/tenancy.rs"),
    (Reason::AlreadyAllowed, "access_requests/filing.rs"),
    (Reason::NotRequestable, "access_requests/filing.rs"),
    (Reason::RequestCoolingDown, "access_requests/filing.rs"),
    (Reason::TooManyPendingRequests, "access_requests/filing.rs"),
    (Reason::RequestNotPending, "access_requests/approving.rs"),
    (Reason::SelfApproval, "access_requests/refusals.rs"),
    (Reason::SamePerson, "access_requests/refusals.rs"),
    (Reason::RightFromRequester, "access_requests/refusals.rs"),
    (Reason::NotAnApprover, "access_requests/refusals.rs"),
    (Reason::BeyondOwnRights, "access_requests/refusals.rs"),
    (Reason::NoAssignAuthority, "access_requests/refusals.rs"),
    (Reason::ActorMayNot, "partitions/imported.rs"),
    (Reason::BatchNotFound, "partitions/wire.rs"),
    (Reason::BatchUnfinished, "partitions/bulks.rs"),
    (Reason::FormNotFound, "partitions/wire.rs"),
    (Reason::ChangedSince, "partitions/undone.rs"),
    (Reason::SegmentNotFound, "segments/wire.rs"),
    (Reason::SegmentJobNotFound, "segments/wire.rs"),
    (Reason::NotTheRequester, "access_requests/refusals.rs"),
    (Reason::RequesterInactive, "access_requests/refusals.rs"),
    (Reason::ResourceGone, "access_requests/refusals.rs"),
    (Reason::NoLongerDenied, "access_requests/refusals.rs"),
    (
        Reason::InsufficientResolution,
        "access_requests/refusals.rs",
    ),
    (Reason::WouldTakeAway, "access_requests/refusals.rs"),
    (Reason::NothingToRevoke, "access_requests/refusals.rs"),
    (Reason::NotAPartner, "partners/links.rs"),
    (Reason::NoPartnerManagement, "partners/links.rs"),
    (Reason::NoPartnership, "partners/ending.rs"),
    (Reason::NotPartnerAdmin, "partners/staff.rs"),
    (Reason::AccessLinkNotFound, "partners/links.rs"),
    (Reason::AccessLinkExpired, "partners/links.rs"),
    (Reason::AccessLinkRevoked, "partners/links.rs"),
    (Reason::AccessLinkUsed, "partners/links.rs"),
    (Reason::StaffNotFound, "partners/staff.rs"),
    (Reason::StaffNotChangeable, "partners/staff.rs"),
    (Reason::StaffDeactivated, "partners/staff.rs"),
    (Reason::ContractorNotDeactivatable, "partners/staff.rs"),
    (Reason::SuperAdminNotRemovable, "partners/removal.rs"),
    (Reason::PreviewStale, "partners/removal.rs"),
    (Reason::SelfOnly, "partners/migrating.rs"),
    (Reason::NotSuperAdmin, "partners/migrating.rs"),
    (Reason::TooMuchWork, "needs an account of many millions"),
];

/// Reasons of the server itself, which no request brings about.
const OWN: [Reason; 3] = [Reason::Timeout, Reason::SlowReader, Reason::Internal];

async fn write(server: &TestServer, one: Change) -> Result<wire::ApplyChangesResponse, Status> {
    server.apply("acme", vec![change(one)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_is_brought_about_or_named() {
    let server = TestServer::start().await;
    let revision = server.make_account("acme", &["c1".to_owned()]).await;
    let other = server.make_account("other", &[]).await;
    let mut decisions = server.decisions();
    let mut directory = server.directory();
    let mut met = Vec::new();

    met.push(reason(decisions.check(check("", "c1")).await));
    met.push(reason(
        decisions.check(check("no-such-account", "c1")).await,
    ));
    let unknown_type = wire::CheckRequest {
        resource_type: "spaceship".to_owned(),
        ..check("acme", "c1")
    };
    met.push(reason(decisions.check(unknown_type).await));
    let unknown_action = wire::CheckRequest {
        action: "fly".to_owned(),
        ..check("acme", "c1")
    };
    met.push(reason(decisions.check(unknown_action).await));
    for token in ["garbage".to_owned(), other] {
        let request = wire::CheckRequest {
            consistency: at_least(&token),
            ..check("acme", "c1")
        };
        let (reason, field) = refused(decisions.check(request).await);
        assert_eq!(field.as_deref(), Some("consistency.at_least_as_fresh"));
        met.push(reason);
    }
    let mut beyond = base64_decode(&revision);
    beyond[16] = 0x7f;
    let request = wire::CheckRequest {
        consistency: at_least(&base64_encode(&beyond)),
        ..check("acme", "c1")
    };
    met.push(reason(decisions.check(request).await));

    let user = wire::GetUserRequest {
        account_id: "acme".to_owned(),
        user_id: "ghost".to_owned(),
        consistency: None,
    };
    met.push(reason(directory.get_user(user).await));
    let resource = wire::GetResourceRequest {
        account_id: "acme".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: "ghost".to_owned(),
        consistency: None,
    };
    met.push(reason(directory.get_resource(resource).await));
    let create = wire::CreateAccountRequest {
        account_id: "acme".to_owned(),
        catalog: Some(built_in("hubspot")),
        plan: "free".to_owned(),
        ..wire::CreateAccountRequest::default()
    };
    met.push(reason(directory.create_account(create).await));

    let header =
        |idempotency_key: &str, expected_revision: &str, id: &str| wire::ApplyChangesRequest {
            account_id: "acme".to_owned(),
            idempotency_key: idempotency_key.to_owned(),
            expected_revision: expected_revision.to_owned(),
            changes: vec![put_contact(id)],
            ..wire::ApplyChangesRequest::default()
        };
    server.send(vec![header("k", "", "c2")]).await.unwrap();
    met.push(reason(server.send(vec![header("k", "", "c3")]).await));
    met.push(reason(server.send(vec![header("", &revision, "c3")]).await));

    let team = |id: &str, parent: &str| {
        Change::PutTeam(wire::TeamPatch {
            id: id.to_owned(),
            parent: Some(parent.to_owned()),
        })
    };
    met.push(reason(write(&server, team("a", "ghosts")).await));
    met.push(reason(write(&server, team("a", "a")).await));
    met.push(reason(
        write(&server, Change::DeleteUser("sa".to_owned())).await,
    ));
    let downgrade = wire::AccountPatch {
        plan: Some("free".to_owned()),
        ..wire::AccountPatch::default()
    };
    write(&server, Change::PutAccount(downgrade)).await.unwrap();
    let walled = wire::ResourcePatch {
        resource_type: "email".to_owned(),
        id: "e1".to_owned(),
        partitioned: Some(true),
        ..wire::ResourcePatch::default()
    };
    met.push(reason(write(&server, Change::PutResource(walled)).await));

    let unknown_method = tonic::client::Grpc::new(server.channel.clone());
    met.push(unknown_method_reason(unknown_method).await);

    let met: BTreeSet<&str> = met.into_iter().map(Reason::name).collect();
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(reason, _)| reason.name()).collect();
    let own: BTreeSet<&str> = OWN.iter().map(|reason| reason.name()).collect();
    let all: BTreeSet<&str> = TABLE.iter().map(|row| row.name).collect();
    let covered: BTreeSet<&str> = met.iter().chain(&elsewhere).chain(&own).copied().collect();
    assert_eq!(covered, all, "every reason is met or named");
    assert_eq!(
        met.len() + elsewhere.len() + own.len(),
        all.len(),
        "named once"
    );
    server.stop().await;
}

async fn unknown_method_reason(
    mut client: tonic::client::Grpc<tonic::transport::Channel>,
) -> Reason {
    client.ready().await.unwrap();
    let path = "/ambit.v1.DecisionService/Guess".parse().unwrap();
    let codec: ambit::grpc::codec::Codec<wire::CheckRequest, wire::CheckResponse> =
        ambit::grpc::codec::Codec::default();
    let answer = client
        .unary(tonic::Request::new(check("acme", "c1")), path, codec)
        .await;
    reason(answer)
}

fn base64_decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
}

fn base64_encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Every field of every question that holds an id, with what is wrong about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_ids_are_refused_by_their_field() {
    let server = TestServer::start().await;
    server.make_account("acme", &["c1".to_owned()]).await;
    let long = "x".repeat(257);
    let huge = "x".repeat(1_000_000);
    let wrong = ["", long.as_str(), huge.as_str(), "a\0b", "a\nb", "a\u{85}b"];
    for text in wrong {
        for field in [
            "account_id",
            "user_id",
            "action",
            "resource_type",
            "resource_id",
        ] {
            // No resource id is a question about the tool.
            if field == "resource_id" && text.is_empty() {
                continue;
            }
            let mut request = check("acme", "c1");
            let value = match field {
                "account_id" => &mut request.account_id,
                "user_id" => &mut request.user_id,
                "action" => &mut request.action,
                "resource_type" => &mut request.resource_type,
                _ => &mut request.resource_id,
            };
            text.clone_into(value);
            assert_eq!(
                refused(server.decisions().check(request).await),
                (Reason::InvalidField, Some(field.to_owned())),
                "{text:.20?}"
            );
        }
        if !text.is_empty() {
            let request = wire::ListAccessibleRequest {
                owner_id: text.to_owned(),
                ..list("acme")
            };
            assert_eq!(
                refused(server.decisions().list_accessible(request).await),
                (Reason::InvalidField, Some("owner_id".to_owned()))
            );
        }
        let written = server.apply("acme", vec![put_contact(text)]).await;
        assert_eq!(
            refused(written),
            (
                Reason::InvalidField,
                Some("changes[0].put_resource.id".to_owned())
            )
        );
    }
    server.stop().await;
}

/// Case 29, row 13 and row 16: whatever is an id is kept byte for byte, and means only itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_ids_are_kept_byte_for_byte() {
    let server = TestServer::start().await;
    let longest = "x".repeat(256);
    let strange = [
        "*",
        "../",
        "a:b#c",
        "a/b",
        "'; DROP TABLE resource; --",
        "%",
        "_",
        "a,b",
        " ",
        " a ",
        "a ",
        "Foo",
        "foo",
        "FOO",
        "\u{e9}",
        "e\u{301}",
        "\u{200b}",
        "a\u{200b}",
        "\u{202e}abc",
        "\u{feff}",
        "ß",
        "ss",
        "İ",
        "i",
        "🦀",
        "\\",
        "\"",
        "null",
        "0",
        "-1",
        "{}",
        longest.as_str(),
    ];
    let ids: Vec<String> = strange.iter().map(ToString::to_string).collect();
    server.make_account("acme", &ids).await;
    let stream = server
        .decisions()
        .list_accessible(list("acme"))
        .await
        .unwrap();
    let chunks = collect(stream.into_inner()).await.unwrap();
    let listed: BTreeSet<String> = chunks.into_iter().flat_map(|chunk| chunk.ids).collect();
    assert_eq!(listed, ids.iter().cloned().collect());
    for id in &ids {
        let read = server
            .directory()
            .get_resource(wire::GetResourceRequest {
                account_id: "acme".to_owned(),
                resource_type: "contact".to_owned(),
                resource_id: id.clone(),
                consistency: None,
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(&read.resource.unwrap().id, id);
    }
    for stranger in ["fOO", "A:b#c", "**", "a%", "\u{1f9ff}", "a"] {
        let answer = server
            .decisions()
            .check(check("acme", stranger))
            .await
            .unwrap();
        assert_eq!(
            answer.into_inner().reason,
            "RESOURCE_NOT_FOUND",
            "{stranger}"
        );
    }
    // The same for users: none of them stands for another or for all.
    for user in ["*", "U", "u ", " u", "u\u{200b}"] {
        let request = wire::CheckRequest {
            user_id: user.to_owned(),
            ..check("acme", "foo")
        };
        let answer = server.decisions().check(request).await.unwrap();
        assert_eq!(answer.into_inner().reason, "USER_UNKNOWN", "{user}");
    }
    server.stop().await;
}

/// An account that isn't there is the same for every rpc, whatever else is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_account_is_not_found_everywhere() {
    let server = TestServer::start().await;
    let account = || "nowhere".to_owned();
    let mut decisions = server.decisions();
    let mut directory = server.directory();
    let mut answers = Vec::new();
    let mut note = |status: Option<Status>| answers.push(status.expect("this must be refused"));
    note(decisions.check(check("nowhere", "c")).await.err());
    note(decisions.list_accessible(list("nowhere")).await.err());
    note(
        decisions
            .batch_check(wire::BatchCheckRequest {
                account_id: account(),
                ..wire::BatchCheckRequest::default()
            })
            .await
            .err(),
    );
    note(
        directory
            .get_account(wire::GetAccountRequest {
                account_id: account(),
                consistency: super::server::fully_consistent(),
            })
            .await
            .err(),
    );
    note(
        directory
            .export_account(wire::ExportAccountRequest {
                account_id: account(),
            })
            .await
            .err(),
    );
    note(
        directory
            .watch_changes(wire::WatchChangesRequest {
                account_id: account(),
                after_revision: String::new(),
            })
            .await
            .err(),
    );
    note(
        directory
            .list_teams(wire::ListTeamsRequest {
                account_id: account(),
                ..wire::ListTeamsRequest::default()
            })
            .await
            .err(),
    );
    note(
        directory
            .delete_account(wire::DeleteAccountRequest {
                account_id: account(),
                ..wire::DeleteAccountRequest::default()
            })
            .await
            .err(),
    );
    note(
        server
            .apply("nowhere", vec![put_user("u", None)])
            .await
            .err(),
    );
    for status in answers {
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        assert_eq!(Reason::of(&status), Some(Reason::AccountNotFound));
        assert_eq!(
            status.message(),
            "account_id: there is no account `nowhere`"
        );
        assert!(status.get_details_error_info().is_some());
    }
    server.stop().await;
}

/// Facts over the wire: what they default to, and what contradicts itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_are_taken_whole_or_refused() {
    let server = TestServer::start().await;
    server.make_account("acme", &[]).await;
    let assigned = wire::ResourceFacts {
        assigned_to: vec![wire::DescribedAssignment {
            principal: Some(wire::Principal {
                principal: Some(wire::principal::Principal::UserId("u".to_owned())),
            }),
            expires_at: None,
        }],
        ..wire::ResourceFacts::default()
    };
    let cases = [
        ("c9", assigned.clone(), Ok("ASSIGNED_USER")),
        ("c9", wire::ResourceFacts::default(), Ok("EVERYTHING")),
        (
            "c9",
            wire::ResourceFacts {
                partitioned: Some(true),
                ..wire::ResourceFacts::default()
            },
            Ok("ORPHANED"),
        ),
        (
            "c9",
            wire::ResourceFacts {
                owners: vec!["u".to_owned()],
                partitioned: Some(true),
                ..wire::ResourceFacts::default()
            },
            Ok("OWNER"),
        ),
        (
            "c9",
            wire::ResourceFacts {
                partitioned: Some(false),
                ..assigned.clone()
            },
            Err("resource_facts.partitioned"),
        ),
        ("", assigned, Err("resource_facts")),
        (
            "c9",
            wire::ResourceFacts {
                assigned_to: vec![wire::DescribedAssignment::default()],
                ..wire::ResourceFacts::default()
            },
            Err("resource_facts.assigned_to[0].principal"),
        ),
    ];
    for (resource_id, facts, expected) in cases {
        let request = wire::CheckRequest {
            resource_facts: Some(facts.clone()),
            ..check("acme", resource_id)
        };
        let answer = server.decisions().check(request).await;
        match expected {
            Ok(reason) => assert_eq!(answer.unwrap().into_inner().reason, reason, "{facts:?}"),
            Err(field) => assert_eq!(
                refused(answer),
                (Reason::InvalidField, Some(field.to_owned()))
            ),
        }
    }
    server.stop().await;
}
