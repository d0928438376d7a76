//! A real browser walks through the console: `tests/browser`. `AMBIT_BLESS=1` writes the pictures of
//! the documentation anew.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ambit::clock::SystemClock;
use ambit::grpc::wire::AccessRequestState as State;
use serde_json::{Value, json};

use super::{Desk, check, is_allow};
use crate::notifications::receiver::{Answer, Received, Receiver};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

/// Largest picture of the documentation, in bytes.
const PICTURE_BYTES_MAX: u64 = 150_000;

const PICTURES: [&str; 2] = ["console.png", "console-phone.png"];

fn walk(plan: &Value) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut browser = Command::new(root.join("tests/browser/run"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = browser.stdin.take().unwrap();
    stdin.write_all(plan.to_string().as_bytes()).unwrap();
    drop(stdin);
    let ran = browser.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "the browser failed: {complaint}");
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// The link of an approver, as a webhook of a real server brought it.
fn link_of(approver: &str, request: &str, told: &[Received]) -> String {
    let of_request = told.iter().find(|one| one.json()["subject"] == request);
    let of_request = of_request.expect("a webhook of the request");
    assert!(of_request.is_signed_with(SECRET));
    let approvers = of_request.json()["data"]["approvers"].clone();
    let approvers = approvers.as_array().unwrap();
    let found = approvers.iter().find(|one| one["user_id"] == approver);
    found.unwrap()["url"].as_str().unwrap().to_owned()
}

fn texts(value: &Value) -> Vec<&str> {
    let list = value.as_array().unwrap();
    list.iter().map(|one| one.as_str().unwrap()).collect()
}

/// S1.5, R3: one click from the webhook's link to the place where it is resolved. On a desk and on a
/// phone, in the light and in the dark, by mouse, finger and keyboard, in English and in German,
/// without a barrier that axe knows; and the same check is ALLOW afterwards on another replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_5_a_real_browser_opens_the_link_approves_and_the_check_is_allowed() {
    let receiver = Receiver::start(Answer::Status(204));
    let settings = [
        ("webhook_url", receiver.url()),
        ("webhook_secret", SECRET.to_owned()),
        ("webhook_allowed_networks", "127.0.0.0/8".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(key, value)| (*key, value.as_str()));
    let clock = Arc::new(SystemClock::new());
    let desk = Desk::start_telling(super::ACCOUNT, clock, &settings).await;
    let other = desk.replica().await;
    let approved = desk.file("edit", "bosch").await;
    let denied = desk.file("edit", "siemens").await;
    let exported = desk.file("export", "").await;
    let before = check(&other, "edit", "bosch", "").await;
    assert!(!is_allow(&before), "{before:?}");
    let pictures = tempfile::tempdir().unwrap();
    let told = receiver.until(3).await;
    let approve = link_of("ada", &approved, &told);
    let plan = json!({
        "approve": &approve,
        "german": desk.link(&exported, "ada"),
        "foreign": approve.replace(&approved, &denied),
        "list": format!("http://{}/accounts/acme/requests", desk.server.http),
        "pictures": pictures.path(),
    });
    let report = tokio::task::spawn_blocking(move || walk(&plan))
        .await
        .unwrap();

    assert_eq!(report["barriers"], json!([]), "{:#}", report["barriers"]);
    let control = texts(&report["control"]);
    assert!(
        control.contains(&"label") && control.contains(&"color-contrast"),
        "axe finds no barrier where there are some: {control:?}"
    );
    // What a browser complains of: a policy that is broken, a file that is missing.
    let complaints = texts(&report["complaints"]);
    let expected = |complaint: &&str| complaint.contains("status of 403");
    let unexpected: Vec<_> = complaints.iter().filter(|one| !expected(one)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let pages = report["pages"].as_object().unwrap();
    assert_eq!(pages.len(), 11, "{:?}", pages.keys());
    for (name, page) in pages {
        assert_eq!(page["scripts"], 0, "{name}");
        assert_eq!(page["overflow"], 0, "{name} is wider than the screen");
        assert!(
            page["rules"].as_u64().unwrap() > 10,
            "{name}: axe looked at nothing: {page}"
        );
    }
    let text = |page: &str| pages[page]["text"].as_str().unwrap();

    assert_eq!(report["approve"]["status"], 200);
    assert!(text("request").contains("lena asks for edit on contact/bosch"));
    assert_eq!(report["again"]["status"], 200, "looking spends nothing");
    assert_eq!(report["cookiesOfLooking"], json!([]));
    let tabbed = texts(&report["tabbed"]);
    assert_eq!(tabbed.first(), Some(&"skip"), "{tabbed:?}");
    for reached in [
        "way-1",
        "amount",
        "unit",
        "approve-note",
        "approve",
        "deny-note",
        "deny",
    ] {
        assert!(
            tabbed.contains(&reached),
            "`{reached}` is not in {tabbed:?}"
        );
    }

    assert_eq!(
        pages["approved"]["said"],
        json!(["Approved. lena may do it now."])
    );
    let cookies = report["cookies"].as_array().unwrap();
    assert_eq!(cookies.len(), 1);
    for (field, value) in [
        ("name", json!("ambit_console")),
        ("path", json!("/accounts/acme")),
        ("httpOnly", json!(true)),
        ("sameSite", json!("Strict")),
    ] {
        assert_eq!(cookies[0][field], value, "{field}");
    }
    let url = url::Url::parse(pages["approved"]["url"].as_str().unwrap()).unwrap();
    let query: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    assert!(!query.contains_key("token"), "{url}");
    for server in [&desk.server, &other] {
        let answer = check(server, "edit", "bosch", &query["at"]).await;
        assert!(is_allow(&answer), "{answer:?}");
    }
    assert_eq!(desk.state(&approved).await, State::Approved);
    // In the session the link leads on; to anybody else it shows nothing.
    assert_eq!(report["reused"]["status"], 200);
    assert!(
        !pages["reused with a session"]["url"]
            .as_str()
            .unwrap()
            .contains("token")
    );
    for (stranger, says) in [
        ("used", "This link has been used"),
        ("foreign", "This link is not valid"),
        ("none", "No access"),
    ] {
        assert_eq!(pages[stranger]["status"], 403);
        assert!(
            text(stranger).contains(says) && !text(stranger).contains("lena"),
            "{stranger}"
        );
    }

    assert!(text("list").contains("lena: edit on contact/siemens"));
    assert!(text("denied").contains("Not before the <b>audit</b> & \"its\" end"));
    assert_eq!(desk.state(&denied).await, State::Denied);
    assert_eq!(report["afterLeaving"]["status"], 403);

    assert_eq!(pages["phone"]["lang"], "de");
    assert!(text("phone").contains("lena bittet um export"));
    assert_ne!(
        pages["phone"]["ground"], pages["request"]["ground"],
        "dark is as light"
    );
    assert_eq!(pages["phone in English"]["lang"], "en");
    assert_eq!(desk.state(&exported).await, State::Pending);

    for picture in PICTURES {
        let taken = pictures.path().join(picture);
        let bytes = std::fs::metadata(&taken).unwrap().len();
        assert!(
            (1_000..PICTURE_BYTES_MAX).contains(&bytes),
            "{picture} has {bytes} bytes"
        );
        if std::env::var_os("AMBIT_BLESS").is_some() {
            let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("docs/images")
                .join(picture);
            std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
            std::fs::copy(taken, kept).unwrap();
        }
    }
    other.stop().await;
    desk.stop().await;
}
