//! What forms do: a link is spent once, a session goes on, and a decision is the rules' own.

use std::sync::Arc;
use std::time::Duration;

use ambit::authz::model::Timestamp;
use ambit::clock::{Clock as _, ManualClock};
use ambit::grpc::wire::AccessRequestState as State;

use super::browser_like::Browser;
use super::{Desk, check, is_allow};

/// The value of a field of a query.
fn queried(url: &url::Url, name: &str) -> String {
    let found = url.query_pairs().find(|(known, _)| known == name);
    found.unwrap().1.into_owned()
}

/// R5: the change and APPROVED are one, the check is ALLOW at the revision that the page is at, on
/// any replica, and DENY again once what was given has ended.
#[tokio::test]
async fn r5_an_approval_allows_the_check_at_the_revision_of_the_page_until_its_end() {
    let now = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
    let clock = Arc::new(ManualClock::at(now));
    let desk = Desk::start_with(super::ACCOUNT, clock.clone()).await;
    let other = desk.replica().await;
    let request = desk.file("edit", "bosch").await;
    let mut browser = desk.browser();
    let page = browser.get(&desk.link(&request, "ada")).await.is(200);
    let page = browser.submit(&page.form("approve")).await.is(200);
    let page = page.says("Given until 29 November 2026, 12:00 UTC");
    let revision = queried(&page.url, "at");
    for server in [&desk.server, &other] {
        let answer = check(server, "edit", "bosch", &revision).await;
        assert!(is_allow(&answer), "{answer:?}");
        // And nothing more.
        let answer = check(server, "edit", "siemens", &revision).await;
        assert!(!is_allow(&answer), "{answer:?}");
    }
    // The same page on the other replica, by the same session.
    let mut elsewhere = browser.clone();
    elsewhere.server = other.http;
    elsewhere
        .get(page.url.as_str())
        .await
        .is(200)
        .says("Approved.");
    clock.advance(Duration::from_secs(7 * 24 * 3_600));
    let fresh = desk
        .file_in("acme", "nils", "export", "", "to move the clock on")
        .await;
    let answer = check(&desk.server, "edit", "bosch", &revision).await;
    assert!(!is_allow(&answer), "{fresh} {answer:?}");
    other.stop().await;
    desk.stop().await;
}

#[tokio::test]
async fn looking_at_a_link_changes_nothing_and_sets_nothing() {
    let desk = Desk::start().await;
    let request = desk.file("edit", "bosch").await;
    let link = desk.link(&request, "ada");
    let browser = desk.browser();
    for method in ["GET", "HEAD", "GET"] {
        let answer = browser
            .send(method, browser.url(&link), &[], "")
            .await
            .is(200);
        assert_eq!(answer.header("set-cookie"), None, "{method}");
        assert_eq!(answer.body.is_empty(), method == "HEAD");
    }
    assert_eq!(desk.state(&request).await, State::Pending);
    browser.get("/accounts/acme/requests").await.is(403);
    desk.stop().await;
}

#[tokio::test]
async fn a_link_is_spent_by_its_first_form_and_becomes_a_session() {
    let desk = Desk::start().await;
    let (first, second) = (
        desk.file("edit", "bosch").await,
        desk.file("edit", "siemens").await,
    );
    let link = desk.link(&first, "ada");
    let mut browser = desk.browser();
    let page = browser.get(&link).await.is(200);
    let approve = page.form("approve");
    assert!(!approve.url.as_str().contains("token"), "{}", approve.url);
    let answer = browser.post(&approve).await.is(303);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("ambit_console="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/accounts/acme; Max-Age=1800; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let location = answer.header("location").unwrap();
    assert!(!location.contains("token"), "{location}");
    // Used once more it leads on for who has the session, and nobody else.
    let again = browser.get(&link).await.is(303);
    assert!(!again.header("location").unwrap().contains("token"));
    let stranger = desk
        .browser()
        .get(&link)
        .await
        .is(403)
        .says("This link has been used");
    assert!(!stranger.body.contains("lena") && !stranger.body.contains("bosch"));
    let mut late = desk.browser();
    late.post(&approve)
        .await
        .is(403)
        .says("This link has been used");
    assert!(late.cookies.is_empty());
    // The session goes on to what else waits.
    let list = browser.get("/accounts/acme/requests").await.is(200);
    let next = list.attributes("a", "href");
    let next = next.iter().find(|link| link.contains(&second)).unwrap();
    let page = browser
        .get(list.url.join(next).unwrap().as_str())
        .await
        .is(200);
    let form = page.form("deny").with("note", "Ask Nils\r\nfirst");
    browser
        .submit(&form)
        .await
        .is(200)
        .says("Denied.")
        .says("Ask Nils first");
    assert_eq!(desk.state(&second).await, State::Denied);
    // And ends when it is told to.
    let left = browser.post(&list.form("leave")).await.is(200);
    left.says("The session has ended");
    browser.get("/accounts/acme/requests").await.is(403);
    desk.stop().await;
}

/// reliability.md case 39: of many who use one link at once, on several replicas, one does.
#[tokio::test]
async fn case_39_of_many_uses_of_one_link_one_counts() {
    let desk = Desk::start().await;
    let other = desk.replica().await;
    let request = desk.file("edit", "bosch").await;
    let page = desk
        .browser()
        .get(&desk.link(&request, "ada"))
        .await
        .is(200);
    let form = page.form("open");
    let uses = (0..32).map(|at| {
        let server = if at % 2 == 0 {
            desk.server.http
        } else {
            other.http
        };
        let form = form.clone();
        tokio::spawn(async move { Browser::new(server).post(&form).await.status })
    });
    let mut statuses = Vec::new();
    for one in uses.collect::<Vec<_>>() {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    let mut expected = vec![403; 31];
    expected.insert(0, 303);
    assert_eq!(statuses, expected);
    other.stop().await;
    desk.stop().await;
}

#[tokio::test]
async fn a_session_ends_after_half_an_hour_and_a_link_when_it_says() {
    let now = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
    let clock = Arc::new(ManualClock::at(now));
    let desk = Desk::start_with(super::ACCOUNT, clock.clone()).await;
    let request = desk.file("edit", "bosch").await;
    let (used, kept) = (desk.link(&request, "ada"), desk.link(&request, "ada"));
    let mut browser = desk.browser();
    let page = browser.get(&used).await.is(200);
    let list = browser.submit(&page.form("open")).await.is(200);
    let kept_page = desk.browser().get(&kept).await.is(200);
    for _ in 0..30 {
        browser.get("/accounts/acme/requests").await.is(200);
        clock.advance(Duration::from_secs(60));
        // Someone's write, so that the picture is one of now.
        desk.change("account: acme\n").await;
    }
    let ended = browser.get("/accounts/acme/requests").await.is(403);
    ended.says("Your session has ended");
    browser
        .post(&list.form("leave"))
        .await
        .is(403)
        .says("Your session has ended");
    clock.advance(Duration::from_secs(30 * 60));
    let expired = browser
        .get(&kept)
        .await
        .is(403)
        .says("This link has expired");
    assert!(!expired.body.contains("lena"));
    let late = desk
        .browser()
        .post(&kept_page.form("approve"))
        .await
        .is(403);
    late.says("This link has expired");
    assert_eq!(desk.state(&request).await, State::Pending);
    assert!(clock.now() > now);
    desk.stop().await;
}
