//! Who is told of what happens between an agency and a client (S4.6), by a real receiver of webhooks and
//! a real conversation with a mail server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ambit::callers::Role;
use serde_json::{Value, json};

use super::*;
use crate::callers::make;
use crate::callers::wire::with;
use crate::grpc::server::{change, put_user};
use crate::notifications::SECRET;
use crate::notifications::receiver::{Answer, Received, Receiver};
use crate::notifications::smtp::{Handed, SmtpServer};

/// Longer than anything here takes, so that a hang fails rather than holds up.
const PATIENCE: Duration = Duration::from_secs(60);

const DELIVERED: wire::NotificationState = wire::NotificationState::Delivered;

/// The agency and its clients, where people are told.
struct Told {
    scene: Scene,
    receiver: Receiver,
    mail: SmtpServer,
    _database: Database,
}

impl Told {
    async fn new() -> Self {
        let database = Database::new();
        let receiver = Receiver::start(Answer::Status(204));
        let mail = SmtpServer::start().await;
        let server = server_on(&database, &receiver, &mail).await;
        load(&server).await;
        let scene = Scene { server };
        scene.with_email("kite", "anna").await;
        scene.with_email("acme", "manager").await;
        Self {
            scene,
            receiver,
            mail,
            _database: database,
        }
    }

    /// What an account is told, once so many messages about it were taken: each event with its
    /// destinations. All destinations of an event are made at once, so what is not there never comes.
    async fn told_in(&self, account: &str, messages: usize) -> Vec<(u32, String)> {
        let found = until_listed(&self.scene.server, account, DELIVERED, messages).await;
        let key = |one: wire::Notification| (one.event_ordinal, one.destination);
        found.into_iter().map(key).collect()
    }

    /// The bodies that the receiver took about an account, in the order of its events.
    fn bodies(&self, account: &str) -> Vec<Value> {
        let taken = self.receiver.taken();
        assert!(taken.iter().all(|one| one.is_signed_with(SECRET)));
        let bodies = taken.iter().map(Received::json);
        let mut bodies: Vec<Value> = bodies
            .filter(|body| body["data"]["account_id"] == account)
            .collect();
        bodies.sort_by_key(|body| body["data"]["event"]["ordinal"].as_u64());
        bodies
    }

    fn mails_to(&self, address: &str) -> Vec<Handed> {
        let mut mails = self.mail.handed();
        mails.retain(|mail| mail.to == [address]);
        mails
    }
}

impl Scene {
    async fn with_email(&self, account: &str, user: &str) {
        let patch = wire::UserPatch {
            id: user.to_owned(),
            email: Some(format!("{user}@{account}.example")),
            ..wire::UserPatch::default()
        };
        let put = change(wire::change::Change::PutUser(patch));
        self.server.apply(account, vec![put]).await.unwrap();
    }
}

async fn server_on(database: &Database, receiver: &Receiver, mail: &SmtpServer) -> TestServer {
    let settings = [
        ("webhook_url", receiver.url()),
        ("webhook_secret", SECRET.to_owned()),
        ("webhook_allowed_networks", "127.0.0.0/8".to_owned()),
        ("smtp_url", format!("smtp://{}", mail.address)),
        ("email_from", "access@example.com".to_owned()),
    ];
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    TestServer::start_with(database, Arc::new(SystemClock::new()), &settings).await
}

async fn listed(
    server: &TestServer,
    account: &str,
    state: wire::NotificationState,
    page_size: u32,
) -> Vec<wire::Notification> {
    let mut request = wire::ListNotificationsRequest {
        account_id: account.to_owned(),
        state: state.into(),
        page_size,
        page_token: String::new(),
    };
    let mut found = Vec::new();
    loop {
        let page = server.requests().list_notifications(request.clone()).await;
        let page = page.unwrap().into_inner();
        found.extend(page.notifications);
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

async fn until_listed(
    server: &TestServer,
    account: &str,
    state: wire::NotificationState,
    count: usize,
) -> Vec<wire::Notification> {
    let begun = SystemClock::new();
    loop {
        let found = listed(server, account, state, 0).await;
        if found.len() >= count {
            return found;
        }
        assert!(begun.monotonic() < PATIENCE, "{count}: {found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn to(ordinal: u32, destination: &str) -> (u32, String) {
    (ordinal, destination.to_owned())
}

fn subject(mail: &Handed) -> String {
    let (head, _) = mail.parts();
    let found = head.lines().find_map(|line| line.strip_prefix("Subject: "));
    found.unwrap().trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_6_whose_link_a_client_approved_is_told_by_mail_and_both_sides_by_webhooks() {
    let told = Told::new().await;
    let created = told.scene.create("petra").await.unwrap();
    let approved = told.scene.approve("bravo", "manager", &created.link).await;
    assert!(!approved.unwrap().already_approved);
    let in_agency = told.told_in("kite", 2).await;
    assert_eq!(in_agency, [to(0, "email:petra"), to(0, "webhook:default")]);
    assert_eq!(told.told_in("bravo", 1).await, [to(0, "webhook:default")]);

    let [mail] = told.mails_to("petra@kite.example").try_into().unwrap();
    assert_eq!(subject(&mail), "bravo approved your access link");
    let text = mail.text();
    for said in [
        "as partner admin",
        "Client: bravo\n",
        "Agency: kite\n",
        "User there: kite/petra\n",
        "By: bravo\n",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
    let [agency] = told.bodies("kite").try_into().unwrap();
    assert_eq!(agency["type"], "com.ambit.partner.link_approved.v1");
    assert_eq!(agency["subject"], "bravo");
    let expected = json!({
        "account_id": "kite", "side": "agency", "agency_id": "kite", "client_id": "bravo",
        "person": {"partner_user_id": "petra", "client_user_id": "kite/petra", "role": "admin"},
        "link_id": created.access_link.unwrap().id,
        "event": {"kind": "link_approved", "ordinal": 0},
    });
    assert_eq!(agency["data"], expected, "who approved is the client's");
    let [client] = told.bodies("bravo").try_into().unwrap();
    let expected = json!({
        "account_id": "bravo", "side": "client", "agency_id": "kite", "client_id": "bravo",
        "person": {"partner_user_id": "petra", "client_user_id": "kite/petra", "role": "admin"},
        "event": {"kind": "link_approved", "ordinal": 0, "actor": "manager"},
    });
    assert_eq!(client["data"], expected);
    assert!(
        agency["source"]
            .as_str()
            .unwrap()
            .ends_with("/accounts/kite")
    );
    // The link itself is a secret that no message has.
    let secret = created.link.rsplit('.').next().unwrap();
    for one in told.receiver.received() {
        assert!(!String::from_utf8_lossy(&one.body).contains(secret));
    }
    assert!(!mail.data.replace("=\r\n", "").contains(secret));
}

/// What wrote nothing has nothing to tell; the approval after it is the control.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_6_nothing_is_told_of_a_call_that_wrote_nothing_or_was_refused() {
    let told = Told::new().await;
    let scene = &told.scene;
    let link = scene.create("petra").await.unwrap().link;
    scene.approve("bravo", "sa", &link).await.unwrap();
    let again = scene.approve("bravo", "manager", &link).await.unwrap();
    assert!(again.already_approved);
    let refused = scene.approve("charlie", "nobody", &link).await;
    assert_eq!(reason(refused), Reason::NotAnApprover);
    let unknown = scene
        .add("acme", "petra", &["boss", "nobody"], "editors")
        .await;
    assert!(unknown.is_err(), "all or none");
    let added = scene.add("acme", "petra", &["boss"], "editors").await;
    added.unwrap();
    scene
        .add("acme", "petra", &["boss"], "editors")
        .await
        .unwrap();
    scene.change_set("petra", "boss", "editors").await.unwrap();
    scene.change_set("petra", "boss", "readers").await.unwrap();
    let in_client = told.told_in("acme", 2).await;
    assert_eq!(in_client, [0, 1].map(|at| to(at, "webhook:default")));
    let kinds: Vec<Value> = told
        .bodies("acme")
        .iter()
        .map(|body| body["data"]["event"]["kind"].clone())
        .collect();
    assert_eq!(kinds, ["staff_added", "staff_changed"]);
    let in_bravo = told.told_in("bravo", 1).await;
    assert_eq!(in_bravo.len(), 1, "approved once");
    assert_eq!(told.told_in("charlie", 0).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_13_s4_15_s4_18_who_is_added_changed_or_removed_is_told_by_whom_and_in_which_client() {
    let told = Told::new().await;
    let scene = &told.scene;
    // Where no mail can go, none goes: the viewer has no address.
    let added = scene
        .add("acme", "petra", &["boss", "viewer"], "editors")
        .await;
    added.unwrap();
    scene.change_set("petra", "boss", "readers").await.unwrap();
    let token = scene
        .preview("petra", &["acme"])
        .await
        .unwrap()
        .preview_token;
    let request = wire::CommitRemovalRequest {
        client_account_ids: vec!["acme".to_owned()],
        ..scene.commit(&token)
    };
    scene.removed(request).await.unwrap();

    let in_agency = told.told_in("kite", 7).await;
    let expected = [
        to(0, "email:boss"),
        to(0, "webhook:default"),
        to(1, "webhook:default"),
        to(2, "email:boss"),
        to(2, "webhook:default"),
        to(3, "email:anna"),
        to(3, "webhook:default"),
    ];
    assert_eq!(in_agency, expected);
    let hooks: Vec<(u32, String)> = (0..4).map(|at| to(at, "webhook:default")).collect();
    assert_eq!(told.told_in("acme", 4).await, hooks);

    let mut subjects: Vec<String> = told
        .mails_to("boss@kite.example")
        .iter()
        .map(subject)
        .collect();
    subjects.sort();
    let expected = [
        "You work in acme now",
        "Your permissions in acme have changed",
    ];
    assert_eq!(subjects, expected);
    let [removed] = told.mails_to("anna@kite.example").try_into().unwrap();
    assert_eq!(subject(&removed), "You were removed from acme");
    let text = removed.text();
    for said in [
        "petra removed you from acme.",
        "User there: anna-k\n",
        "By: petra\n",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
    assert_eq!(told.mail.handed().len(), 3, "and nobody else");

    let removed = &told.bodies("acme")[3];
    assert_eq!(removed["type"], "com.ambit.partner.staff_removed.v1");
    let expected = json!({
        "account_id": "acme", "side": "client", "agency_id": "kite", "client_id": "acme",
        "person": {"partner_user_id": "anna", "client_user_id": "anna-k", "role": "employee"},
        "event": {"kind": "staff_removed", "ordinal": 3, "actor": "petra-k"},
    });
    assert_eq!(
        removed["data"], expected,
        "who did it, as the client knows them"
    );
    let added = &told.bodies("kite")[0]["data"];
    assert_eq!(added["permission_set_id"], "editors");
    assert_eq!(added["event"]["actor"], "petra");
}

/// Recipients are judged when it is told: who was deactivated meanwhile reads nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d8_deactivation_is_told_and_who_is_not_active_in_the_agency_gets_no_mail() {
    let told = Told::new().await;
    let scene = &told.scene;
    assert_eq!(scene.deactivate("petra", "anna").await.unwrap(), ["acme"]);
    assert!(
        scene.deactivate("petra", "anna").await.unwrap().is_empty(),
        "it is so already"
    );
    let first = told.told_in("kite", 2).await;
    assert_eq!(first, [to(0, "email:anna"), to(0, "webhook:default")]);
    let mail = told.mails_to("anna@kite.example");
    assert_eq!(subject(&mail[0]), "You were deactivated in acme");

    let gone = wire::UserPatch {
        id: "anna".to_owned(),
        status: wire::UserStatus::Deactivated.into(),
        ..wire::UserPatch::default()
    };
    let gone = change(wire::change::Change::PutUser(gone));
    scene.server.apply("kite", vec![gone]).await.unwrap();
    let request = wire::ReactivateEmployeeRequest {
        account_id: "kite".to_owned(),
        actor_user_id: "petra".to_owned(),
        partner_user_id: "anna".to_owned(),
        client_account_ids: Vec::new(),
    };
    let mut partners = scene.server.partners();
    partners.reactivate_employee(request).await.unwrap();
    let both = told.told_in("kite", 3).await;
    assert_eq!(both[2..], [to(1, "webhook:default")]);
    assert_eq!(told.mail.handed().len(), 1);
    let kinds: Vec<Value> = told
        .bodies("acme")
        .iter()
        .map(|body| body["type"].clone())
        .collect();
    let expected = ["staff_deactivated", "staff_reactivated"];
    assert_eq!(
        kinds,
        expected.map(|kind| format!("com.ambit.partner.{kind}.v1"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_partnership_is_told_to_those_who_answer_for_it_but_not_to_who_ended_it() {
    for (side, actor, in_agency, in_client) in [
        (
            wire::PartnerSide::Client,
            "manager",
            vec!["boss", "petra"],
            vec![],
        ),
        (
            wire::PartnerSide::Agency,
            "petra",
            vec!["boss"],
            vec!["manager"],
        ),
    ] {
        let told = Told::new().await;
        let (account, other) = match side {
            wire::PartnerSide::Client => ("acme", "kite"),
            _ => ("kite", "acme"),
        };
        end(&told.scene.server, (account, side, other), actor)
            .await
            .unwrap();
        let mails = |users: &[&str]| {
            let mails = users.iter().map(|user| to(0, &format!("email:{user}")));
            mails.chain([to(0, "webhook:default")]).collect::<Vec<_>>()
        };
        let (kite, acme) = (mails(&in_agency), mails(&in_client));
        assert_eq!(told.told_in("kite", kite.len()).await, kite);
        assert_eq!(told.told_in("acme", acme.len()).await, acme);
        let mail = &told.mails_to("boss@kite.example")[0];
        assert_eq!(subject(mail), "The partnership of kite and acme has ended");
        let by = match side {
            wire::PartnerSide::Client => "By: acme\n",
            _ => "By: petra\n",
        };
        assert!(mail.text().contains(by), "{}", mail.text());
        // Nobody is in it: it is about all of the agency's people.
        assert_eq!(told.bodies("acme")[0]["data"]["person"], Value::Null);
        // Ended twice is told once.
        end(&told.scene.server, (account, side, other), "sa")
            .await
            .unwrap_or_default();
        assert_eq!(told.told_in("acme", acme.len()).await, acme);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_24_both_sides_read_that_somebody_migrated_themselves_and_nobody_gets_mail() {
    let told = Told::new().await;
    let promoted = vec![put_user("anna-k", Some(true))];
    told.scene.server.apply("acme", promoted).await.unwrap();
    told.scene.migrate("anna-k", "anna-k", false).await.unwrap();
    for account in ["kite", "acme"] {
        assert_eq!(told.told_in(account, 1).await, [to(0, "webhook:default")]);
        let [body] = told.bodies(account).try_into().unwrap();
        assert_eq!(body["type"], "com.ambit.partner.admin_migrated.v1");
        assert_eq!(body["data"]["person"]["role"], "admin");
    }
    assert!(told.mail.handed().is_empty());
}

/// Two servers on one database where that is PostgreSQL: each event once to each destination.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_is_told_once_however_many_servers_there_are() {
    const LINKS: usize = 6;
    let told = Told::new().await;
    let beside = match crate::database::kind() {
        crate::database::Kind::Postgres => {
            Some(server_on(&told._database, &told.receiver, &told.mail).await)
        }
        crate::database::Kind::Sqlite => None,
    };
    let other = beside.as_ref().unwrap_or(&told.scene.server);
    for round in 0..LINKS {
        let link = told.scene.create("boss").await.unwrap().link;
        let (one, two) = tokio::join!(
            told.scene.approve("bravo", "sa", &link),
            approve(other, "bravo", "manager", &link)
        );
        let made = [one.unwrap(), two.unwrap()];
        let made = made.iter().filter(|one| !one.already_approved).count();
        assert_eq!(made, 1, "round {round}");
    }
    told.told_in("kite", 2 * LINKS).await;
    told.told_in("bravo", LINKS).await;
    assert_eq!(told.mails_to("boss@kite.example").len(), LINKS);
    let received = told.receiver.received();
    let ids: BTreeSet<&str> = received
        .iter()
        .map(|one| one.header("webhook-id"))
        .collect();
    assert_eq!((received.len(), ids.len()), (2 * LINKS, 2 * LINKS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_of_a_partnership_is_listed_and_sent_once_more() {
    let told = Told::new().await;
    told.receiver.answer(Answer::Status(410));
    let scene = &told.scene;
    let link = scene.create("petra").await.unwrap().link;
    for client in ["bravo", "charlie"] {
        scene.approve(client, "sa", &link).await.unwrap();
    }
    let dead = wire::NotificationState::Dead;
    let found = until_listed(&scene.server, "kite", dead, 2).await;
    assert_eq!(
        found,
        listed(&scene.server, "kite", dead, 1).await,
        "in pages"
    );
    let of: Vec<(&str, &str)> = found
        .iter()
        .map(|one| {
            (
                one.partner_account_id.as_str(),
                one.access_request_id.as_str(),
            )
        })
        .collect();
    assert_eq!(of, [("bravo", ""), ("charlie", "")]);
    assert_eq!(found[0].last_problem, "the receiver answered 410");

    told.receiver.answer(Answer::Status(204));
    let replay = wire::ReplayNotificationRequest {
        account_id: "kite".to_owned(),
        access_request_id: String::new(),
        partner_account_id: "bravo".to_owned(),
        event_ordinal: 0,
        destination: "webhook:default".to_owned(),
    };
    for (wrong, expected) in [
        (
            wire::ReplayNotificationRequest {
                access_request_id: "r1".to_owned(),
                ..replay.clone()
            },
            Reason::InvalidField,
        ),
        (
            wire::ReplayNotificationRequest {
                partner_account_id: "nobody".to_owned(),
                ..replay.clone()
            },
            Reason::NotificationNotFound,
        ),
    ] {
        let refused = scene.server.requests().replay_notification(wrong).await;
        assert_eq!(reason(refused), expected);
    }
    let replayed = scene.server.requests().replay_notification(replay).await;
    replayed.unwrap();
    let taken = until_listed(&scene.server, "kite", DELIVERED, 3).await;
    let hooks: Vec<&str> = taken
        .iter()
        .filter(|one| one.destination.starts_with("webhook"))
        .map(|one| one.partner_account_id.as_str())
        .collect();
    assert_eq!(hooks, ["bravo"], "and charlie's stays as it is");
    let noted = scene.audited("kite").await;
    assert!(noted.iter().any(|one| one.method == "ReplayNotification"));
}

/// Case 35: a partnership with an account that a caller may not name is left out of what is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_listed_nothing_of_a_partner_that_it_may_not_name() {
    let all = make(&[Role::Request], &[]);
    let some = make(&[Role::Request], &["kite", "charlie"]);
    let told = Told::new().await;
    let link = told.scene.create("petra").await.unwrap().link;
    for client in ["bravo", "charlie"] {
        told.scene.approve(client, "sa", &link).await.unwrap();
    }
    told.told_in("kite", 4).await;
    let Told {
        scene,
        _database: database,
        ..
    } = told;
    scene.server.stop().await;
    let tokens = database.open_tokens().await;
    for token in [&all, &some] {
        tokens.put_token(&token.kept).await.unwrap();
    }
    let settings = [("authentication", "required")];
    let clock = Arc::new(SystemClock::new());
    let server = TestServer::start_with(&database, clock, &settings).await;
    let partners_of = async |token: &str| {
        let mut partners = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = wire::ListNotificationsRequest {
                account_id: "kite".to_owned(),
                page_size: 1,
                page_token,
                ..wire::ListNotificationsRequest::default()
            };
            let request = with(request, Some(token));
            let page = server.requests().list_notifications(request).await;
            let page = page.unwrap().into_inner();
            let found = page.notifications.into_iter();
            partners.extend(found.map(|one| one.partner_account_id));
            if page.next_page_token.is_empty() {
                return partners;
            }
            page_token = page.next_page_token;
        }
    };
    let both = ["bravo", "bravo", "charlie", "charlie"];
    assert_eq!(partners_of(&all.text).await, both, "the control");
    assert_eq!(partners_of(&some.text).await, both[2..]);
    let replay = async |token: &str| {
        let request = wire::ReplayNotificationRequest {
            account_id: "kite".to_owned(),
            partner_account_id: "bravo".to_owned(),
            destination: "webhook:default".to_owned(),
            ..wire::ReplayNotificationRequest::default()
        };
        let request = with(request, Some(token));
        server.requests().replay_notification(request).await
    };
    assert_eq!(reason(replay(&some.text).await), Reason::AccountNotFound);
    replay(&all.text).await.unwrap();
}
