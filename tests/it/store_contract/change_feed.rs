//! What a follower is told: a loaded state and the changes since are the state that a fresh load
//! gives.

use super::*;
use ambit::store::Changes;

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        clause("each kind of change is told", each_kind_is_told),
        clause("an entity is told once, as it is now", told_once),
        clause("what cascades is told", what_cascades_is_told),
        clause("following equals loading", following_equals_loading),
        clause("another history is reloaded", another_history_is_reloaded),
        clause("too much is reloaded", too_much_is_reloaded),
        clause("the probe notices every commit", the_probe_notices),
        clause("a trimmed log is reloaded", a_trimmed_log_is_reloaded),
        clause("the log is trimmed in small steps", trimmed_in_small_steps),
    ]
}

async fn since(store: &dyn Store, have: Head) -> (Head, Vec<Head>, Vec<EntityChange>) {
    match store.changes_since(&id("acme"), have).await.unwrap() {
        Changes::Delta {
            head,
            history,
            changes,
        } => (head, history, changes),
        other => panic!("expected a delta, got {other:?}"),
    }
}

/// Applies a delta to a state by key; deletions must be last, and each entity there once.
fn follow(state: &mut BTreeMap<EntityKey, Entity>, changes: Vec<EntityChange>) {
    let mut seen = BTreeSet::new();
    let mut deleting = false;
    for change in changes {
        match change {
            EntityChange::Put(entity) => {
                assert!(!deleting, "deletions are last");
                assert!(seen.insert(entity.key()), "each entity once");
                state.insert(entity.key(), entity);
            }
            EntityChange::Delete(key) => {
                deleting = true;
                assert!(seen.insert(key.clone()), "each entity once");
                state.remove(&key);
            }
        }
    }
}

async fn each_kind_is_told(store: Arc<dyn Store>) {
    let mut head = apply(&*store, "acme", &[put(Entity::Account(account("acme")))]).await;
    // Puts of what others refer to come first, so each prefix stands on its own.
    let ordered: Vec<EntityChange> = {
        let mut changes = everything();
        changes.swap(1, 2);
        let bare = put(Entity::User(User::new(id("pa"))));
        changes.insert(1, put_resource(resource("c1")));
        changes.insert(1, bare);
        // The user whose object grant names the resource needs both sets and teams before.
        changes
    };
    for change in ordered {
        let before = head;
        head = apply(&*store, "acme", std::slice::from_ref(&change)).await;
        if head == before {
            continue;
        }
        let (told, history, changes) = since(&*store, before).await;
        assert_eq!((told, history), (head, vec![head]));
        let EntityChange::Put(entity) = &change else {
            panic!("everything is put");
        };
        assert_eq!(by_key(puts(&changes)), by_key([entity]));
    }
    // And away again, one by one; what refers to the others goes first.
    let mut keys: Vec<EntityKey> = by_key(puts(&everything()))
        .into_keys()
        .filter(|key| *key != EntityKey::Account)
        .collect();
    keys.sort_by_key(|key| match key {
        EntityKey::Segment(_) => 0,
        EntityKey::Resource(_) => 1,
        EntityKey::AccessGroup(_) => 2,
        EntityKey::User(_) => 3,
        EntityKey::Team(team) if *team == id("de") => 4,
        _ => 5,
    });
    for key in keys {
        let before = head;
        head = apply(&*store, "acme", &[EntityChange::Delete(key.clone())]).await;
        let (_, _, changes) = since(&*store, before).await;
        assert!(changes.contains(&EntityChange::Delete(key)));
    }
    let (_, entities) = load(&*store, "acme", false).await;
    assert_eq!(entities.len(), 1);
}

async fn told_once(store: Arc<dyn Store>) {
    let have = apply(&*store, "acme", &everything()).await;
    let mut heads = Vec::new();
    for status in UserStatus::ALL {
        let changed = User {
            status: *status,
            ..User::new(id("us1"))
        };
        heads.push(apply(&*store, "acme", &[put(Entity::User(changed))]).await);
    }
    heads.dedup();
    heads.push(apply(&*store, "acme", &[user("brief")]).await);
    let gone = EntityChange::Delete(EntityKey::User(id("brief")));
    heads.push(apply(&*store, "acme", std::slice::from_ref(&gone)).await);
    let (head, history, changes) = since(&*store, have).await;
    assert_eq!(Some(&head), heads.last());
    assert_eq!(history, heads);
    let removed = User {
        status: UserStatus::Removed,
        ..User::new(id("us1"))
    };
    assert_eq!(changes, [put(Entity::User(removed)), gone]);
    // From the middle: only what came after.
    let (_, history, _) = since(&*store, heads[1]).await;
    assert_eq!(history, heads[2..]);
}

async fn what_cascades_is_told(store: Arc<dyn Store>) {
    for key in [
        EntityKey::Team(id("de")),
        EntityKey::Team(id("eu")),
        EntityKey::Team(id("us")),
        EntityKey::User(id("us1")),
        EntityKey::User(id("pa")),
        EntityKey::AccessGroup(id("vip")),
        EntityKey::PermissionSet(id("rep")),
        EntityKey::Resource(key("contact", "c1")),
    ] {
        store
            .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
            .await
            .unwrap();
        let have = apply(&*store, "acme", &everything()).await;
        let mut state = by_key(&load(&*store, "acme", false).await.1);
        apply(&*store, "acme", &[EntityChange::Delete(key.clone())]).await;
        let (_, _, changes) = since(&*store, have).await;
        assert!(changes.len() > 1, "{key:?} is referred to");
        follow(&mut state, changes);
        assert_eq!(state, by_key(&load(&*store, "acme", false).await.1));
    }
}

/// A random change that leaves no reference dangling: it names only what is there.
fn random_change(dice: &mut Dice, state: &BTreeMap<EntityKey, Entity>) -> EntityChange {
    let name = |dice: &mut Dice, prefix: &str| format!("{prefix}{}", dice.roll(6));
    let there = |dice: &mut Dice, prefix: &str, wrap: fn(Id) -> EntityKey| {
        let name = id(&name(dice, prefix));
        state.contains_key(&wrap(name.clone())).then_some(name)
    };
    match dice.roll(9) {
        0 => team(&name(dice, "t"), None),
        // A chain of numbers: no cycle.
        1 => match there(dice, "t", EntityKey::Team) {
            Some(parent) => team(&format!("{parent}x"), Some(parent.as_str())),
            None => team(&name(dice, "t"), None),
        },
        2 | 3 => put(Entity::User(User {
            main_team: there(dice, "t", EntityKey::Team),
            teams: there(dice, "t", EntityKey::Team).into_iter().collect(),
            super_admin: dice.roll(2) == 0,
            ..User::new(id(&name(dice, "u")))
        })),
        4 => put(Entity::AccessGroup(AccessGroup {
            id: id(&name(dice, "g")),
            members: there(dice, "u", EntityKey::User)
                .map(|user| (Principal::User(user), ids(["view"])))
                .into_iter()
                .collect(),
        })),
        5 | 6 => {
            let assignments: BTreeSet<Assignment> = [
                there(dice, "t", EntityKey::Team).map(Principal::Team),
                there(dice, "g", EntityKey::AccessGroup).map(Principal::Group),
            ]
            .into_iter()
            .flatten()
            .map(|principal| Assignment {
                principal,
                provenance: Provenance::Manual,
                expires_at: None,
            })
            .collect();
            put_resource(Resource {
                owners: there(dice, "u", EntityKey::User).into_iter().collect(),
                owning_team: there(dice, "t", EntityKey::Team),
                partitioned: !assignments.is_empty(),
                assignments,
                ..resource(&name(dice, "r"))
            })
        }
        _ => EntityChange::Delete(match dice.roll(4) {
            0 => EntityKey::Team(id(&name(dice, "t"))),
            1 => EntityKey::User(id(&name(dice, "u"))),
            2 => EntityKey::AccessGroup(id(&name(dice, "g"))),
            _ => EntityKey::Resource(key("contact", &name(dice, "r"))),
        }),
    }
}

async fn following_equals_loading(store: Arc<dyn Store>) {
    let mut dice = Dice::new(20_261_122);
    // D9: one super admin stays, whatever becomes of the others.
    let admin = User {
        super_admin: true,
        ..User::new(id("admin"))
    };
    let start = [
        put(Entity::Account(account("acme"))),
        put(Entity::User(admin)),
    ];
    let mut have = apply(&*store, "acme", &start).await;
    let mut state = by_key(&load(&*store, "acme", false).await.1);
    for round in 0..300 {
        let change = random_change(&mut dice, &state);
        let head = apply(&*store, "acme", std::slice::from_ref(&change)).await;
        // Catch up only now and then, over several revisions.
        if round % 3 == 0 && head != have {
            let (told, _, changes) = since(&*store, have).await;
            assert_eq!(told, head);
            follow(&mut state, changes);
            have = told;
            let loaded = by_key(&load(&*store, "acme", false).await.1);
            assert_eq!(state, loaded, "round {round}: {change:?}");
        } else {
            // The next change must name only what is there.
            let (_, entities) = load(&*store, "acme", false).await;
            state = by_key(&entities);
            have = head;
        }
    }
}

async fn another_history_is_reloaded(store: Arc<dyn Store>) {
    let first = apply(&*store, "acme", &everything()).await;
    let second = apply(&*store, "acme", &[user("u")]).await;
    let reload = |have| {
        let store = store.clone();
        async move {
            let changes = store.changes_since(&id("acme"), have).await.unwrap();
            assert_eq!(changes, Changes::Reload, "{have:?}");
        }
    };
    let forged = [0xAA; 8];
    for head in [first, second] {
        reload(Head {
            nonce: forged,
            ..head
        })
        .await;
    }
    for revision in [0, 3, u64::MAX] {
        reload(Head {
            revision,
            nonce: second.nonce,
        })
        .await;
    }
}

async fn too_much_is_reloaded(store: Arc<dyn Store>) {
    let have = apply(&*store, "acme", &everything()).await;
    let many: Vec<EntityChange> = (0..50_001)
        .map(|number| put_resource(resource(&format!("n{number}"))))
        .collect();
    let head = apply(&*store, "acme", &many).await;
    assert_eq!(head.revision, 2);
    assert_eq!(
        store.changes_since(&id("acme"), have).await.unwrap(),
        Changes::Reload
    );
    // Whoever has reloaded follows again.
    let next = apply(&*store, "acme", &[user("u")]).await;
    let (told, _, changes) = since(&*store, head).await;
    assert_eq!(told, next);
    assert_eq!(changes, [user("u")]);
    assert_eq!(
        store.changes_since(&id("acme"), have).await.unwrap(),
        Changes::Reload
    );
}

async fn the_probe_notices(store: Arc<dyn Store>) {
    let mut one = store.change_probe().await.unwrap();
    let mut other = store.change_probe().await.unwrap();
    // One that is always in doubt says yes; any other says it once a change.
    let in_doubt = one.changed().await.unwrap();
    for number in 0..5 {
        let change = [
            put(Entity::Account(account("acme"))),
            user(&format!("u{number}")),
        ];
        apply(&*store, "acme", &change).await;
        assert!(one.changed().await.unwrap());
        assert_eq!(one.changed().await.unwrap(), in_doubt, "once a change");
    }
    assert!(other.changed().await.unwrap(), "each caller has its own");
    store
        .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
        .await
        .unwrap();
    assert!(one.changed().await.unwrap());
}

/// Everything that any test wrote is before this.
fn later() -> Timestamp {
    time("9999-01-01T00:00:00Z")
}

/// Who is behind the trim reloads, who is not follows on, and the newest revision stays however old
/// it is, so that a reader who stands there follows what comes next.
async fn a_trimmed_log_is_reloaded(store: Arc<dyn Store>) {
    let account_id = id("acme");
    let mut heads = vec![apply(&*store, "acme", &everything()).await];
    for number in 0..5 {
        let change = user(&format!("t{number}"));
        heads.push(apply(&*store, "acme", &[change]).await);
    }
    let idle = apply(&*store, "idle", &[put(Entity::Account(account("idle")))]).await;
    // The control: nothing is older than the first commit.
    let before = time("2000-01-01T00:00:00Z");
    assert_eq!(store.trim_history(before, 100).await.unwrap(), 0);
    since(&*store, heads[0]).await;

    let trimmed = store.trim_history(later(), 100).await.unwrap();
    assert_eq!(trimmed, 5, "all of `acme` but the newest, none of `idle`");
    for behind in &heads[..5] {
        assert_eq!(
            store.changes_since(&account_id, *behind).await.unwrap(),
            Changes::Reload
        );
        let nonce = store.nonce_at(&account_id, behind.revision).await;
        assert_eq!(nonce.unwrap(), None);
    }
    let newest = heads[5];
    let nonce = store.nonce_at(&account_id, newest.revision).await;
    assert_eq!(nonce.unwrap(), Some(newest.nonce));
    assert_eq!(store.head(&account_id).await.unwrap(), Some(newest));
    assert_eq!(store.head(&id("idle")).await.unwrap(), Some(idle));
    let next = apply(&*store, "acme", &[user("after")]).await;
    let (told, history, changes) = since(&*store, newest).await;
    assert_eq!((told, history), (next, vec![next]));
    assert_eq!(changes, [user("after")]);
}

/// Several replicas trim at once: each step is small, none takes what another one took, and what
/// each removes adds up.
async fn trimmed_in_small_steps(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    for number in 0..20 {
        apply(&*store, "acme", &[user(&format!("t{number}"))]).await;
    }
    let mut trimmed = 0;
    loop {
        let (one, other) = tokio::join!(
            store.trim_history(later(), 3),
            store.trim_history(later(), 3)
        );
        let step = [one.unwrap(), other.unwrap()];
        assert!(step.iter().all(|removed| *removed <= 3), "{step:?}");
        trimmed += step.iter().sum::<u64>();
        if step == [0, 0] {
            break;
        }
    }
    assert_eq!(trimmed, 20);
    // Oldest first: a reader in the middle of a trim is behind it or not, never in a gap.
    let head = store.head(&id("acme")).await.unwrap().unwrap();
    assert_eq!(
        store.changes_since(&id("acme"), head).await.unwrap(),
        Changes::None
    );
}
