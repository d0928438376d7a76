//! The keeper (R7): what ends by itself ends once, whoever looks and however often servers die.

use std::sync::Arc;
use std::time::Duration;

use ambit::access_requests::keeper::Keeper;
use ambit::access_requests::{
    AccessRequestError, AccessRequests, Act, ConsoleSettings, RequestWrite,
};
use ambit::authz::access_request::{
    Approval, RequestRefusal, RequestState, RequestTarget, Resolution, Wish,
};
use ambit::authz::change::Change;
use ambit::authz::document::parse_file;
use ambit::authz::model::{Id, Timestamp};
use ambit::clock::ManualClock;
use ambit::directory::{ApplyChanges, Directory};
use ambit::graph_cache::{CacheLimits, GraphCache};
use ambit::grpc::wire;
use ambit::randomness::SeededRandomness;
use ambit::store::audit::Author;

use super::scene::{ACME, DAY, START, Scene, export, until, view};
use crate::cli::{Home, Server};
use crate::database::Database;

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

/// A server without its ports: the use cases on a store of its own.
struct Node {
    requests: AccessRequests,
    directory: Directory,
    keeper: Keeper,
}

impl Node {
    async fn on(database: &Database, clock: &Arc<ManualClock>, seed: u64) -> Self {
        let (store, outbox) = database.open_both().await;
        let limits = CacheLimits {
            bytes_max: u64::MAX,
            staleness_bound: Duration::from_secs(2),
            load_timeout: Duration::from_secs(60),
        };
        let graphs = GraphCache::new(Arc::clone(&store), clock.clone(), limits);
        let directory = Directory::new(Arc::clone(&store), graphs, clock.clone());
        let randomness = Arc::new(SeededRandomness::new(seed));
        let console = ConsoleSettings {
            url: "https://access.example.com".into(),
            link_ttl: Duration::from_secs(3_600),
        };
        let requests = AccessRequests::new(
            directory.clone(),
            store,
            outbox,
            clock.clone(),
            randomness,
            console,
        );
        Self {
            keeper: Keeper::new(requests.clone()),
            requests,
            directory,
        }
    }

    async fn apply(&self, changes: Vec<Change>) {
        self.apply_to("acme", changes).await;
    }

    async fn apply_to(&self, account: &str, changes: Vec<Change>) {
        let request = ApplyChanges {
            account: id(account),
            changes,
            expected: None,
            idempotency: None,
            dry_run: false,
            actor: None,
            author: Author::anyone("ApplyChanges"),
        };
        self.directory.apply_changes(request).await.unwrap();
    }

    /// Writes what a document says of users, grants and all else.
    async fn put(&self, document: &str) {
        let parsed = parse_file(document, &mut |name| Err(name.to_owned())).unwrap();
        for document in parsed {
            let changes = document.to_changes(None, false).unwrap();
            self.apply_to(document.account_id().as_str(), changes).await;
        }
    }

    async fn file(&self, user: &str, action: &str, resource: Option<&str>) -> Id {
        let wish = Wish {
            user: id(user),
            target: RequestTarget {
                resource_type: id("contact"),
                action: id(action),
                resource_id: resource.map(id),
            },
            reason: "I take over".to_owned(),
            wanted_seconds: None,
            origin_url: None,
        };
        let write = RequestWrite::of(id("acme"), Author::anyone("Resolve"));
        self.requests.file(write, wish).await.unwrap().request.id
    }

    async fn state(&self, request: &Id) -> RequestState {
        self.requests
            .get(&id("acme"), request)
            .await
            .unwrap()
            .0
            .state
    }

    async fn events(&self, request: &Id) -> usize {
        self.requests
            .events(&id("acme"), request)
            .await
            .unwrap()
            .0
            .len()
    }
}

async fn two_nodes() -> (Database, Arc<ManualClock>, Node, Node) {
    let database = Database::new();
    let clock = Arc::new(ManualClock::at(Timestamp::parse(START).unwrap()));
    let one = Node::on(&database, &clock, 1).await;
    one.put(ACME).await;
    let other = Node::on(&database, &clock, 2).await;
    (database, clock, one, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_what_expires_does_so_at_its_moment_and_once_among_replicas() {
    let (_database, clock, mut one, mut other) = two_nodes().await;
    let mut filed = Vec::new();
    for (user, resource) in [
        ("u", "c1"),
        ("u", "c2"),
        ("w", "c1"),
        ("t", "c1"),
        ("t", "c2"),
    ] {
        filed.push(one.file(user, "view", Some(resource)).await);
    }
    one.keeper.round().await.unwrap();
    clock.advance(DAY * 14 - Duration::from_micros(1));
    one.keeper.round().await.unwrap();
    other.keeper.round().await.unwrap();
    for request in &filed {
        assert_eq!(one.state(request).await, RequestState::Pending);
    }
    clock.advance(Duration::from_micros(1));
    let (a, b) = tokio::join!(one.keeper.round(), other.keeper.round());
    a.unwrap();
    b.unwrap();
    for request in &filed {
        assert_eq!(other.state(request).await, RequestState::Expired);
        assert_eq!(one.events(request).await, 2);
    }
    // Nothing is left to do.
    one.keeper.round().await.unwrap();
    for request in &filed {
        assert_eq!(one.events(request).await, 2);
    }
}

/// The start of a server costs no load of the accounts that have requests: what has expired is ended
/// then, and the rest is judged once somebody else has the account in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_server_that_starts_loads_what_is_due_and_nothing_else() {
    let (database, clock, one, other) = two_nodes().await;
    for account in ["beta", "gamma"] {
        one.put(&ACME.replace("account: acme", &format!("account: {account}")))
            .await;
    }
    let in_account = async |account: &str| {
        let wish = Wish {
            user: id("u"),
            target: RequestTarget {
                resource_type: id("contact"),
                action: id("view"),
                resource_id: Some(id("c1")),
            },
            reason: "I take over".to_owned(),
            wanted_seconds: None,
            origin_url: None,
        };
        let write = RequestWrite::of(id(account), Author::anyone("FileAccessRequest"));
        one.requests.file(write, wish).await.unwrap().request.id
    };
    let expires = in_account("beta").await;
    clock.advance(Duration::from_secs(1));
    let (of_user, stays) = (in_account("acme").await, in_account("gamma").await);
    drop(one);

    let mut started = Node::on(&database, &clock, 3).await;
    let loads = |node: &Node| node.directory.graphs().loads_begun();
    started.keeper.round().await.unwrap();
    started.keeper.round().await.unwrap();
    assert_eq!(loads(&started), 0, "nothing is due");
    // Changed by another server, in whose memory it is: nothing to load here.
    let changed = ACME.replace(
        "{id: u, main_team: de,",
        "{id: u, status: deactivated, main_team: de,",
    );
    other.put(&changed).await;
    started.keeper.round().await.unwrap();
    assert_eq!(loads(&started), 0);
    clock.advance(DAY * 14 - Duration::from_secs(1));
    started.keeper.round().await.unwrap();
    assert_eq!(loads(&started), 1, "the one that is due");
    let state = async |account: &str, request: &Id| {
        let read = started.requests.get(&id(account), request).await;
        read.unwrap().0.state
    };
    assert_eq!(state("beta", &expires).await, RequestState::Expired);
    // By asking, the accounts come into memory; then the keeper judges them.
    assert_eq!(state("acme", &of_user).await, RequestState::Pending);
    assert_eq!(state("gamma", &stays).await, RequestState::Pending);
    started.keeper.round().await.unwrap();
    let read = started.requests.get(&id("acme"), &of_user).await.unwrap();
    assert_eq!(read.0.state, RequestState::Cancelled);
    let read = started.requests.get(&id("gamma"), &stays).await.unwrap();
    assert_eq!(read.0.state, RequestState::Pending);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_request_ends_when_it_has_lost_its_ground_by_a_write_or_by_the_time() {
    let (_database, clock, mut one, other) = two_nodes().await;
    let of_user = one.file("u", "view", Some("c1")).await;
    let of_resource = one.file("w", "view", Some("c2")).await;
    let of_time = one.file("t", "export", None).await;
    let stays = one.file("t", "view", Some("c1")).await;
    one.keeper.round().await.unwrap();
    assert_eq!(one.events(&of_user).await, 1);
    // Written by another server; `t` may export from tomorrow on.
    let changed = ACME
        .replace("{id: u, main_team: de,", "{id: u, status: deactivated, main_team: de,")
        .replace("  - {type: contact, id: c2, owners: [v], assigned_to: [team:fr]}\n", "")
        .replace(
            "{id: t, main_team: de, seats: [core], grants: {contact.view: team}}",
            "{id: t, main_team: de, seats: [core], grants: {contact.view: team, contact.export: {level: team, not_before: 2026-11-23T12:00:00Z}}}",
        );
    other.put(&changed).await;
    let deletion = Change::DeleteResource(ambit::authz::model::ResourceKey {
        resource_type: id("contact"),
        id: id("c2"),
    });
    other.apply(vec![deletion]).await;
    one.keeper.round().await.unwrap();
    assert_eq!(one.state(&of_user).await, RequestState::Cancelled);
    assert_eq!(one.state(&of_resource).await, RequestState::Obsolete);
    assert_eq!(one.state(&of_time).await, RequestState::Pending);
    // Nothing is written when the grant begins to live; the boundary alone wakes the keeper.
    clock.advance(DAY);
    one.keeper.round().await.unwrap();
    assert_eq!(one.state(&of_time).await, RequestState::Obsolete);
    assert_eq!(one.state(&stays).await, RequestState::Pending);
    for request in [of_user, of_resource, of_time] {
        assert_eq!(one.events(&request).await, 2);
    }
}

/// Without a keeper around, so it is the approver's call that finds out: it ends the request as what
/// it is by now, gives nothing, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_an_approval_that_comes_too_late_ends_the_request_and_gives_nothing() {
    let (_database, clock, one, other) = two_nodes().await;
    let of_user = one.file("u", "view", Some("c1")).await;
    let of_resource = one.file("w", "view", Some("c2")).await;
    let of_grant = one.file("w", "export", None).await;
    let of_time = one.file("t", "view", Some("c1")).await;
    let changed = ACME
        .replace("{id: u, main_team: de,", "{id: u, status: deactivated, main_team: de,")
        .replace(
            "{id: w, main_team: de, seats: [core], grants: {contact.view: owned}}",
            "{id: w, main_team: de, seats: [core], grants: {contact.view: owned, contact.export: owned}}",
        );
    other.put(&changed).await;
    let deletion = Change::DeleteResource(ambit::authz::model::ResourceKey {
        resource_type: id("contact"),
        id: id("c2"),
    });
    other.apply(vec![deletion]).await;
    let approve = async |request: &Id| {
        let act = Act::Approve {
            approver: id("sa"),
            approval: Approval {
                resolution: Resolution::ObjectGrant,
                expires_at: None,
            },
            note: None,
        };
        let write = RequestWrite::of(id("acme"), Author::anyone("Resolve"));
        match one.requests.resolve(write, request, act).await {
            Err(AccessRequestError::Refusal(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    };
    assert_eq!(approve(&of_user).await, RequestRefusal::RequesterInactive);
    assert_eq!(approve(&of_resource).await, RequestRefusal::ResourceGone);
    assert!(matches!(
        approve(&of_grant).await,
        RequestRefusal::NoLongerDenied { .. }
    ));
    clock.advance(DAY * 14);
    let expired = RequestState::Expired;
    assert_eq!(
        approve(&of_time).await,
        RequestRefusal::NotPending { state: expired }
    );
    for (request, state) in [
        (&of_user, RequestState::Cancelled),
        (&of_resource, RequestState::Obsolete),
        (&of_grant, RequestState::Obsolete),
        (&of_time, expired),
    ] {
        assert_eq!(one.state(request).await, state);
        assert_eq!(one.events(request).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_running_servers_end_what_expires_though_none_is_asked_and_one_has_gone() {
    let (scene, one) = Scene::with_acme().await;
    let other = scene.server().await;
    let request = one.filed(view("u", "c1")).await;
    one.stop().await;
    scene.clock.advance(DAY * 14);
    until("the request expires", async || {
        other.state(&request).await == wire::AccessRequestState::Expired
    })
    .await;
    let third = scene.server().await;
    let events = third.events(&request).await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[1].kind(), wire::AccessRequestEventKind::Expired);
    assert_eq!(
        third
            .checked(&export("u"), "")
            .await
            .pending_access_request_id,
        ""
    );
}

/// Nothing of what is to expire is in a process: one that is killed leaves it all behind.
#[test]
fn r7_what_was_filed_before_a_kill_expires_after_it() {
    let home = Home::migrated();
    let server = Server::start(&home);
    let document = ACME.replace(
        "plan: enterprise\n",
        "plan: enterprise\nsettings: {request_ttl: 2s}\n",
    );
    server.apply(&document);
    let filed = server
        .run(["request", "file", "acme", "u", "contact.view", "c1"])
        .ends(2);
    filed.complains("--reason");
    let filed = server
        .run([
            "request",
            "file",
            "acme",
            "u",
            "contact.view",
            "c1",
            "--reason",
            "now",
            "--output",
            "json",
        ])
        .ends(0)
        .json();
    let request = filed["access_request"]["id"].as_str().unwrap().to_owned();
    // Killed: SIGKILL.
    drop(server);
    let server = Server::start(&home);
    let begun = std::iter::repeat_with(|| {
        let shown = server
            .run(["request", "show", "acme", &request, "--output", "json"])
            .ends(0)
            .json();
        std::thread::sleep(Duration::from_millis(50));
        shown
    });
    let ended = begun
        .take(600)
        .find(|shown| shown["access_request"]["state"] != "pending")
        .expect("the request did not expire");
    assert_eq!(ended["access_request"]["state"], "expired");
    assert_eq!(ended["events"].as_array().unwrap().len(), 2);
}
