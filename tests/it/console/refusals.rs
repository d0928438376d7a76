//! What is refused, and that a refusal shows nothing.

use ambit::grpc::wire::AccessRequestState as State;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use ambit::clock::{Clock as _, SystemClock};
use ambit::links::Links;

use super::browser_like::{Answer, Browser, Form};
use super::{Desk, HOUR, id, random};
use crate::cli::{ambit, run_with_input};
use crate::database::Database;

/// What no stranger may read.
#[track_caller]
fn shows_nothing(answer: &Answer) {
    // Not in the whole body: its links hold what was asked, and in a token any word may stand.
    let text = answer.text();
    for word in ["lena", "bosch", "audit", "germany", "ada", "otto"] {
        assert!(!text.contains(word), "`{word}` is in {text}");
    }
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn without_a_link_of_ones_own_there_is_no_page() {
    let desk = Desk::start().await;
    let (request, other) = (
        desk.file("edit", "bosch").await,
        desk.file("edit", "siemens").await,
    );
    desk.change("account: acme2\ncatalog: hubspot\nplan: enterprise\nusers: [{id: ada, super_admin: true}]\n")
        .await;
    let link = desk.link(&request, "ada");
    let (page, token) = link.split_once("&token=").unwrap();
    let browser = desk.browser();
    let refused = async |url: &str, status: u16, says: &str| {
        let answer = browser.get(url).await.is(status).says(says);
        shows_nothing(&answer);
    };
    refused(page, 403, "No access").await;
    refused("/accounts/acme/requests", 403, "No access").await;
    refused("/accounts/nobody/requests", 403, "No access").await;
    refused(&page.replace("?request=", "?x="), 403, "No access").await;
    // Another request, another account, another requester, and what never was a link.
    refused(
        &link.replace(&request, &other),
        403,
        "This link is not valid",
    )
    .await;
    refused(
        &link.replace("/acme/", "/acme2/"),
        403,
        "This link is not valid",
    )
    .await;
    refused(
        &link.replace("/lena/", "/nils/"),
        404,
        "There is no such page",
    )
    .await;
    refused(&format!("{page}&token=x"), 403, "This link is not valid").await;
    refused(&format!("{link}x"), 403, "This link is not valid").await;
    let flipped = if token.starts_with("AA") { "BA" } else { "AA" };
    refused(
        &format!("{page}&token={flipped}{}", token.get(2..).unwrap()),
        403,
        "not valid",
    )
    .await;
    // Of a request that never was.
    let unknown = desk.link("018f0000-0000-7000-8000-000000000000", "ada");
    refused(&unknown, 404, "There is no such request").await;
    // A time that is over.
    let links = desk.links(std::time::Duration::from_secs(1));
    let long_ago = ambit::authz::model::Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    let expired = links.make(
        &id("acme"),
        &id(&request),
        &id("lena"),
        &id("ada"),
        random(),
        long_ago,
    );
    refused(&expired, 403, "This link has expired").await;
    // Of another database.
    let forged = Links::new([1; 32], "http://127.0.0.1", HOUR);
    let now = ambit::authz::model::Timestamp::MAX;
    let forged = forged.make(
        &id("acme"),
        &id(&request),
        &id("lena"),
        &id("ada"),
        random(),
        now,
    );
    refused(&forged, 403, "This link is not valid").await;
    for path in [
        "/accounts/acme",
        "/accounts/%ff/requests",
        "/accounts/acme/users/lena",
    ] {
        refused(path, 404, "There is no such page").await;
    }
    assert_eq!(desk.state(&request).await, State::Pending);
    desk.stop().await;
}

/// R4, reliability.md case 36: a link is no right. Whoever may not resolve it, sees nothing of it.
#[tokio::test]
async fn r4_the_right_to_resolve_is_asked_of_the_account_each_time() {
    let desk = Desk::start().await;
    let request = desk.file("edit", "bosch").await;
    let browser = desk.browser();
    for approver in ["lena", "nils", "nobody"] {
        let answer = browser.get(&desk.link(&request, approver)).await.is(403);
        answer.clone().says("You may not resolve this request");
        assert!(!answer.body.contains("bosch"), "{approver}");
    }
    // One who had the right and lost it: with the link, with its form, and in a session.
    let links: Vec<String> = (0..3).map(|_| desk.link(&request, "otto")).collect();
    let page = browser.get(&links[0]).await.is(200);
    let mut session = desk.browser();
    let opened = session.get(&links[1]).await.is(200);
    session.submit(&opened.form("open")).await.is(200);
    let in_session = session
        .get(links[1].split_once("&token").unwrap().0)
        .await
        .is(200);
    for lost in [
        "users: [{id: otto, status: deactivated}]",
        "users: [{id: otto, status: active, grants: {user_management.edit: none}}]",
    ] {
        desk.change(&format!("account: acme\n{lost}\n")).await;
        let mut browser = desk.browser();
        for answer in [
            browser.get(&links[2]).await,
            browser.post(&page.form("deny").with("note", "no")).await,
            browser.post(&page.form("approve")).await,
            session.get(in_session.url.as_str()).await,
            session
                .post(&in_session.form("deny").with("note", "no"))
                .await,
        ] {
            let answer = answer.is(403).says("You may not resolve this request");
            shows_nothing(&answer);
        }
    }
    session
        .get("/accounts/acme/requests")
        .await
        .is(200)
        .says("Nothing waits for you.");
    desk.change("account: acme\nusers: [{id: otto, status: deactivated}]\n")
        .await;
    session.get("/accounts/acme/requests").await.is(403);
    // The link was not spent by what was refused.
    desk.change("account: acme\nusers: [{id: otto, status: active, grants: {user_management.edit: everything}}]\n").await;
    desk.browser().get(&links[0]).await.is(200);
    assert_eq!(desk.state(&request).await, State::Pending);
    desk.stop().await;
}

#[tokio::test]
async fn a_form_that_is_none_of_ours_does_nothing() {
    let desk = Desk::start().await;
    let (request, other) = (
        desk.file("edit", "bosch").await,
        desk.file("edit", "siemens").await,
    );
    let mut browser = desk.browser();
    let page = browser.get(&desk.link(&request, "ada")).await.is(200);
    let approve = page.form("approve");
    let opened = browser.get(&desk.link(&other, "ada")).await.is(200);
    browser.submit(&opened.form("open")).await.is(200);
    let in_session = browser
        .get(page.url.as_str().split_once("&token").unwrap().0)
        .await
        .is(200);
    let deny = in_session.form("deny").with("note", "no");
    let mut refused = Vec::new();
    let same = ("sec-fetch-site", "same-origin");
    for form in [
        approve.clone().without("mark"),
        approve.clone().with("mark", "x"),
        approve.clone().with("mark", &deny.fields["mark"]),
        deny.clone().without("mark"),
        deny.clone().with("mark", &approve.fields["mark"]),
    ] {
        refused.push(browser.post_with(&form, &[same]).await);
    }
    for form in [&approve, &deny] {
        for from in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "none"),
            ("origin", "https://evil.example"),
        ] {
            refused.push(browser.post_with(form, &[from]).await);
        }
    }
    let url = browser.url(approve.url.as_str());
    for form_type in ["text/plain", "application/json", "multipart/form-data"] {
        let headers = [same, ("content-type", form_type)];
        refused.push(
            browser
                .send("POST", url.clone(), &headers, &approve.body())
                .await,
        );
    }
    for answer in refused {
        shows_nothing(&answer.is(403).says("The form was refused"));
    }
    // Without a link and without a session.
    let mut stranger = desk.browser();
    stranger.post(&deny).await.is(403).says("No access");
    stranger
        .post(&approve.clone().without("token"))
        .await
        .is(403)
        .says("No access");
    // The mark of one request's link is none of another's.
    let form = approve
        .clone()
        .with("token", &opened.form("approve").fields["token"]);
    stranger.post(&form).await.is(403);
    // Too large, or by another method.
    let large = approve.clone().with("note", &"x".repeat(20_000));
    shows_nothing(&stranger.post(&large).await.is(413));
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = stranger.send(method, url.clone(), &[same], "").await;
        shows_nothing(&answer.is(404));
    }
    assert_eq!(desk.state(&request).await, State::Pending);
    // After all that, nothing was spent: an old browser that says nothing of itself gets through.
    stranger.post_with(&approve, &[]).await.is(303);
    assert_eq!(desk.state(&request).await, State::Approved);
    desk.stop().await;
}

/// reliability.md case 37: what is refused is told in a sentence, the page stays as it was filled
/// in, and nothing was changed.
#[tokio::test]
async fn case_37_beyond_the_approvers_own_rights_is_refused_in_words() {
    let desk = Desk::start().await;
    let request = desk.file("export", "").await;
    let mut browser = desk.browser();
    let page = browser.get(&desk.link(&request, "otto")).await.is(200);
    let page = page.says("Not yours to give: You cannot give or take");
    assert!(page.body.contains(" disabled>") && !page.body.contains(" checked"));
    let ways = page.attributes("input", "value");
    let way = ways
        .iter()
        .find(|value| value.starts_with("direct_grant:"))
        .unwrap();
    // The button of what can't be given is off; a browser that sends it all the same is told why.
    let form = page
        .form("approve")
        .with("resolution", way)
        .with("note", "Go \"on\" <now>");
    let again = browser.post(&form).await.is(422);
    let again = again.says("Not done You cannot give or take");
    assert!(
        again.body.contains("Go &#34;on&#34; &#60;now&#62;"),
        "{}",
        again.body
    );
    assert_eq!(desk.state(&request).await, State::Pending);
    assert!(
        !browser.cookies.is_empty(),
        "the link was spent, so there is a session"
    );
    // What is missing or no value of ours.
    for (form, says) in [
        (
            again.form("approve").without("resolution"),
            "Choose how it is to be approved.",
        ),
        (
            again.form("approve").with("resolution", "super_admin"),
            "Choose how",
        ),
        (
            again
                .form("approve")
                .with("resolution", way)
                .with("amount", "0"),
            "The end must lie ahead",
        ),
        (
            again.form("deny").with("note", "  "),
            "The text must have 1 to 1,000 characters",
        ),
        (
            again.form("deny").with("note", &"ü".repeat(1_001)),
            "The text must have",
        ),
        (
            again.form("deny").with("note", "\u{7}"),
            "The text must have",
        ),
    ] {
        browser.post(&form).await.is(422).says(says);
    }
    assert_eq!(desk.state(&request).await, State::Pending);
    desk.stop().await;
}

/// reliability.md case 39: the first decision stands, and whoever comes later reads so.
#[tokio::test]
async fn case_39_who_decides_later_reads_what_was_decided() {
    let desk = Desk::start().await;
    let request = desk.file("edit", "bosch").await;
    let (mut ada, mut otto) = (desk.browser(), desk.browser());
    let hers = ada.get(&desk.link(&request, "ada")).await.is(200);
    let his = otto.get(&desk.link(&request, "otto")).await.is(200);
    ada.submit(&hers.form("deny").with("note", "Not now"))
        .await
        .is(200);
    let late = otto
        .post(&his.form("deny").with("note", "No"))
        .await
        .is(409);
    let late = late
        .says("Somebody or something was faster: the request is closed (Denied)")
        .says("ada denied")
        .says("Not now");
    assert!(!late.has_form("approve"));
    assert_eq!(desk.state(&request).await, State::Denied);
    desk.stop().await;
}

/// R7: the ground of a request is looked at once more when it is decided on.
#[tokio::test]
async fn r7_a_request_that_lost_its_ground_is_not_granted() {
    let desk = Desk::start().await;
    let request = desk.file("edit", "bosch").await;
    let mut browser = desk.browser();
    let page = browser.get(&desk.link(&request, "ada")).await.is(200);
    desk.change("account: acme\nusers: [{id: lena, status: deactivated}]\n")
        .await;
    let answer = browser.post(&page.form("approve")).await;
    // The server may have ended it by itself meanwhile.
    assert!([409, 422].contains(&answer.status), "{answer:#?}");
    assert_eq!(desk.state(&request).await, State::Cancelled);
    let url = page.url.as_str().split_once("&token").unwrap().0.to_owned();
    let page = browser.get(&url).await.is(200);
    page.says("Withdrawn by Ambit, since the requester is no active user any more");
    desk.stop().await;
}

/// A link and a session are credentials: nothing of them is logged, be the log as talkative as it can.
#[tokio::test]
async fn the_log_knows_no_tokens() {
    let (database, folder) = (Database::new(), tempfile::tempdir().unwrap());
    let log = folder.path().join("log");
    let mut command = ambit(["serve", "--output", "json", "--log-filter", "trace"]);
    let mut server = command
        .args([
            "--grpc-address",
            "127.0.0.1:0",
            "--http-address",
            "127.0.0.1:0",
        ])
        .args(database.arguments())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(server.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    let http = started["http"].as_str().unwrap().to_owned();
    let address = started["server"].as_str().unwrap();
    run_with_input(
        &mut ambit(["apply", "-", "--server", address]),
        super::ACCOUNT,
    )
    .ends(0);
    let store = database.open().await;
    let links = Links::new(store.identity().token_key, &http, HOUR);
    store.close().await;
    let now = SystemClock::new().now();
    let link = links.make(
        &id("acme"),
        &id("none"),
        &id("lena"),
        &id("ada"),
        random(),
        now,
    );
    let token = link.split_once("&token=").unwrap().1;
    let mut browser = Browser::new(http.trim_start_matches("http://").parse().unwrap());
    browser.get(&link).await.is(404);
    browser.get(&format!("{link}x")).await.is(403);
    let form = Form {
        url: browser.url(link.split_once('?').unwrap().0),
        fields: BTreeMap::from([("token".to_owned(), token.to_owned())]),
    };
    browser.post(&form).await.is(403);
    browser.cookies.insert(
        "ambit_console".to_owned(),
        (token.to_owned(), "/".to_owned()),
    );
    browser.get("/accounts/acme/requests").await.is(403);
    server.kill().unwrap();
    server.wait().unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    // The log is really one of everything.
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    assert!(!log.contains(token), "a token is in the log");
}
