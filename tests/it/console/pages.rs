//! What is shown, to whom and in which words.

use std::sync::Arc;

use ambit::clock::SystemClock;
use ambit::grpc::wire;

use super::Desk;

/// R3: requester, teams, current permissions, what, why, the denial and the suggestions.
#[tokio::test]
async fn r3_the_page_says_who_wants_what_and_why_and_what_would_give_it() {
    let desk = Desk::start().await;
    let request = desk.file("edit", "bosch").await;
    let browser = desk.browser();
    let page = browser.get(&desk.link(&request, "ada")).await.is(200);
    for text in [
        "lena asks for edit on contact/bosch",
        "You are ada",
        "Teams france germany",
        "The audit of the spring fair, until Friday",
        "7 days",
        "https://crm.example.com/contacts?tab=all",
        "Now: the grant reaches only what the user owns or is assigned.",
        "The permission set rep gives contact.edit for what they own",
        "Grant edit on contact/bosch alone the least that suffices",
        "Opens nothing else.",
        "edit: what they own",
        "view: everything",
        "Owners nils",
        "Owning team germany",
        "lena asked",
        &request,
    ] {
        assert!(
            page.text().contains(text),
            "`{text}` is not in\n{}",
            page.text()
        );
    }
    assert_eq!(page.attributes("html", "lang"), ["en"]);
    // The end that was wished for is filled in.
    let form = page.form("approve");
    assert_eq!(form.fields["amount"], "7");
    assert_eq!(form.fields["unit"], "day");
    assert_eq!(form.fields["resolution"], "object_grant");
    assert!(page.has_form("deny"));
    desk.stop().await;
}

#[tokio::test]
async fn each_answer_is_kept_to_itself() {
    let desk = Desk::start().await;
    let request = desk.file("edit", "bosch").await;
    let mut browser = desk.browser();
    let link = desk.link(&request, "ada");
    let shown = browser.get(&link).await.is(200);
    let refused = browser.get("/accounts/acme/requests").await.is(403);
    let nowhere = browser.get("/accounts/acme/x").await.is(404);
    let done = browser.post(&shown.form("approve")).await.is(303);
    for answer in [&shown, &refused, &nowhere, &done] {
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        for rule in [
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains("script-src"),
            "{policy}"
        );
        for (name, value) in [
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("content-type", "text/html; charset=utf-8"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        assert!(!answer.body.contains("<script") && !answer.body.contains(" style="));
    }
    desk.stop().await;
}

#[tokio::test]
async fn the_page_is_in_german_for_who_likes_german_best() {
    let desk = Desk::start().await;
    let request = desk.file("edit", "bosch").await;
    let mut browser = desk.browser();
    browser.language = "fr, de-AT;q=0.9, en;q=0.8";
    let link = desk.link(&request, "ada");
    let page = browser.get(&link).await.is(200);
    assert_eq!(page.attributes("html", "lang"), ["de"]);
    let page = page
        .says("lena bittet um edit für contact/bosch")
        .says("Jetzt: die Berechtigung reicht nur für das, was der Person gehört oder zugewiesen ist.")
        .says("edit allein für contact/bosch erteilen das Geringste, was genügt")
        .says("7 Tage");
    // A choice by hand counts for more, and stays through a form.
    let english = browser.get(&format!("{link}&lang=en")).await.is(200);
    assert_eq!(english.attributes("html", "lang"), ["en"]);
    let refused = browser
        .post(&page.form("deny").with("note", " "))
        .await
        .is(422);
    refused.says("Der Text muss 1 bis 1.000 Zeichen haben");
    let denied = browser.get("/accounts/acme/requests").await.is(200);
    denied
        .says("Offene Anfragen")
        .says("lena: edit für contact/bosch");
    let stranger = desk.browser().get("/accounts/acme/requests?lang=de").await;
    stranger.is(403).says("Kein Zugang");
    desk.stop().await;
}

/// The requester's words and all ids are text, whatever is in them, and lead where they should.
#[tokio::test]
async fn hostile_words_and_odd_ids_stay_words_and_ids() {
    let account = "a/b ü%?#&";
    let user = "..";
    let resource = "x\"><img src=x onerror=alert(1)>'`{{7*7}}";
    let text = format!(
        "
account: '{account}'
catalog: hubspot
plan: enterprise
users:
  - {{id: '~ada', super_admin: true, seats: [core]}}
  - {{id: '{user}', seats: [core], grants: {{contact.view: everything}}}}
resources:
  - {{type: contact, id: '{}'}}
",
        resource.replace('\'', "''")
    );
    let desk = Desk::start_with(&text, Arc::new(SystemClock::new())).await;
    let reason = "</blockquote></main><script>alert('x')</script>\n<a href=\"javascript:alert(1)\">go</a> \u{202e}txt.exe &amp; {{ reason }} {at}";
    // Without the permission what is asked for is the tool.
    let tool = desk.file_in(account, user, "edit", "", reason).await;
    let link = desk.link_in(account, &tool, user, "~ada");
    let mut browser = desk.browser();
    let page = browser.get(&link).await.is(200);
    assert!(
        !page.body.contains("<script")
            && !page.body.contains("<img")
            && !page.body.contains("href=\"java")
    );
    assert!(
        page.body.contains("&#60;script&#62;alert(&#39;x&#39;)"),
        "{}",
        page.body
    );
    let page = page.says("{{ reason }} {at}");
    let done = browser
        .submit(&page.form("approve").with("amount", ""))
        .await
        .is(200);
    done.says("Approved.");
    // The list of an account with such a name leads to the next one, which is about a record.
    desk.file_in(account, user, "edit", resource, reason).await;
    let list = browser.get(&list_path(&link)).await.is(200);
    assert!(!list.body.contains("<script") && !list.body.contains("<img"));
    let links = list.attributes("a", "href");
    let next = links
        .iter()
        .find(|link| link.starts_with("users/"))
        .unwrap();
    let page = browser
        .get(list.url.join(next).unwrap().as_str())
        .await
        .is(200);
    assert!(!page.body.contains("<script") && !page.body.contains("<img"));
    let page = page.says(&format!("asks for edit on contact/{resource}"));
    let denied = browser
        .submit(&page.form("deny").with("note", reason))
        .await
        .is(200);
    assert!(!denied.body.contains("<script"));
    denied.says("Denied.").says("~ada denied");
    desk.stop().await;
}

/// A bound on what is shown is said, in every language, and what is shown is what opens least.
#[tokio::test]
async fn more_ways_than_are_shown_are_counted() {
    let sets: String = (0..30)
        .map(|at| format!("  - {{id: 'set-{at:02}', grants: {{contact.export: everything}}}}\n"))
        .collect();
    let desk = Desk::start().await;
    let request = desk.file("export", "").await;
    let ways = async |approver: &str, lang: &str| {
        let link = format!("{}&lang={lang}", desk.link(&request, approver));
        let page = desk.browser().get(&link).await.is(200);
        let ways = page.body.matches("name=\"resolution\"").count();
        (ways, page.text())
    };
    // Few enough to be shown.
    let (few, text) = ways("ada", "en").await;
    assert!(few < 15 && !text.contains("more ways would do"), "{text}");
    desk.change(&format!("account: acme\npermission_sets:\n{sets}"))
        .await;
    let (all, text) = ways("ada", "en").await;
    assert_eq!(all, 15);
    let hidden = few + 30 - 15;
    let says = format!("{hidden} more ways would do, and open no less than those above.");
    assert!(text.contains(&says), "{text}");
    let (_, text) = ways("ada", "de").await;
    let says =
        format!("{hidden} weitere Wege würden genügen und öffnen nicht weniger als die genannten.");
    assert!(text.contains(&says), "{text}");
    // Otto holds nothing that he could give.
    let (withheld, text) = ways("otto", "en").await;
    assert_eq!(withheld, 5);
    let hidden = few + 30 - 5;
    let says = format!("{hidden} more ways would do, and are not yours to give.");
    assert!(text.contains(&says), "{text}");
    let (_, text) = ways("otto", "de").await;
    let says = format!("{hidden} weitere Wege würden genügen, die Sie nicht geben können.");
    assert!(text.contains(&says), "{text}");
    desk.stop().await;
}

/// From the address of a request's page to that of its account's list.
fn list_path(link: &str) -> String {
    let path = link.split_once("/users/").unwrap().0;
    format!("{path}/requests")
}

#[tokio::test]
async fn the_list_has_what_the_approver_may_resolve_and_goes_on_page_by_page() {
    let desk = Desk::start().await;
    let contacts: String = (0..32)
        .map(|at| format!("  - {{type: contact, id: 'c{at:02}', owners: [ada]}}\n"))
        .collect();
    desk.change(&format!("account: acme\nresources:\n{contacts}"))
        .await;
    for at in 0..32 {
        let user = if at % 2 == 0 { "lena" } else { "nils" };
        let contact = format!("c{at:02}");
        desk.file_in("acme", user, "edit", &contact, "why not")
            .await;
    }
    let mut browser = desk.browser();
    // Who asks for something may resolve what others ask for, were they an approver; never their own.
    desk.change("account: acme\nusers: [{id: nils, grants: {user_management.edit: everything}}]\n")
        .await;
    let first = desk.file("export", "").await;
    let open = browser.get(&desk.link(&first, "nils")).await.is(200);
    let list = browser.submit(&open.form("open")).await.is(200);
    let text = list.text();
    assert!(
        text.contains("lena: edit on contact/c00") && !text.contains("nils: "),
        "{text}"
    );
    assert_eq!(text.matches("lena: ").count(), 17);
    let mut ada = desk.browser();
    let open = ada.get(&desk.link(&first, "ada")).await.is(200);
    let page = ada.submit(&open.form("open")).await.is(200);
    assert_eq!(page.text().matches(": edit on contact/").count(), 25);
    let next = page.attributes("a", "href");
    let next = next.iter().find(|link| link.contains("after=")).unwrap();
    let last = ada.get(page.url.join(next).unwrap().as_str()).await.is(200);
    assert_eq!(last.text().matches(" on contact").count(), 8);
    assert!(
        !last
            .attributes("a", "href")
            .iter()
            .any(|link| link.contains("after="))
    );
    desk.stop().await;
}

/// What a page knows of a request that has ended: how, by whom, with what, and what can be undone.
#[tokio::test]
async fn the_page_of_an_ended_request_says_what_became_of_it() {
    let desk = Desk::start().await;
    let request = desk.file("edit", "bosch").await;
    let mut browser = desk.browser();
    let page = browser.get(&desk.link(&request, "ada")).await.is(200);
    let note = "For the audit only";
    let page = browser
        .submit(&page.form("approve").with("note", note))
        .await
        .is(200);
    let page = page
        .says("Approved. lena may do it now.")
        .says("ada approved The check: the grant reaches only what the user owns or is assigned, then a grant gives the action on this very record")
        .says("Grant edit on contact/bosch alone")
        .says(note)
        .says("Take back");
    assert!(!page.has_form("approve") && !page.has_form("deny"));
    assert_eq!(
        desk.state(&request).await,
        wire::AccessRequestState::Approved
    );
    let page = browser
        .submit(&page.form("revoke").with("note", "The audit is over"))
        .await
        .is(200);
    let page = page
        .says("Taken back.")
        .says("ada took back what was given")
        .says("The audit is over");
    assert!(!page.has_form("revoke"));
    desk.stop().await;
}
