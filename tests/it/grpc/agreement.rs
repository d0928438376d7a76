//! Over the wire too, the rpcs agree for every question: `Check`, `BatchCheck`, `ListAccessible`,
//! `FilterAccessible` (both), `ListUsersWithAccess`, `ListActions` and `Explain`.

use std::collections::{BTreeMap, BTreeSet};

use ambit::authz::catalog::Catalog;
use ambit::grpc::wire;

use super::collect;
use super::server::{TestServer, at_least, list};

/// A moment at which the time-bound grants of the demo are alive.
fn at() -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: 1_795_305_600,
        nanos: 0,
    })
}

struct Account {
    id: String,
    revision: String,
    users: Vec<String>,
    resources: BTreeMap<String, Vec<String>>,
    catalog: std::sync::Arc<Catalog>,
}

async fn account(server: &TestServer, id: &str, revision: &str) -> Account {
    let mut directory = server.directory();
    let read = directory
        .get_account(wire::GetAccountRequest {
            account_id: id.to_owned(),
            consistency: at_least(revision),
        })
        .await
        .unwrap()
        .into_inner();
    let catalog = match read.account.unwrap().catalog.unwrap().catalog.unwrap() {
        wire::catalog_ref::Catalog::BuiltIn(name) => Catalog::built_in(&name).unwrap(),
        wire::catalog_ref::Catalog::Source(text) => {
            std::sync::Arc::new(Catalog::parse(&text).unwrap())
        }
    };
    let mut users: Vec<String> = directory
        .list_users(wire::ListUsersRequest {
            account_id: id.to_owned(),
            page_size: 1_000,
            ..wire::ListUsersRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
        .users
        .into_iter()
        .map(|user| user.id)
        .collect();
    users.push("nobody".to_owned());
    let mut resources = BTreeMap::new();
    for resource_type in &catalog.types {
        let name = resource_type.name.to_string();
        let mut ids: Vec<String> = directory
            .list_resources(wire::ListResourcesRequest {
                account_id: id.to_owned(),
                resource_type: name.clone(),
                page_size: 1_000,
                ..wire::ListResourcesRequest::default()
            })
            .await
            .unwrap()
            .into_inner()
            .resources
            .into_iter()
            .map(|resource| resource.id)
            .collect();
        if !ids.is_empty() {
            ids.push("no-such-resource".to_owned());
            resources.insert(name, ids);
        }
    }
    Account {
        id: id.to_owned(),
        revision: revision.to_owned(),
        users,
        resources,
        catalog,
    }
}

/// Answers by (user, action, resource id), as `BatchCheck` gives them.
async fn batch(
    server: &TestServer,
    account: &Account,
    resource_type: &str,
    actions: &[String],
) -> BTreeMap<(String, String, String), wire::BatchCheckResult> {
    let mut questions = Vec::new();
    for user in &account.users {
        for action in actions {
            for id in &account.resources[resource_type] {
                questions.push((user.clone(), action.clone(), id.clone()));
            }
        }
    }
    let answer = server
        .decisions()
        .batch_check(wire::BatchCheckRequest {
            account_id: account.id.clone(),
            items: questions
                .iter()
                .map(|(user, action, id)| wire::BatchCheckItem {
                    user_id: user.clone(),
                    action: action.clone(),
                    resource_type: resource_type.to_owned(),
                    resource_id: id.clone(),
                    ..wire::BatchCheckItem::default()
                })
                .collect(),
            at: at(),
            consistency: at_least(&account.revision),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.revision, account.revision);
    questions.into_iter().zip(answer.results).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_rpcs_agree_on_the_demo() {
    let server = TestServer::start().await;
    let mut questions = 0;
    for file in ["northwind", "bonbon", "lumen"] {
        for (id, revision) in server.load(&format!("examples/demo/{file}.yaml")).await {
            let account = account(&server, &id, &revision).await;
            for resource_type in account.resources.keys() {
                questions += agree_on(&server, &account, resource_type).await;
            }
        }
    }
    assert!(questions > 500, "only {questions} questions were asked");
    server.stop().await;
}

async fn agree_on(server: &TestServer, account: &Account, resource_type: &str) -> usize {
    let type_ix = account.catalog.type_ix(resource_type).unwrap();
    let actions: Vec<String> = account.catalog.types[usize::from(type_ix.0)]
        .actions
        .iter()
        .map(|action| account.catalog.actions[usize::from(action.0)].to_string())
        .collect();
    let answers = batch(server, account, resource_type, &actions).await;
    for user in &account.users {
        for action in &actions {
            let allowed: BTreeSet<String> = account.resources[resource_type]
                .iter()
                .filter(|id| {
                    let key = (user.clone(), action.clone(), (*id).clone());
                    answers[&key].decision == i32::from(wire::Decision::Allow)
                })
                // `create` ignores the id, and lists nothing that is not stored.
                .filter(|id| *id != "no-such-resource" || action != "create")
                .cloned()
                .collect();
            lists_agree(server, account, user, action, resource_type, &allowed).await;
        }
    }
    for id in &account.resources[resource_type] {
        for action in &actions {
            who_agrees(server, account, resource_type, action, id, &answers).await;
        }
        actions_agree(server, account, resource_type, id, &actions, &answers).await;
    }
    single_checks_agree(server, account, resource_type, &answers).await;
    answers.len()
}

async fn lists_agree(
    server: &TestServer,
    account: &Account,
    user: &str,
    action: &str,
    resource_type: &str,
    allowed: &BTreeSet<String>,
) {
    let context = format!("{} {user} {resource_type}.{action}", account.id);
    let mut decisions = server.decisions();
    let request = wire::ListAccessibleRequest {
        user_id: user.to_owned(),
        action: action.to_owned(),
        resource_type: resource_type.to_owned(),
        at: at(),
        ..list(&account.id)
    };
    let stream = decisions
        .list_accessible(request.clone())
        .await
        .unwrap()
        .into_inner();
    let chunks = collect(stream).await.unwrap();
    let listed: Vec<String> = chunks.iter().flat_map(|chunk| chunk.ids.clone()).collect();
    assert_eq!(
        &listed.iter().cloned().collect::<BTreeSet<_>>(),
        allowed,
        "{context}"
    );
    assert_eq!(listed.len(), allowed.len(), "{context}: listed twice");
    assert_eq!(chunks[0].total, Some(allowed.len() as u64), "{context}");

    // Pages of two are the same set, in byte order.
    let mut paged = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListAccessibleRequest {
            page_size: 2,
            page_token,
            ..request.clone()
        };
        let stream = decisions
            .list_accessible(request)
            .await
            .unwrap()
            .into_inner();
        let chunks = collect(stream).await.unwrap();
        paged.extend(chunks.iter().flat_map(|chunk| chunk.ids.clone()));
        page_token = chunks.last().unwrap().next_page_token.clone();
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(
        paged,
        allowed.iter().cloned().collect::<Vec<_>>(),
        "{context}"
    );

    if action == "create" {
        return;
    }
    let candidates = account.resources[resource_type].clone();
    let expected: Vec<String> = candidates
        .iter()
        .filter(|id| allowed.contains(*id))
        .cloned()
        .collect();
    let filtered = decisions
        .filter_accessible(wire::FilterAccessibleRequest {
            account_id: account.id.clone(),
            user_id: user.to_owned(),
            action: action.to_owned(),
            resource_type: resource_type.to_owned(),
            resource_ids: candidates.clone(),
            at: at(),
            consistency: None,
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(filtered.ids, expected, "{context}");
    let mut messages: Vec<wire::FilterAccessibleStreamRequest> = candidates
        .iter()
        .map(|id| wire::FilterAccessibleStreamRequest {
            resource_ids: vec![id.clone()],
            ..wire::FilterAccessibleStreamRequest::default()
        })
        .collect();
    messages[0].account_id.clone_from(&account.id);
    messages[0].user_id = user.to_owned();
    messages[0].action = action.to_owned();
    messages[0].resource_type = resource_type.to_owned();
    messages[0].at = at();
    let stream = decisions
        .filter_accessible_stream(tokio_stream::iter(messages))
        .await
        .unwrap()
        .into_inner();
    let answers = collect(stream).await.unwrap();
    assert_eq!(answers.len(), candidates.len(), "one answer a message");
    let streamed: Vec<String> = answers.into_iter().flat_map(|answer| answer.ids).collect();
    assert_eq!(streamed, expected, "{context}");
}

type Answers = BTreeMap<(String, String, String), wire::BatchCheckResult>;

async fn who_agrees(
    server: &TestServer,
    account: &Account,
    resource_type: &str,
    action: &str,
    id: &str,
    answers: &Answers,
) {
    let stream = server
        .decisions()
        .list_users_with_access(wire::ListUsersWithAccessRequest {
            account_id: account.id.clone(),
            action: action.to_owned(),
            resource_type: resource_type.to_owned(),
            resource_id: id.to_owned(),
            at: at(),
            ..wire::ListUsersWithAccessRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    let chunks = collect(stream).await.unwrap();
    let users: BTreeMap<String, wire::UserAccess> = chunks
        .into_iter()
        .flat_map(|chunk| chunk.users)
        .map(|user| (user.user_id.clone(), user))
        .collect();
    for user in &account.users {
        let answer = &answers[&(user.clone(), action.to_owned(), id.to_owned())];
        let context = format!("{} {user} {resource_type}.{action} {id}", account.id);
        match users.get(user) {
            Some(access) => {
                assert_eq!(answer.decision(), wire::Decision::Allow, "{context}");
                assert_eq!(answer.reason, access.reason, "{context}");
                assert_eq!(answer.level, access.level, "{context}");
                assert_eq!(answer.valid_until, access.valid_until, "{context}");
            }
            None => assert_eq!(answer.decision(), wire::Decision::Deny, "{context}"),
        }
    }
}

async fn actions_agree(
    server: &TestServer,
    account: &Account,
    resource_type: &str,
    id: &str,
    actions: &[String],
    answers: &Answers,
) {
    for user in &account.users {
        let allowed: Vec<String> = server
            .decisions()
            .list_actions(wire::ListActionsRequest {
                account_id: account.id.clone(),
                user_id: user.clone(),
                resource_type: resource_type.to_owned(),
                resource_id: id.to_owned(),
                at: at(),
                ..wire::ListActionsRequest::default()
            })
            .await
            .unwrap()
            .into_inner()
            .actions
            .into_iter()
            .map(|action| action.action)
            .collect();
        let expected: Vec<String> = actions
            .iter()
            .filter(|action| {
                answers[&(user.clone(), (*action).clone(), id.to_owned())].decision()
                    == wire::Decision::Allow
            })
            .cloned()
            .collect();
        assert_eq!(
            allowed, expected,
            "{} {user} {resource_type} {id}",
            account.id
        );
    }
}

/// `Check`, alone and with its explanation, and `Explain`, on every seventh question.
async fn single_checks_agree(
    server: &TestServer,
    account: &Account,
    resource_type: &str,
    answers: &Answers,
) {
    let mut decisions = server.decisions();
    for ((user, action, id), answer) in answers.iter().step_by(7) {
        let context = format!("{} {user} {resource_type}.{action} {id}", account.id);
        for explain in [false, true] {
            let checked = decisions
                .check(wire::CheckRequest {
                    account_id: account.id.clone(),
                    user_id: user.clone(),
                    action: action.clone(),
                    resource_type: resource_type.to_owned(),
                    resource_id: id.clone(),
                    at: at(),
                    explain,
                    ..wire::CheckRequest::default()
                })
                .await
                .unwrap()
                .into_inner();
            assert_eq!(
                (checked.decision, &checked.reason, checked.level),
                (answer.decision, &answer.reason, answer.level),
                "{context}"
            );
            assert_eq!(
                (
                    checked.requestable,
                    checked.presentation,
                    checked.valid_until
                ),
                (answer.requestable, answer.presentation, answer.valid_until),
                "{context}"
            );
            assert_eq!(checked.explanation.is_some(), explain, "{context}");
            assert_eq!(checked.pending_access_request_id, "", "{context}");
        }
        let explained = decisions
            .explain(wire::ExplainRequest {
                account_id: account.id.clone(),
                user_id: user.clone(),
                action: action.clone(),
                resource_type: resource_type.to_owned(),
                resource_id: id.clone(),
                at: at(),
                ..wire::ExplainRequest::default()
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (explained.decision, &explained.reason),
            (answer.decision, &answer.reason),
            "{context}"
        );
        let explanation = explained.explanation.unwrap();
        assert!(!explanation.summary.is_empty(), "{context}");
    }
}
