//! What the typed client answers, beside what the server says.

use std::collections::BTreeSet;

use ambit::authz::decision::{DescribedAssignment, Presentation, Requestable, ResourceFacts};
use ambit::authz::model::{Id, Level, Principal};
use ambit::client::{
    ClientError, Code, Consistency, Decision, Filing, Narrowing, Question, RequestFilter,
    Resolving, Write,
};
use tokio_stream::StreamExt as _;

use super::{NORTHWIND, client_of, reason};
use crate::grpc::server::TestServer;

fn ask(user: &str, what: &str, id: &str) -> Question {
    let (resource_type, action) = what.split_once('.').unwrap();
    Question::new("northwind", user, resource_type, action).on(id)
}

#[tokio::test]
async fn a_decision_says_what_the_server_says() {
    let server = TestServer::start().await;
    let client = client_of(&server);
    let applied = client.apply_documents(NORTHWIND).await.unwrap();
    let client = client.with_consistency(Consistency::AtLeastAsFresh(applied[0].revision.clone()));

    let Decision::Allow(allow) = client
        .check(&ask("lena", "contact.edit", "bosch"))
        .await
        .unwrap()
    else {
        panic!("it is hers");
    };
    assert_eq!(
        (allow.reason.as_str(), allow.level),
        ("OWNER", Level::Owned)
    );
    assert_eq!(allow.revision, applied[0].revision);
    assert_eq!(allow.explanation, None);

    let denied = ask("pierre", "email.view", "spring-dach");
    let Decision::Deny(deny) = client.check(&denied).await.unwrap() else {
        panic!("it is walled");
    };
    assert_eq!(deny.reason, "NOT_IN_PARTITION");
    assert_eq!(deny.requestable, Requestable::Object);
    assert_eq!(deny.presentation, Presentation::BlockedPage);
    assert_eq!(deny.pending_access_request, None);
    let why = client.explain(&denied).await.unwrap();
    assert_eq!(why.explanation().unwrap().step, "wall");
    let explained = client.check(&denied.clone().explained()).await.unwrap();
    assert_eq!(explained.explanation(), why.explanation());

    // An expiry lies ahead: before and after it, and told.
    let export = Question::new("northwind", "tom", "contact", "export");
    let moment = |text: &str| ambit::authz::model::Timestamp::parse(text).unwrap();
    let before = export.clone().at(moment("2026-12-31T23:59:59Z"));
    let before = client.check(&before).await.unwrap();
    assert!(before.is_allow());
    assert_eq!(before.valid_until(), Some(moment("2027-01-01T00:00:00Z")));
    let after = export.at(moment("2027-01-01T00:00:00Z"));
    assert!(!client.check(&after).await.unwrap().is_allow());
}

#[tokio::test]
async fn what_is_described_takes_the_place_of_what_is_stored() {
    let server = TestServer::start().await;
    let client = client_of(&server);
    client.apply_documents(NORTHWIND).await.unwrap();
    let client = client.with_consistency(Consistency::FullyConsistent);
    let id = |text: &str| Id::parse(text).unwrap();
    let facts = |team: &str| ResourceFacts {
        owners: vec![id("mara")],
        owning_team: None,
        partitioned: true,
        assigned_to: vec![DescribedAssignment {
            principal: Principal::Team(id(team)),
            expires_at: None,
        }],
    };
    for (team, allowed) in [("france", true), ("dach", false)] {
        let question = ask("pierre", "email.view", "new").described_as(facts(team));
        let decision = client.check(&question).await.unwrap();
        assert_eq!(decision.is_allow(), allowed, "{team}");
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_order_and_a_wrong_item_spoils_no_other() {
    let server = TestServer::start().await;
    let client = client_of(&server);
    client.apply_documents(NORTHWIND).await.unwrap();
    let client = client.with_consistency(Consistency::FullyConsistent);
    let questions = [
        ask("lena", "contact.edit", "bosch"),
        ask("lena", "contact.juggle", "bosch"),
        ask("sofia", "contact.edit", "bosch"),
    ];
    let batch = client.batch_check("northwind", &questions).await.unwrap();
    assert!(batch.answers[0].as_ref().unwrap().is_allow());
    let error = batch.answers[1].as_ref().unwrap_err();
    assert_eq!(error.reason, "UNKNOWN_ACTION");
    assert_eq!(error.code, Code::InvalidArgument);
    assert_eq!(batch.answers[2].as_ref().unwrap().reason(), "NOT_OWNER");
    assert_eq!(
        batch.answers[2].as_ref().unwrap().revision(),
        batch.revision
    );

    let foreign = [Question::new("lumen", "a", "contact", "view")];
    let error = client.batch_check("northwind", &foreign).await.unwrap_err();
    assert!(matches!(error, ClientError::Configuration(_)), "{error:?}");
}

#[tokio::test]
async fn lists_pages_and_filters_of_any_length_agree() {
    let server = TestServer::start().await;
    let contacts: Vec<String> = (0..25_000).map(|n| format!("c{n:05}")).collect();
    server.make_account("acme", &contacts).await;
    let client = client_of(&server).with_consistency(Consistency::FullyConsistent);
    let question = Question::new("acme", "u", "contact", "view");
    let everywhere = Narrowing::default();

    let listing = client.list(&question, &everywhere).await.unwrap();
    assert_eq!(listing.total(), 25_000);
    let listed: BTreeSet<String> = listing.map(Result::unwrap).collect().await;
    assert!(listed.iter().eq(&contacts));

    let mut paged = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = client
            .list_page(&question, &everywhere, 9_000, token.as_deref())
            .await
            .unwrap();
        assert_eq!(page.total, 25_000);
        paged.extend(page.ids);
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(paged, contacts);

    // In one message, and in several.
    for length in [3, 25_000] {
        let mut asked: Vec<String> = contacts[..length].to_vec();
        asked.insert(1, "no-such".to_owned());
        asked.push("c00000".to_owned());
        let filtered = client.filter(&question, &asked).await.unwrap();
        asked.remove(1);
        assert_eq!(filtered.ids, asked);
        assert!(!filtered.revision.is_empty());
    }

    let mine = Narrowing {
        owner: Some("u".to_owned()),
        ..Narrowing::default()
    };
    let listing = client.list(&question, &mine).await.unwrap();
    assert_eq!(listing.all().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn who_and_what_are_listed() {
    let server = TestServer::start().await;
    let client = client_of(&server);
    client.apply_documents(NORTHWIND).await.unwrap();
    let client = client.with_consistency(Consistency::FullyConsistent);
    let who = Question::of_anyone("northwind", "contact", "edit").on("bosch");
    let users = client.list_users(&who).await.unwrap();
    assert_eq!(users.total(), 3);
    let users: Vec<(String, String)> = users
        .all()
        .await
        .unwrap()
        .into_iter()
        .map(|user| (user.user, user.reason))
        .collect();
    let expected = [
        ("ada", "SUPER_ADMIN"),
        ("heike", "PARENT_TEAM"),
        ("lena", "OWNER"),
    ]
    .map(|(user, reason)| (user.to_owned(), reason.to_owned()));
    assert_eq!(users, expected);

    let what = Question::of_any_action("northwind", "sofia", "contact").on("bosch");
    let actions = client.list_actions(&what).await.unwrap().actions;
    let names: Vec<&str> = actions
        .iter()
        .map(|action| action.action.as_str())
        .collect();
    assert!(
        names.contains(&"view") && !names.contains(&"edit"),
        "{names:?}"
    );
}

#[tokio::test]
async fn an_access_request_goes_from_the_denial_to_the_grant() {
    let server = TestServer::start().await;
    let client = client_of(&server);
    client.apply_documents(NORTHWIND).await.unwrap();
    let client = client.with_consistency(Consistency::FullyConsistent);
    let denied = ask("pierre", "email.view", "spring-dach");

    let filing = Filing::new(denied.clone(), "I prepare the French edition").keyed("file-1");
    let filed = client.file_access_request(&filing).await.unwrap();
    assert!(!filed.existing);
    let id = filed.access_request.id.clone();
    assert_eq!(filed.access_request.denied_as, "NOT_IN_PARTITION");
    let Decision::Deny(deny) = client.check(&denied).await.unwrap() else {
        panic!("filing gives nothing");
    };
    assert_eq!(deny.pending_access_request.as_ref(), Some(&id));

    let pending = RequestFilter {
        states: vec![ambit::authz::access_request::RequestState::Pending],
        approver: Some("ada".to_owned()),
        ..RequestFilter::default()
    };
    let page = client
        .list_access_requests("northwind", &pending, None)
        .await
        .unwrap();
    assert_eq!(page.access_requests, [filed.access_request]);

    let suggestions = client
        .suggest_resolutions("northwind", &id, Some("ada"), None)
        .await
        .unwrap();
    let least = &suggestions[0];
    assert_eq!((least.opens, least.users), (1, 1));
    let own = Resolving::new("northwind", &id, "pierre");
    let approved = client
        .approve_access_request(&own, &least.resolution, None)
        .await;
    assert_eq!(reason(approved), "SELF_APPROVAL");
    let resolving = Resolving::new("northwind", &id, "ada").keyed("approve-1");
    let approved = client
        .approve_access_request(&resolving, &least.resolution, None)
        .await
        .unwrap();
    assert!(approved.check.unwrap().is_allow());
    assert!(client.check(&denied).await.unwrap().is_allow());

    let revoked = client
        .revoke_access_request(&Resolving::new("northwind", &id, "ada").noting("done"))
        .await
        .unwrap();
    assert!(!revoked.check.unwrap().is_allow());
    let kept = client.get_access_request("northwind", &id).await.unwrap();
    assert_eq!(kept, revoked.access_request);
    let late = client
        .deny_access_request(&Resolving::new("northwind", &id, "ada").noting("no"))
        .await;
    assert_eq!(reason(late), "REQUEST_NOT_PENDING");
    let foreign = client
        .cancel_access_request(&Resolving::new("northwind", &id, "lena"))
        .await;
    assert_eq!(reason(foreign), "NOT_THE_REQUESTER");
}

/// On the wire an empty id means something else: the tool as a whole, or no limit at all.
#[tokio::test]
async fn an_empty_id_never_asks_another_question() {
    let server = TestServer::start().await;
    let client = client_of(&server);
    client.apply_documents(NORTHWIND).await.unwrap();
    let client = client.with_consistency(Consistency::FullyConsistent);
    // The control: of the tool the answer would be an ALLOW.
    let tool = Question::new("northwind", "lena", "contact", "edit");
    assert!(client.check(&tool).await.unwrap().is_allow());
    let empty = tool.clone().on("");
    let is_local = |error: ClientError| matches!(error, ClientError::Configuration(_));
    assert!(is_local(client.check(&empty).await.unwrap_err()));
    assert!(is_local(client.explain(&empty).await.unwrap_err()));
    assert!(is_local(
        client
            .batch_check("northwind", std::slice::from_ref(&empty))
            .await
            .unwrap_err()
    ));
    assert!(is_local(client.list_users(&empty).await.unwrap_err()));
    assert!(is_local(client.list_actions(&empty).await.unwrap_err()));
    assert!(is_local(
        client
            .file_access_request(&Filing::new(empty, "why"))
            .await
            .unwrap_err()
    ));
    let narrowed = Narrowing {
        team: Some(String::new()),
        ..Narrowing::default()
    };
    assert!(is_local(client.list(&tool, &narrowed).await.unwrap_err()));
    let named = tool.on("bosch");
    let everywhere = Narrowing::default();
    assert!(is_local(
        client.list(&named, &everywhere).await.unwrap_err()
    ));
    assert!(is_local(client.filter(&named, &[]).await.unwrap_err()));
}

#[tokio::test]
async fn an_error_is_none_of_the_answers() {
    let server = TestServer::start().await;
    let client = client_of(&server);
    client.apply_documents(NORTHWIND).await.unwrap();
    let client = client.with_consistency(Consistency::FullyConsistent);
    let unknown = Question::new("nowhere", "u", "contact", "view");
    assert_eq!(reason(client.check(&unknown).await), "ACCOUNT_NOT_FOUND");
    assert_eq!(
        reason(client.check(&ask("lena", "contact.juggle", "bosch")).await),
        "UNKNOWN_ACTION"
    );
    let permit = client.permit(&ask("lena", "contact.juggle", "bosch")).await;
    assert!(matches!(permit, Err(ambit::client::Blocked::Failed(_))));
    let forged = client.with_consistency(Consistency::AtLeastAsFresh("x".to_owned()));
    assert_eq!(
        reason(forged.check(&ask("lena", "contact.view", "bosch")).await),
        "REVISION_MALFORMED"
    );
    let stood = Write::of("northwind", Vec::new()).expecting("x");
    assert_eq!(reason(client.apply(&stood).await), "REVISION_MALFORMED");
    let empties = "account: northwind\ncatalog: hubspot\nusers:\n  - {id: lena, grants: {}}\n";
    let error = client.apply_documents(empties).await.unwrap_err();
    assert!(error.to_string().contains("use `ambit apply`"), "{error}");
}
