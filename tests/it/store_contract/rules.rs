//! Rules that the database itself holds: references, the tree of teams, sticky partitions (3.5),
//! what goes with a deleted entity (P11).

use super::*;

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        clause("nothing dangles", nothing_dangles),
        clause("P11: no team is its own ancestor", no_cycle),
        clause("P11: teams may change places", teams_change_places),
        clause("a chain of 100,000 teams", a_deep_chain),
        clause("P11: children move up", children_move_up),
        clause("3.5: an assignment partitions for good", sticky_partition),
        clause("at most one account owner", one_owner),
        clause("P11: a deleted principal leaves no trace", no_trace),
    ]
}

async fn nothing_dangles(store: Arc<dyn Store>) {
    let head = apply(&*store, "acme", &everything()).await;
    let of_user = |change: fn(&mut User)| {
        let mut user = User::new(id("u"));
        change(&mut user);
        put(Entity::User(user))
    };
    let of_resource = |change: fn(&mut Resource)| {
        let mut resource = resource("r");
        resource.partitioned = true;
        change(&mut resource);
        put_resource(resource)
    };
    fn assigned(resource: &mut Resource, principal: Principal) {
        resource.assignments.insert(Assignment {
            principal,
            provenance: Provenance::Manual,
            expires_at: None,
        });
    }
    fn held(of: MembershipOf) -> BTreeSet<Membership> {
        let membership = Membership {
            of,
            provenance: Provenance::Manual,
            expires_at: None,
            granted_by: None,
        };
        [membership].into()
    }
    let dangling = [
        team("t", Some("absent")),
        of_user(|user| user.main_team = Some(id("absent"))),
        of_user(|user| user.teams = ids(["absent"])),
        of_user(|user| user.permission_sets = ids(["absent"])),
        of_user(|user| user.memberships = held(MembershipOf::Team(id("rep")))),
        of_user(|user| user.memberships = held(MembershipOf::PermissionSet(id("de")))),
        of_user(|user| {
            user.object_grants.insert(ObjectGrant {
                resource: key("contact", "absent"),
                action: id("view"),
                not_before: None,
                expires_at: None,
                provenance: Provenance::Manual,
                granted_by: None,
            });
        }),
        put(Entity::AccessGroup(AccessGroup {
            id: id("g"),
            members: [(Principal::User(id("absent")), ids(["view"]))].into(),
        })),
        put(Entity::AccessGroup(AccessGroup {
            id: id("g"),
            members: [(Principal::Team(id("absent")), ids(["view"]))].into(),
        })),
        of_resource(|resource| resource.owners = ids(["absent"])),
        of_resource(|resource| resource.owning_team = Some(id("absent"))),
        of_resource(|resource| assigned(resource, Principal::User(id("de")))),
        of_resource(|resource| assigned(resource, Principal::Team(id("us1")))),
        of_resource(|resource| assigned(resource, Principal::Group(id("us1")))),
        put(Entity::Segment(Segment {
            id: id("s"),
            resource_type: id("contact"),
            when: "true".to_owned(),
            assign_to: [Principal::Group(id("absent"))].into(),
            enabled: true,
            may_partition: true,
        })),
    ];
    for change in dangling {
        let rule = refused_by(try_apply(&*store, "acme", std::slice::from_ref(&change)).await);
        assert!(rule.contains("dangling reference"), "{change:?}: {rule}");
    }
    assert_eq!(store.head(&id("acme")).await.unwrap(), Some(head));
}

async fn no_cycle(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let cycles = [
        vec![team("eu", Some("eu"))],
        vec![team("eu", Some("de"))],
        vec![team("us", Some("de")), team("eu", Some("us"))],
        vec![team("a", Some("a"))],
        vec![team("a", Some("b")), team("b", Some("a"))],
        vec![
            team("a", Some("b")),
            team("b", Some("c")),
            team("c", Some("a")),
        ],
        vec![
            team("eu", Some("c")),
            team("a", Some("de")),
            team("b", Some("a")),
            team("c", Some("b")),
        ],
    ];
    for cycle in cycles {
        let rule = refused_by(try_apply(&*store, "acme", &cycle).await);
        assert!(rule.contains("P11"), "{cycle:?}: {rule}");
    }
    // Two that only together make a cycle: the second is refused.
    apply(
        &*store,
        "acme",
        &[team("a", None), team("b", None), team("a", Some("b"))],
    )
    .await;
    refused_by(try_apply(&*store, "acme", &[team("b", Some("a"))]).await);
}

async fn teams_change_places(store: Arc<dyn Store>) {
    let before = [
        put(Entity::Account(account("acme"))),
        team("a", None),
        team("b", Some("a")),
        team("c", Some("b")),
        team("d", Some("c")),
    ];
    apply(&*store, "acme", &before).await;
    let after = [
        team("d", None),
        team("c", Some("d")),
        team("b", Some("c")),
        team("a", Some("b")),
    ];
    apply(&*store, "acme", &after).await;
    let mut expected = by_key(puts(&before));
    expected.extend(by_key(puts(&after)));
    assert_eq!(by_key(&load(&*store, "acme", false).await.1), expected);
}

async fn a_deep_chain(store: Arc<dyn Store>) {
    const DEPTH: usize = 100_000;
    let mut changes = vec![put(Entity::Account(account("acme")))];
    // The deepest first, and ids in no order of the tree.
    changes.extend((0..DEPTH).rev().map(|depth| {
        let name = |depth: usize| format!("t{}", depth * 7_919 % DEPTH);
        let parent = depth.checked_sub(1).map(name);
        team(&name(depth), parent.as_deref())
    }));
    let head = apply(&*store, "acme", &changes).await;
    let (_, entities) = load(&*store, "acme", false).await;
    assert_eq!(by_key(&entities), by_key(puts(&changes)));
    let deepest = format!("t{}", (DEPTH - 1) * 7_919 % DEPTH);
    let rule = refused_by(try_apply(&*store, "acme", &[team("t0", Some(&deepest))]).await);
    assert!(rule.contains("P11"), "{rule}");
    assert_eq!(store.head(&id("acme")).await.unwrap(), Some(head));
    // From the middle a child moves to its grandparent.
    let middle = format!("t{}", DEPTH / 2 * 7_919 % DEPTH);
    apply(
        &*store,
        "acme",
        &[EntityChange::Delete(EntityKey::Team(id(&middle)))],
    )
    .await;
    assert!(
        store
            .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
            .await
            .unwrap()
    );
}

async fn children_move_up(store: Arc<dyn Store>) {
    let changes = [
        put(Entity::Account(account("acme"))),
        team("top", None),
        team("middle", Some("top")),
        team("left", Some("middle")),
        team("right", Some("middle")),
    ];
    apply(&*store, "acme", &changes).await;
    let gone = |name| [EntityChange::Delete(EntityKey::Team(id(name)))];
    apply(&*store, "acme", &gone("middle")).await;
    let parents = || async {
        let (_, entities) = load(&*store, "acme", false).await;
        let parents: BTreeMap<String, Option<String>> = entities
            .into_iter()
            .filter_map(|entity| match entity {
                Entity::Team(team) => {
                    Some((team.id.to_string(), team.parent.map(|id| id.to_string())))
                }
                _ => None,
            })
            .collect();
        parents
    };
    let top = Some("top".to_owned());
    let expected = [
        ("left".to_owned(), top.clone()),
        ("right".to_owned(), top),
        ("top".to_owned(), None),
    ];
    assert_eq!(parents().await, expected.into());
    apply(&*store, "acme", &gone("top")).await;
    let expected = [("left".to_owned(), None), ("right".to_owned(), None)];
    assert_eq!(parents().await, expected.into());
}

async fn sticky_partition(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let walled = Assignment {
        principal: Principal::Team(id("us")),
        provenance: Provenance::Manual,
        expires_at: None,
    };
    let state = || async {
        let (_, entities) = load(&*store, "acme", false).await;
        match by_key(&entities).remove(&EntityKey::Resource(key("contact", "r"))) {
            Some(Entity::Resource(resource, _)) => resource,
            other => panic!("{other:?}"),
        }
    };
    // An assignment partitions, even where the write says otherwise.
    let with = Resource {
        assignments: [walled].into(),
        ..resource("r")
    };
    apply(&*store, "acme", &[put_resource(with)]).await;
    assert!(state().await.partitioned);
    // The last assignment goes with its team: the wall stays.
    let gone = EntityChange::Delete(EntityKey::Team(id("us")));
    apply(&*store, "acme", &[gone]).await;
    let orphaned = state().await;
    assert!(orphaned.assignments.is_empty());
    assert!(orphaned.partitioned);
    // Only an explicit write opens it, together with all assignments.
    apply(&*store, "acme", &[put_resource(resource("r"))]).await;
    assert!(!state().await.partitioned);
}

async fn one_owner(store: Arc<dyn Store>) {
    let owner = |name: &str, account_owner| {
        put(Entity::User(User {
            account_owner,
            ..User::new(id(name))
        }))
    };
    let first = [put(Entity::Account(account("acme"))), owner("b", true)];
    apply(&*store, "acme", &first).await;
    let rule = refused_by(try_apply(&*store, "acme", &[owner("a", true)]).await);
    assert!(rule.contains("account owner"), "{rule}");
    // Handed over in one write, whichever way the ids are ordered.
    apply(&*store, "acme", &[owner("a", true), owner("b", false)]).await;
    apply(&*store, "acme", &[owner("a", false), owner("b", true)]).await;
}

async fn no_trace(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let gone: Vec<EntityChange> = [
        EntityKey::User(id("us1")),
        EntityKey::Team(id("de")),
        EntityKey::AccessGroup(id("vip")),
        EntityKey::PermissionSet(id("rep")),
    ]
    .map(EntityChange::Delete)
    .into();
    apply(&*store, "acme", &gone).await;
    // Made again under the same ids: without anything of what they had.
    let again = [
        user("us1"),
        team("de", None),
        put(Entity::AccessGroup(AccessGroup {
            id: id("vip"),
            members: BTreeMap::new(),
        })),
        put(Entity::PermissionSet(PermissionSet {
            id: id("rep"),
            grants: BTreeSet::new(),
        })),
    ];
    apply(&*store, "acme", &again).await;
    let state = by_key(&load(&*store, "acme", false).await.1);
    for change in puts(&again) {
        assert_eq!(state.get(&change.key()), Some(change));
    }
    let Some(Entity::Resource(c1, _)) = state.get(&EntityKey::Resource(key("contact", "c1")))
    else {
        panic!("the resource stays");
    };
    assert_eq!(c1.owners, ids(["pa"]));
    assert!(c1.assignments.is_empty());
    assert!(c1.partitioned);
    let Some(Entity::User(pa)) = state.get(&EntityKey::User(id("pa"))) else {
        panic!("the user stays");
    };
    assert_eq!(pa.main_team, None);
    assert_eq!(pa.permission_sets, ids(["empty"]));
    assert_eq!(pa.set_givers, [].into());
    let left: Vec<&MembershipOf> = pa.memberships.iter().map(|held| &held.of).collect();
    assert_eq!(left, [&MembershipOf::PermissionSet(id("empty"))]);
    let Some(Entity::Segment(gold)) = state.get(&EntityKey::Segment(id("gold"))) else {
        panic!("the segment stays");
    };
    assert_eq!(gold.assign_to, [Principal::Team(id("us"))].into());
}
