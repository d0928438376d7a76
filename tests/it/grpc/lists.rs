//! Lists: chunks, pages, and what writes between the pages may not do.

use std::collections::BTreeSet;

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use prost::Message as _;

use super::server::{
    TestServer, built_in, change, check, delete_contact, grant, list, put_contact, put_user,
};
use super::{collect, names, reason};

async fn page(
    server: &TestServer,
    request: wire::ListAccessibleRequest,
) -> Result<wire::ListAccessibleResponse, tonic::Status> {
    let stream = server.decisions().list_accessible(request).await?;
    let mut whole = wire::ListAccessibleResponse::default();
    for (index, chunk) in collect(stream.into_inner()).await?.into_iter().enumerate() {
        assert_eq!(chunk.total.is_some(), index == 0, "total is in the first");
        assert_eq!(!chunk.revision.is_empty(), index == 0);
        assert!(whole.next_page_token.is_empty(), "the token is in the last");
        whole.total = whole.total.or(chunk.total);
        whole.ids.extend(chunk.ids);
        whole.revision.push_str(&chunk.revision);
        whole.next_page_token = chunk.next_page_token;
    }
    Ok(whole)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_comes_in_chunks_bounded_by_bytes() {
    let server = TestServer::start().await;
    let contacts = names("contact-with-a-rather-long-name-", 12_000);
    server.make_account("acme", &contacts).await;
    let stream = server
        .decisions()
        .list_accessible(list("acme"))
        .await
        .unwrap();
    let chunks = collect(stream.into_inner()).await.unwrap();
    assert!(chunks.len() > 3, "{} chunks", chunks.len());
    for chunk in &chunks {
        assert!(
            chunk.encoded_len() <= 64 * 1_024 + 512,
            "{}",
            chunk.encoded_len()
        );
    }
    assert_eq!(chunks[0].total, Some(12_000));
    assert!(chunks[1..].iter().all(|chunk| chunk.total.is_none()));
    assert!(chunks[1..].iter().all(|chunk| chunk.revision.is_empty()));
    let listed: BTreeSet<&str> = chunks
        .iter()
        .flat_map(|chunk| chunk.ids.iter().map(String::as_str))
        .collect();
    assert_eq!(listed, contacts.iter().map(String::as_str).collect());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_list_says_so_in_one_message() {
    let server = TestServer::start().await;
    server.make_account("acme", &[]).await;
    for user in ["u", "nobody"] {
        let request = wire::ListAccessibleRequest {
            user_id: user.to_owned(),
            ..list("acme")
        };
        let stream = server.decisions().list_accessible(request).await.unwrap();
        let chunks = collect(stream.into_inner()).await.unwrap();
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].total, Some(0));
        assert!(!chunks[0].revision.is_empty());
    }
    server.stop().await;
}

/// Case 34: between the pages contacts come and go; what is there throughout is listed once, in
/// byte order, and no page is older than the one before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_under_writes_have_no_hole_and_no_double() {
    let server = TestServer::start().await;
    let contacts = names("c", 500);
    server.make_account("acme", &contacts).await;
    let mut listed = Vec::new();
    let mut page_token = String::new();
    for round in 0.. {
        let request = wire::ListAccessibleRequest {
            page_size: 17,
            page_token,
            ..list("acme")
        };
        let answer = page(&server, request).await.unwrap();
        assert!(answer.ids.len() <= 17);
        listed.extend(answer.ids);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
        // Some before the place, some behind it, and the very one that the token names.
        let last = listed.last().unwrap().clone();
        let written = server
            .apply(
                "acme",
                vec![
                    put_contact(&format!("a{round}")),
                    put_contact(&format!("c{:05}x{round}", 499 - round)),
                    delete_contact(&last),
                ],
            )
            .await
            .unwrap();
        let next = wire::ListAccessibleRequest {
            page_size: 17,
            page_token: page_token.clone(),
            ..list("acme")
        };
        // The write is this server's own, so the next page already stands on it.
        assert_eq!(
            page(&server, next).await.unwrap().revision,
            written.revision
        );
    }
    let once: BTreeSet<&String> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "something is listed twice");
    assert!(listed.is_sorted(), "pages are in byte order");
    for contact in &contacts {
        assert!(once.contains(contact), "{contact} was there throughout");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_narrowed_by_owner_team_and_group() {
    let server = TestServer::start().await;
    server.load("examples/demo/lumen.yaml").await;
    let all = wire::ListAccessibleRequest {
        user_id: "agata".to_owned(),
        ..list("lumen")
    };
    let resources = server
        .directory()
        .list_resources(wire::ListResourcesRequest {
            account_id: "lumen".to_owned(),
            resource_type: "contact".to_owned(),
            page_size: 1_000,
            ..wire::ListResourcesRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
        .resources;
    let expect = |holds: &dyn Fn(&wire::Resource) -> bool| -> BTreeSet<String> {
        resources
            .iter()
            .filter(|resource| holds(resource))
            .map(|resource| resource.id.clone())
            .collect()
    };
    let in_group = |resource: &wire::Resource, group: &str| {
        let group = wire::principal::Principal::AccessGroupId(group.to_owned());
        resource.assigned_to.iter().any(|assignment| {
            assignment.principal.as_ref().unwrap().principal.as_ref() == Some(&group)
        })
    };
    let owned = expect(&|resource| resource.owners.contains(&"kuba".to_owned()));
    let grouped = expect(&|resource| in_group(resource, "newsletter"));
    assert!(!owned.is_empty() && !grouped.is_empty());
    for (request, expected) in [
        (
            wire::ListAccessibleRequest {
                owner_id: "kuba".to_owned(),
                ..all.clone()
            },
            owned,
        ),
        (
            wire::ListAccessibleRequest {
                access_group_id: "newsletter".to_owned(),
                ..all.clone()
            },
            grouped,
        ),
        (
            wire::ListAccessibleRequest {
                team_id: "no-such-team".to_owned(),
                ..all.clone()
            },
            BTreeSet::new(),
        ),
    ] {
        let answer = page(&server, request).await.unwrap();
        assert_eq!(answer.total, Some(expected.len() as u64));
        assert_eq!(answer.ids.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    server.stop().await;
}

/// A list that is given up halfway frees what it held, and disturbs nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_are_cancelled_midway_leave_the_server_whole() {
    let server = TestServer::start().await;
    let contacts = names("contact-with-a-rather-long-name-", 12_000);
    server.make_account("acme", &contacts).await;
    for _ in 0..200 {
        let mut stream = server
            .decisions()
            .list_accessible(list("acme"))
            .await
            .unwrap()
            .into_inner();
        let first = stream.message().await.unwrap().unwrap();
        assert_eq!(first.total, Some(12_000));
        drop(stream);
    }
    // Row 3 of section 2: asked again after all that was cut off, the answer is exact.
    assert_eq!(page(&server, list("acme")).await.unwrap().ids.len(), 12_000);
    let answer = server
        .decisions()
        .check(check("acme", "nope"))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().reason, "RESOURCE_NOT_FOUND");
    server.stop().await;
}

/// A list keeps the snapshot that it began with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_stays_at_its_revision_while_the_account_changes() {
    let server = TestServer::start().await;
    let contacts = names("contact-with-a-rather-long-name-", 12_000);
    server.make_account("acme", &contacts).await;
    let mut stream = server
        .decisions()
        .list_accessible(list("acme"))
        .await
        .unwrap()
        .into_inner();
    let mut listed = stream.message().await.unwrap().unwrap().ids;
    let gone: Vec<wire::Change> = contacts.iter().map(|id| delete_contact(id)).collect();
    server.apply("acme", gone).await.unwrap();
    listed.extend(
        collect(stream)
            .await
            .unwrap()
            .into_iter()
            .flat_map(|chunk| chunk.ids),
    );
    assert_eq!(listed.len(), 12_000);
    assert_eq!(page(&server, list("acme")).await.unwrap().total, Some(0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console_reads_are_paged_and_whole() {
    let server = TestServer::start().await;
    let users = names("user", 250);
    let mut changes = vec![change(wire::change::Change::PutAccount(
        wire::AccountPatch {
            catalog: Some(built_in("hubspot")),
            plan: Some("enterprise".to_owned()),
            ..wire::AccountPatch::default()
        },
    ))];
    changes.extend(users.iter().map(|user| put_user(user, None)));
    changes.push(grant("user00003", "contact", "view", wire::Level::Team));
    server.apply("acme", changes).await.unwrap();
    let mut read = Vec::new();
    let mut page_token = String::new();
    loop {
        let answer = server
            .directory()
            .list_users(wire::ListUsersRequest {
                account_id: "acme".to_owned(),
                page_size: 60,
                page_token,
                consistency: None,
            })
            .await
            .unwrap()
            .into_inner();
        assert!(answer.users.len() <= 60);
        read.extend(answer.users);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let ids: Vec<&String> = read.iter().map(|user| &user.id).collect();
    assert_eq!(ids, users.iter().collect::<Vec<_>>());
    assert_eq!(read[3].grants[0].provenance, "manual");

    let accounts = server
        .directory()
        .list_accounts(wire::ListAccountsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(accounts.accounts.len(), 1);
    assert_eq!(accounts.next_page_token, "");
    let missing = server
        .directory()
        .get_user(wire::GetUserRequest {
            account_id: "acme".to_owned(),
            user_id: "ghost".to_owned(),
            consistency: None,
        })
        .await;
    assert_eq!(reason(missing), Reason::UserNotFound);
    server.stop().await;
}
