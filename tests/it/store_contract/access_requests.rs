//! Access requests: stored whole, followed, and held to their lifecycle.

use super::*;
use ambit::authz::access_request::*;
use ambit::authz::decision::ReasonCode;
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::store::{Changes, IdempotencyKey, PendingAccount, RequestFilter};

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        clause("requests come back as they were written", round_trip),
        clause("a load has the pending ones only", pending_only),
        clause("a change of a request is followed", followed),
        clause("what has ended never changes", the_end),
        clause("what a request is for never changes", the_wish),
        clause("a request begins as pending and stays", begins_and_stays),
        clause("events are added, in order, and fit", events_fit),
        clause("events come with the rows or not at all", all_or_nothing),
        clause("R2: one pending request for the same", one_pending),
        clause("lists go by state and requester, in order", listed),
        clause("the last denial of just this", denials),
        clause("accounts with pending requests", accounts),
        clause("requests outlive what they name", outlive),
        clause("all of it goes with the account", go_with_account),
        clause("a remembered write answers", answers),
        clause("a link is spent once", links),
        clause("following equals loading, requests included", following),
    ]
}

pub(super) const FILED: &str = "2026-05-04T10:00:00.000001Z";

pub(super) fn target(action: &str, resource: Option<&str>) -> RequestTarget {
    RequestTarget {
        resource_type: id("contact"),
        action: id(action),
        resource_id: resource.map(id),
    }
}

/// A pending request for one contact, bare of all that it can do without.
pub(super) fn request(name: &str, user: &str, resource: &str) -> AccessRequest {
    AccessRequest {
        id: id(name),
        user: id(user),
        target: target("view", Some(resource)),
        reason: "I look after them now".to_owned(),
        denied_as: ReasonCode::NotInPartition,
        wanted_seconds: None,
        origin_url: None,
        filed_at: time(FILED),
        expires_at: time("2026-05-18T10:00:00Z"),
        state: RequestState::Pending,
        closing: None,
    }
}

/// The same, with everything that a request may have.
fn wordy(name: &str) -> AccessRequest {
    AccessRequest {
        target: target("edit", None),
        reason: "é\n\"quoted\", \\, 🦆 and\ttabs".to_owned(),
        wanted_seconds: Some(86_400),
        origin_url: Some("https://crm.example/contacts?id=1&x=%20".to_owned()),
        ..request(name, "us1", "c1")
    }
}

fn offer() -> GrantOffer {
    GrantOffer {
        key: PermissionKey {
            resource_type: id("contact"),
            permission: id("edit"),
        },
        level: Level::Team,
        include_unassigned: true,
    }
}

fn resolutions() -> Vec<Resolution> {
    vec![
        Resolution::ObjectGrant,
        Resolution::AssignToUser,
        Resolution::DirectGrant(offer()),
        Resolution::AssignToTeam(id("eu")),
        Resolution::PermissionSet(id("rep")),
        Resolution::AddToTeam(id("us")),
        Resolution::RaiseLevel(GrantOffer {
            level: Level::Everything,
            include_unassigned: false,
            ..offer()
        }),
    ]
}

pub(super) fn closed(of: &AccessRequest, state: RequestState) -> AccessRequest {
    AccessRequest {
        state,
        closing: Some(Closing {
            at: time("2026-05-05T00:00:00Z"),
            by: Some(id("boss")),
            note: Some("as said".to_owned()),
            approval: (state == RequestState::Approved).then(|| Approval {
                resolution: Resolution::ObjectGrant,
                expires_at: Some(time("2026-06-01T00:00:00Z")),
            }),
        }),
        ..of.clone()
    }
}

fn approved_by(of: &AccessRequest, resolution: Resolution) -> AccessRequest {
    let mut approved = closed(of, RequestState::Approved);
    if let Some(closing) = &mut approved.closing {
        closing.note = None;
        closing.approval = Some(Approval {
            resolution,
            expires_at: None,
        });
    }
    approved
}

/// What tells of the state that a request has.
pub(super) fn event(of: &AccessRequest, ordinal: u32) -> RequestEvent {
    let kind = match of.state {
        RequestState::Pending => RequestEventKind::Filed,
        RequestState::Approved => RequestEventKind::Approved,
        RequestState::Denied => RequestEventKind::Denied,
        RequestState::Cancelled => RequestEventKind::Cancelled,
        RequestState::Expired => RequestEventKind::Expired,
        RequestState::Obsolete => RequestEventKind::Obsolete,
    };
    let closing = of.closing.as_ref();
    RequestEvent {
        request: of.id.clone(),
        ordinal,
        kind,
        at: closing.map_or(of.filed_at, |closing| closing.at),
        actor: match closing {
            None => Some(of.user.clone()),
            Some(closing) => closing.by.clone(),
        },
        from: (ordinal > 0).then_some(RequestState::Pending),
        to: of.state,
        note: closing.and_then(|closing| closing.note.clone()),
        approval: closing.and_then(|closing| closing.approval.clone()),
        before: of.denied_as,
        after: (of.state == RequestState::Approved).then_some(ReasonCode::ObjectGrant),
    }
}

pub(super) async fn write(
    store: &dyn Store,
    name: &str,
    requests: &[AccessRequest],
    events: &[RequestEvent],
) -> Result<Head, StoreError> {
    let account = id(name);
    let changes: Vec<EntityChange> = requests
        .iter()
        .cloned()
        .map(|request| put(Entity::AccessRequest(request)))
        .collect();
    store
        .apply(Write {
            account: &account,
            expected: store.head(&account).await.unwrap(),
            changes: &changes,
            events,
            batch: None,
            idempotency: None,
            author: &Author::anyone("ApplyChanges"),
        })
        .await
}

/// Writes requests as they are, each with its next event.
pub(super) async fn file(store: &dyn Store, name: &str, requests: &[AccessRequest]) -> Head {
    let mut events = Vec::new();
    for request in requests {
        let told = store.access_request_events(&id(name), &request.id).await;
        events.push(event(request, u32::try_from(told.unwrap().len()).unwrap()));
    }
    write(store, name, requests, &events).await.unwrap()
}

async fn stored(store: &dyn Store, name: &str) -> Option<AccessRequest> {
    store.access_request(&id("acme"), &id(name)).await.unwrap()
}

async fn pending(store: &dyn Store) -> Vec<AccessRequest> {
    let (_, entities) = load(store, "acme", false).await;
    entities
        .into_iter()
        .filter_map(|entity| match entity {
            Entity::AccessRequest(request) => Some(request),
            _ => None,
        })
        .collect()
}

fn rule(result: Result<Head, StoreError>) -> String {
    match result {
        Err(StoreError::Constraint { rule }) => rule,
        other => panic!("a rule refuses it: {other:?}"),
    }
}

async fn round_trip(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let (bare, full) = (request("r1", "us1", "c1"), wordy("r2"));
    file(&*store, "acme", &[bare.clone(), full.clone()]).await;
    assert_eq!(stored(&*store, "r1").await, Some(bare));
    assert_eq!(stored(&*store, "r2").await, Some(full));
    assert_eq!(stored(&*store, "r3").await, None);
    assert_eq!(stored(&*store, "R1").await, None);
    let elsewhere = store.access_request(&id("other"), &id("r1")).await;
    assert_eq!(elsewhere.unwrap(), None);
    for (number, resolution) in resolutions().into_iter().enumerate() {
        let filed = request(&format!("a{number}"), "us1", &format!("x{number}"));
        file(&*store, "acme", std::slice::from_ref(&filed)).await;
        let approved = approved_by(&filed, resolution);
        file(&*store, "acme", std::slice::from_ref(&approved)).await;
        assert_eq!(
            stored(&*store, filed.id.as_str()).await,
            Some(approved.clone())
        );
        let events = store.access_request_events(&id("acme"), &filed.id).await;
        assert_eq!(events.unwrap(), [event(&filed, 0), event(&approved, 1)]);
    }
    for state in RequestState::ALL.iter().filter(|state| state.is_terminal()) {
        let filed = request(&format!("s-{state}"), "us1", &format!("y-{state}"));
        file(&*store, "acme", std::slice::from_ref(&filed)).await;
        let ended = closed(&filed, *state);
        file(&*store, "acme", std::slice::from_ref(&ended)).await;
        assert_eq!(stored(&*store, filed.id.as_str()).await, Some(ended));
    }
    // Many at once, which one of the stores copies.
    let many: Vec<AccessRequest> = (0..1_200)
        .map(|number| AccessRequest {
            wanted_seconds: (number % 2 == 0).then_some(number + 1),
            ..request(&format!("m{number:04}"), "us1", &format!("m{number}"))
        })
        .collect();
    file(&*store, "acme", &many).await;
    let mut found = pending(&*store).await;
    found.retain(|request| request.id.as_str().starts_with('m'));
    assert_eq!(found, many);
}

async fn pending_only(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let [one, two, three] = ["r1", "r2", "r3"].map(|name| request(name, "us1", name));
    file(&*store, "acme", &[two.clone(), three.clone(), one.clone()]).await;
    assert_eq!(
        pending(&*store).await,
        [one.clone(), two.clone(), three.clone()]
    );
    file(&*store, "acme", &[closed(&two, RequestState::Denied)]).await;
    assert_eq!(pending(&*store).await, [one, three]);
}

async fn followed(store: Arc<dyn Store>) {
    let mut head = apply(&*store, "acme", &everything()).await;
    let filed = request("r1", "us1", "c1");
    for state in [filed.clone(), closed(&filed, RequestState::Approved)] {
        let next = file(&*store, "acme", std::slice::from_ref(&state)).await;
        assert_eq!(next.revision, head.revision + 1, "one revision a write");
        let changes = store.changes_since(&id("acme"), head).await.unwrap();
        let Changes::Delta { changes, .. } = changes else {
            panic!("told in steps: {changes:?}");
        };
        assert_eq!(changes, [put(Entity::AccessRequest(state))]);
        head = next;
    }
    // The same once more changes nothing, and an event alone takes no revision.
    let again = write(
        &*store,
        "acme",
        &[closed(&filed, RequestState::Approved)],
        &[],
    )
    .await;
    assert_eq!(again.unwrap(), head);
    let revoked = RequestEvent {
        kind: RequestEventKind::Revoked,
        from: Some(RequestState::Approved),
        ..event(&closed(&filed, RequestState::Approved), 2)
    };
    let told = write(&*store, "acme", &[], std::slice::from_ref(&revoked)).await;
    assert_eq!(told.unwrap(), head);
    let events = store.access_request_events(&id("acme"), &filed.id).await;
    assert_eq!(events.unwrap().pop(), Some(revoked));
}

async fn the_end(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    for from in RequestState::ALL.iter().filter(|state| state.is_terminal()) {
        let filed = request(&format!("r-{from}"), "us1", &format!("c-{from}"));
        let ended = closed(&filed, *from);
        file(&*store, "acme", std::slice::from_ref(&filed)).await;
        let head = file(&*store, "acme", std::slice::from_ref(&ended)).await;
        let mut others: Vec<AccessRequest> = RequestState::ALL
            .iter()
            .filter(|to| to.is_terminal() && *to != from)
            .map(|to| closed(&filed, *to))
            .collect();
        others.push(filed.clone());
        let mut noted = ended.clone();
        noted.closing.as_mut().unwrap().note = Some("other words".to_owned());
        others.push(noted);
        for other in others {
            let text = rule(write(&*store, "acme", &[other], &[]).await);
            assert_eq!(text, "an access request that has ended never changes");
        }
        assert_eq!(stored(&*store, filed.id.as_str()).await, Some(ended));
        assert_eq!(store.head(&id("acme")).await.unwrap(), Some(head));
    }
}

async fn the_wish(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let filed = wordy("r1");
    file(&*store, "acme", std::slice::from_ref(&filed)).await;
    let forged: [fn(&mut AccessRequest); 9] = [
        |request| request.user = id("boss"),
        |request| request.target.resource_type = id("deal"),
        |request| request.target.action = id("delete"),
        |request| request.target.resource_id = Some(id("c1")),
        |request| request.reason.push('!'),
        |request| request.denied_as = ReasonCode::NoPermission,
        |request| request.wanted_seconds = None,
        |request| request.origin_url = None,
        |request| request.expires_at = time("2027-01-01T00:00:00Z"),
    ];
    for forge in forged {
        for of in [filed.clone(), closed(&filed, RequestState::Approved)] {
            let mut other = of;
            forge(&mut other);
            assert_eq!(
                rule(write(&*store, "acme", &[other], &[]).await),
                "what an access request is for never changes, who it is from neither"
            );
        }
    }
    assert_eq!(stored(&*store, "r1").await, Some(filed));
}

async fn begins_and_stays(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let filed = request("r1", "us1", "c1");
    for state in RequestState::ALL.iter().filter(|state| state.is_terminal()) {
        let text = rule(write(&*store, "acme", &[closed(&filed, *state)], &[]).await);
        assert_eq!(text, "an access request begins as pending");
    }
    file(&*store, "acme", std::slice::from_ref(&filed)).await;
    let delete = EntityChange::Delete(EntityKey::AccessRequest(id("r1")));
    assert_eq!(
        rule(try_apply(&*store, "acme", &[delete]).await),
        "an access request goes with its account only"
    );
    assert_eq!(stored(&*store, "r1").await, Some(filed));
    // What isn't there is gone already, as with any other entity.
    let absent = EntityChange::Delete(EntityKey::AccessRequest(id("r2")));
    try_apply(&*store, "acme", &[absent]).await.unwrap();
}

async fn events_fit(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let filed = request("r1", "us1", "c1");
    let denied = closed(&filed, RequestState::Denied);
    file(&*store, "acme", std::slice::from_ref(&filed)).await;
    let gap = write(
        &*store,
        "acme",
        std::slice::from_ref(&denied),
        &[event(&denied, 2)],
    )
    .await;
    assert_eq!(
        rule(gap),
        "the events of an access request are counted from 0 without a gap"
    );
    let ahead = write(&*store, "acme", &[], &[event(&denied, 1)]).await;
    assert_eq!(
        rule(ahead),
        "an event tells of the state that its access request has"
    );
    for (from, to) in [
        (None, RequestState::Denied),
        (Some(RequestState::Approved), RequestState::Denied),
        (Some(RequestState::Pending), RequestState::Approved),
    ] {
        let wrong = RequestEvent {
            from,
            to,
            ..event(&denied, 1)
        };
        let text = rule(write(&*store, "acme", std::slice::from_ref(&denied), &[wrong]).await);
        assert_eq!(
            text,
            "access_request_event.kind fits ordinal, from_state and to_state"
        );
    }
    let stranger = event(&request("r9", "us1", "c1"), 0);
    let unknown = write(&*store, "acme", &[], &[stranger]).await;
    assert!(
        matches!(unknown, Err(StoreError::Constraint { .. })),
        "{unknown:?}"
    );
    // The negative control: the one that fits is taken.
    file(&*store, "acme", std::slice::from_ref(&denied)).await;
    let again = write(&*store, "acme", &[], &[event(&denied, 1)]).await;
    assert!(again.is_err(), "no event is written twice: {again:?}");
    let events = store.access_request_events(&id("acme"), &id("r1")).await;
    assert_eq!(events.unwrap(), [event(&filed, 0), event(&denied, 1)]);
}

async fn all_or_nothing(store: Arc<dyn Store>) {
    let head = apply(&*store, "acme", &everything()).await;
    let filed = request("r1", "us1", "c1");
    let wrong = event(&filed, 7);
    rule(write(&*store, "acme", std::slice::from_ref(&filed), &[wrong]).await);
    assert_eq!(stored(&*store, "r1").await, None);
    assert_eq!(store.head(&id("acme")).await.unwrap(), Some(head));
    let account = id("acme");
    let conflict = store
        .apply(Write {
            account: &account,
            expected: Some(Head {
                revision: head.revision + 1,
                ..head
            }),
            changes: &[put(Entity::AccessRequest(filed.clone()))],
            events: &[event(&filed, 0)],
            batch: None,
            idempotency: None,
            author: &Author::anyone("ApplyChanges"),
        })
        .await;
    assert!(matches!(conflict, Err(StoreError::Conflict)));
    let events = store.access_request_events(&account, &filed.id).await;
    assert_eq!(events.unwrap(), []);
}

async fn one_pending(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let one = request("r1", "us1", "c1");
    let tool = AccessRequest {
        target: target("view", None),
        ..request("t1", "us1", "c1")
    };
    file(&*store, "acme", &[one.clone(), tool.clone()]).await;
    for same in [&one, &tool] {
        let again = AccessRequest {
            id: id("r2"),
            ..same.clone()
        };
        let text = rule(write(&*store, "acme", &[again], &[]).await);
        assert_eq!(
            text,
            "R2: a user has one pending request for the same at most"
        );
    }
    // Once it has ended, or for anything else, another may be filed.
    file(&*store, "acme", &[closed(&one, RequestState::Denied)]).await;
    file(
        &*store,
        "acme",
        &[
            request("r2", "us1", "c1"),
            request("r3", "us2", "c1"),
            request("r4", "us1", "c2"),
        ],
    )
    .await;
}

async fn listed(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    apply(&*store, "other", &[put(Entity::Account(account("other")))]).await;
    file(&*store, "other", &[request("r0", "us1", "c1")]).await;
    let mut all = Vec::new();
    for number in 0..24 {
        let user = ["us1", "us2", "gone"][number % 3];
        let filed = request(&format!("r{number:02}"), user, &format!("c{number}"));
        file(&*store, "acme", std::slice::from_ref(&filed)).await;
        let state = RequestState::ALL[number % RequestState::ALL.len()];
        let now = if state.is_terminal() {
            let now = closed(&filed, state);
            file(&*store, "acme", std::slice::from_ref(&now)).await;
            now
        } else {
            filed
        };
        all.push(now);
    }
    let states = [
        vec![],
        vec![RequestState::Pending],
        vec![
            RequestState::Denied,
            RequestState::Approved,
            RequestState::Denied,
        ],
    ];
    for states in states {
        for user in [None, Some(id("us1")), Some(id("nobody"))] {
            let filter = RequestFilter {
                states: states.clone(),
                user: user.clone(),
            };
            let expected: Vec<&AccessRequest> = all
                .iter()
                .filter(|request| states.is_empty() || states.contains(&request.state))
                .filter(|request| user.as_ref().is_none_or(|user| *user == request.user))
                .collect();
            let mut found = Vec::new();
            let mut after: Option<Id> = None;
            loop {
                let page = store
                    .access_requests(&id("acme"), &filter, after.as_ref(), 3)
                    .await
                    .unwrap();
                assert!(page.len() <= 3);
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                found.extend(page);
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
        }
    }
}

async fn denials(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let denied_at = |of: &AccessRequest, at: &str| {
        let mut denied = closed(of, RequestState::Denied);
        denied.closing.as_mut().unwrap().at = time(at);
        denied
    };
    let tool = |name: &str| AccessRequest {
        target: target("view", None),
        ..request(name, "us1", "c1")
    };
    for (filed, at) in [
        (request("r1", "us1", "c1"), "2026-05-06T00:00:00Z"),
        (request("r2", "us1", "c1"), "2026-05-05T00:00:00.000007Z"),
        (tool("t1"), "2026-05-09T00:00:00Z"),
        (request("r3", "us2", "c1"), "2026-05-10T00:00:00Z"),
        (request("r4", "us1", "c2"), "2026-05-11T00:00:00Z"),
    ] {
        file(&*store, "acme", std::slice::from_ref(&filed)).await;
        file(&*store, "acme", &[denied_at(&filed, at)]).await;
    }
    let cancelled = request("r5", "us1", "c3");
    file(&*store, "acme", std::slice::from_ref(&cancelled)).await;
    file(
        &*store,
        "acme",
        &[closed(&cancelled, RequestState::Cancelled)],
    )
    .await;
    let asked = [
        (
            "us1",
            target("view", Some("c1")),
            Some("2026-05-06T00:00:00Z"),
        ),
        ("us1", target("view", None), Some("2026-05-09T00:00:00Z")),
        (
            "us2",
            target("view", Some("c1")),
            Some("2026-05-10T00:00:00Z"),
        ),
        ("us1", target("edit", Some("c1")), None),
        ("us1", target("view", Some("c3")), None),
        ("us2", target("view", None), None),
    ];
    for (user, target, at) in asked {
        let found = store.last_denial(&id("acme"), &id(user), &target).await;
        assert_eq!(found.unwrap(), at.map(time), "{user} {target:?}");
    }
}

async fn accounts(store: Arc<dyn Store>) {
    let look =
        async |after: Option<&Id>, limit| store.accounts_with_pending(after, limit).await.unwrap();
    assert_eq!(look(None, 10).await, []);
    let mut heads = Vec::new();
    for name in ["b", "a", "c", "empty"] {
        apply(&*store, name, &[put(Entity::Account(account(name)))]).await;
        let mut soon = request("r1", "u", "c1");
        soon.expires_at = time("2026-05-05T00:00:00.000003Z");
        let mut ended = request("r3", "u", "c3");
        ended.expires_at = time("2026-05-01T00:00:00Z");
        file(
            &*store,
            name,
            &[soon.clone(), request("r2", "u", "c2"), ended.clone()],
        )
        .await;
        let mut closing = vec![closed(&ended, RequestState::Expired)];
        if name == "empty" {
            let rest = [soon, request("r2", "u", "c2")];
            closing.extend(rest.map(|request| closed(&request, RequestState::Denied)));
        }
        heads.push((name, file(&*store, name, &closing).await));
    }
    heads.sort_by_key(|(name, _)| *name);
    let expected: Vec<PendingAccount> = heads
        .into_iter()
        .filter(|(name, _)| *name != "empty")
        .map(|(name, head)| PendingAccount {
            account: id(name),
            head,
            pending: 2,
            next_expiry: time("2026-05-05T00:00:00.000003Z"),
        })
        .collect();
    assert_eq!(look(None, 10).await, expected);
    assert_eq!(look(None, 2).await, expected[..2]);
    assert_eq!(look(Some(&id("b")), 2).await, expected[2..]);
}

async fn outlive(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let filed = request("r1", "us1", "c1");
    file(&*store, "acme", std::slice::from_ref(&filed)).await;
    let gone = [
        EntityChange::Delete(EntityKey::Resource(key("contact", "c1"))),
        EntityChange::Delete(EntityKey::User(id("us1"))),
    ];
    apply(&*store, "acme", &gone).await;
    assert_eq!(stored(&*store, "r1").await, Some(filed.clone()));
    let ended = closed(&filed, RequestState::Cancelled);
    file(&*store, "acme", std::slice::from_ref(&ended)).await;
    assert_eq!(stored(&*store, "r1").await, Some(ended));
}

async fn go_with_account(store: Arc<dyn Store>) {
    for name in ["acme", "other"] {
        apply(&*store, name, &[put(Entity::Account(account(name)))]).await;
        let filed = request("r1", "us1", "c1");
        file(&*store, name, &[filed.clone(), request("r2", "us1", "c2")]).await;
        file(&*store, name, &[closed(&filed, RequestState::Approved)]).await;
        let spent = store
            .spend_link(
                &id(name),
                [7; 16],
                time("2026-05-05T00:00:00Z"),
                time(FILED),
            )
            .await;
        assert!(spent.unwrap());
    }
    assert!(
        store
            .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
            .await
            .unwrap()
    );
    apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    assert_eq!(stored(&*store, "r1").await, None);
    assert_eq!(pending(&*store).await, []);
    let events = |name| {
        let store = store.clone();
        async move {
            let events = store.access_request_events(&id(name), &id("r1")).await;
            events.unwrap().len()
        }
    };
    assert_eq!(events("acme").await, 0);
    assert_eq!(events("other").await, 2, "and nothing of another");
    let spend = |name| {
        let store = store.clone();
        async move {
            store
                .spend_link(
                    &id(name),
                    [7; 16],
                    time("2026-05-05T00:00:00Z"),
                    time(FILED),
                )
                .await
                .unwrap()
        }
    };
    assert!(spend("acme").await);
    assert!(!spend("other").await);
    // Nothing of the old one is in the way of the same names.
    file(&*store, "acme", &[request("r1", "us1", "c1")]).await;
}

async fn answers(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let account = id("acme");
    let (key, answer) = (id("key"), id("r1"));
    let filed = request("r1", "us1", "c1");
    let named = IdempotencyKey {
        key: &key,
        request_digest: [1; 32],
        now_micros: 5,
        ttl_micros: 86_400_000_000,
        answer: Some(&answer),
    };
    let head = store
        .apply(Write {
            account: &account,
            expected: store.head(&account).await.unwrap(),
            changes: &[put(Entity::AccessRequest(filed.clone()))],
            events: &[event(&filed, 0)],
            batch: None,
            idempotency: Some(named),
            author: &Author::anyone("ApplyChanges"),
        })
        .await
        .unwrap();
    let again = IdempotencyKey {
        answer: None,
        ..named
    };
    let remembered = store.remembered(&account, again).await.unwrap().unwrap();
    assert_eq!(remembered.head, head);
    assert_eq!(remembered.answer, Some(answer.clone()));
    // The same once more with another id for the request: nothing is written.
    let other = id("r2");
    let replayed = store
        .apply(Write {
            account: &account,
            expected: Some(head),
            changes: &[put(Entity::AccessRequest(request("r2", "us1", "c2")))],
            events: &[event(&request("r2", "us1", "c2"), 0)],
            batch: None,
            idempotency: Some(IdempotencyKey {
                answer: Some(&other),
                ..named
            }),
            author: &Author::anyone("ApplyChanges"),
        })
        .await;
    assert_eq!(replayed.unwrap(), head);
    assert_eq!(stored(&*store, "r2").await, None);
    let remembered = store.remembered(&account, named).await.unwrap().unwrap();
    assert_eq!(remembered.answer, Some(answer));
}

async fn links(store: Arc<dyn Store>) {
    for name in ["acme", "other"] {
        apply(&*store, name, &[put(Entity::Account(account(name)))]).await;
    }
    let spend = |name: &str, link: u8, now: &str| {
        let (store, account, now) = (store.clone(), id(name), time(now));
        async move {
            store
                .spend_link(&account, [link; 16], time("2026-05-05T00:00:00Z"), now)
                .await
                .unwrap()
        }
    };
    let (before, after) = ("2026-05-04T00:00:00Z", "2026-05-05T00:00:00Z");
    let is_spent = async |name: &str, link: u8| {
        let spent = store.is_link_spent(&id(name), [link; 16]).await;
        spent.unwrap()
    };
    assert!(!is_spent("acme", 1).await);
    assert!(spend("acme", 1, before).await);
    assert!(is_spent("acme", 1).await, "and may be asked again");
    assert!(is_spent("acme", 1).await);
    for (name, link) in [("acme", 2), ("other", 1), ("nobody", 1)] {
        assert!(!is_spent(name, link).await, "{name} {link}");
    }
    assert!(!spend("acme", 1, before).await);
    assert!(spend("acme", 2, before).await);
    assert!(spend("other", 1, before).await, "of another account");
    assert!(!spend("nobody", 1, before).await, "no such account");
    assert!(
        !spend("acme", 3, after).await,
        "what has expired is worth nothing"
    );
    // Of many at a time one spends it.
    let racing = (0..16).map(|_| tokio::spawn(spend("acme", 9, before)));
    let mut spent = 0;
    for one in racing.collect::<Vec<_>>() {
        spent += usize::from(one.await.unwrap());
    }
    assert_eq!(spent, 1);
}

/// A graph that follows what a store tells is the one that a load makes, with the same pending
/// requests under every key.
async fn following(store: Arc<dyn Store>) {
    const SEED: u64 = 20_261_123;
    let mut dice = Dice::new(SEED);
    let start = [put(Entity::Account(account("acme"))), user("us0")];
    let mut have = apply(&*store, "acme", &start).await;
    let mut graph = loaded(&*store).await;
    let mut filed: Vec<AccessRequest> = Vec::new();
    for round in 0..200 {
        let pending: Vec<AccessRequest> = graph.pending_requests().cloned().collect();
        if dice.roll(2) == 0 || pending.is_empty() {
            let of = format!("us{}", dice.roll(4));
            let next = request(&format!("r{round:03}"), &of, &format!("c{}", dice.roll(6)));
            let is_there = pending
                .iter()
                .any(|other| other.user == next.user && other.target == next.target);
            if !is_there {
                file(&*store, "acme", std::slice::from_ref(&next)).await;
                filed.push(next);
            }
        } else {
            let states = &RequestState::ALL[1..];
            let one = &pending[usize::try_from(dice.roll(pending.len() as u64)).unwrap()];
            let state = states[usize::try_from(dice.roll(states.len() as u64)).unwrap()];
            file(&*store, "acme", &[closed(one, state)]).await;
        }
        if dice.roll(4) == 0 {
            apply(&*store, "acme", &[user(&format!("u{round}"))]).await;
        }
        match store.changes_since(&id("acme"), have).await.unwrap() {
            Changes::None => {}
            Changes::Delta { head, changes, .. } => {
                graph = graph.apply(&changes).unwrap();
                have = head;
            }
            other => panic!("told in steps: {other:?}"),
        }
        let fresh = loaded(&*store).await;
        let of = |graph: &AccountGraph| -> Vec<AccessRequest> {
            graph.pending_requests().cloned().collect()
        };
        assert_eq!(of(&graph), of(&fresh), "round {round}");
        for request in &filed {
            let (user, target) = (request.user.as_str(), &request.target);
            assert_eq!(
                graph.pending_request(user, target),
                fresh.pending_request(user, target)
            );
            let of = |graph: &AccountGraph| -> Vec<AccessRequest> {
                graph.pending_requests_of(user).cloned().collect()
            };
            assert_eq!(of(&graph), of(&fresh));
        }
    }
    assert!(
        graph.pending_requests().next().is_some(),
        "nothing was left to compare"
    );
}

async fn loaded(store: &dyn Store) -> AccountGraph {
    let mut builder = GraphBuilder::default();
    for entity in load(store, "acme", false).await.1 {
        builder.push(entity);
    }
    builder.finish().unwrap()
}
