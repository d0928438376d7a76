//! `CreateRequestLink`: a link for who may resolve the request now, and for nobody else.

use ambit::authz::model::{EntityKey, Id};
use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use ambit::store::audit::AuditEffect;
use tonic::Status;

use super::scene::{ACME, Scene, approval, object_grant, view};
use crate::cli::{Home, Server};
use crate::console::Browser;
use crate::grpc::reason;
use crate::grpc::server::TestServer;
use crate::store_contract::audit::records;

async fn link(
    server: &TestServer,
    request: &str,
    approver: &str,
) -> Result<wire::CreateRequestLinkResponse, Status> {
    let request = wire::CreateRequestLinkRequest {
        account_id: "acme".to_owned(),
        access_request_id: request.to_owned(),
        approver_user_id: approver.to_owned(),
    };
    let answer = server.requests().create_request_link(request).await?;
    Ok(answer.into_inner())
}

/// S1.5, R3: the product puts the link where its own admin reads, and one click leads to the page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_5_a_link_opens_the_page_of_its_approver_until_it_expires_or_is_used() {
    let (scene, server) = Scene::with_acme().await;
    let id = server.filed(view("u", "c1")).await;
    let first = link(&server, &id, "sa").await.unwrap();
    let second = link(&server, &id, "sa").await.unwrap();
    let of_boss = link(&server, &id, "boss").await.unwrap();
    assert_eq!(first.expires_at, scene.after(3_600));
    let page = format!(
        "http://{}/accounts/acme/users/u/permissions?request={id}&token=",
        server.http
    );
    // Each is recorded, whom it is for and not what it opens; a refused one is not.
    assert_eq!(reason(link(&server, &id, "u").await), Reason::SelfApproval);
    let noted: Vec<_> = records(&*scene.store().await)
        .await
        .into_iter()
        .filter(|record| record.method.as_deref() == Some("CreateRequestLink"))
        .collect();
    let approvers: Vec<_> = noted
        .iter()
        .map(|record| (record.effect, record.actor.as_deref()))
        .collect();
    let noted_for = |approver| (AuditEffect::Noted, Some(approver));
    assert_eq!(
        approvers,
        [noted_for("sa"), noted_for("sa"), noted_for("boss")]
    );
    let named = EntityKey::AccessRequest(Id::parse(&id).unwrap());
    assert!(noted.iter().all(|record| record.entities[0].key == named));
    let urls = [&first.url, &second.url, &of_boss.url];
    assert!(urls.iter().all(|url| url.starts_with(&page)), "{urls:?}");
    assert!(first.url != second.url && second.url != of_boss.url);

    let mut browser = Browser::new(server.http);
    let shown = browser.get(&first.url).await.is(200);
    browser.submit(&shown.form("approve")).await.is(200);
    assert_eq!(server.state(&id).await, wire::AccessRequestState::Approved);
    let again = Browser::new(server.http).get(&first.url).await;
    again.is(403).says("This link has been used");
    // One is used up, and not the others; also for a request that has ended.
    Browser::new(server.http).get(&second.url).await.is(200);
    let of_ended = link(&server, &id, "boss").await.unwrap();
    Browser::new(server.http).get(&of_ended.url).await.is(200);
    scene.clock.advance(std::time::Duration::from_secs(3_600));
    let late = Browser::new(server.http).get(&second.url).await;
    late.is(403).says("This link has expired");
}

/// Case 36 and R4: not for the requester in any disguise, nor for who is no approver (any more).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_a_link_is_for_an_approver_of_now() {
    let (_scene, server) = Scene::with_acme().await;
    let id = server.filed(view("u", "c1")).await;
    for (user, expected) in [
        ("u", Reason::SelfApproval),
        ("u-admin", Reason::SamePerson),
        ("w", Reason::NotAnApprover),
        ("nobody", Reason::NotAnApprover),
        ("", Reason::InvalidField),
    ] {
        assert_eq!(reason(link(&server, &id, user).await), expected, "{user}");
    }
    let unknown = "019a0000-0000-7000-8000-000000000000";
    let refused = reason(link(&server, unknown, "sa").await);
    assert_eq!(refused, Reason::AccessRequestNotFound);

    // Who is demoted afterwards finds the link closed, and gets no other.
    let given = link(&server, &id, "boss").await.unwrap();
    let boss =
        "- {id: boss, main_team: fr, seats: [core], grants: {user_management.edit: everything,";
    assert!(ACME.contains(boss));
    let demoted = ACME.replace(
        boss,
        "- {id: boss, main_team: fr, seats: [core], grants: {user_management.edit: none,",
    );
    server.put(&demoted).await;
    assert_eq!(
        reason(link(&server, &id, "boss").await),
        Reason::NotAnApprover
    );
    let closed = Browser::new(server.http).get(&given.url).await;
    closed.is(403).says("You may not resolve this request");
    // It was not spent by that: nothing is done, and nothing was changed.
    assert_eq!(server.state(&id).await, wire::AccessRequestState::Pending);
    let still = server.approve(approval(&id, "sa", object_grant())).await;
    assert!(still.is_ok());
}

#[test]
fn a_command_makes_a_link_and_the_log_says_for_whom_without_it() {
    let home = Home::migrated();
    let log = home.path().join("log");
    let server = Server::start_logging(&home, &log);
    server.apply(ACME);
    let filed = server
        .run([
            "request",
            "file",
            "acme",
            "u",
            "contact.view",
            "c1",
            "--reason",
            "why",
            "--output",
            "json",
        ])
        .ends(0)
        .json();
    let id = filed["access_request"]["id"].as_str().unwrap();
    let made = server
        .run([
            "request", "link", "acme", id, "--for", "sa", "--output", "json",
        ])
        .ends(0)
        .json();
    let url = made["url"].as_str().unwrap();
    let (_, token) = url.split_once("&token=").unwrap();
    assert!(made["expires_at"].is_string());
    let shown = server
        .run(["request", "link", "acme", id, "--for", "sa"])
        .ends(0);
    assert!(shown.lines()[0].contains("&token="), "{shown:?}");
    assert!(shown.lines()[1].starts_with("until "), "{shown:?}");
    let refused = server
        .run(["request", "link", "acme", id, "--for", "u"])
        .ends(4);
    assert!(refused.stderr.contains("SELF_APPROVAL"), "{refused:?}");
    server.stop();
    let log = std::fs::read_to_string(log).unwrap();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("a link to an access request was made"))
        .collect();
    assert_eq!(told.len(), 2, "{log}");
    assert!(
        told.iter()
            .all(|line| line.contains("ambit::audit") && line.contains(id))
    );
    assert!(!log.contains(token) && !log.contains("token="), "{log}");
}
