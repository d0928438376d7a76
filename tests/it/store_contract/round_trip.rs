//! What is put comes back whole, whatever it is called and however much it is.

use super::*;

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        clause("not found is none", not_found_is_none),
        clause("what is put comes back whole", comes_back_whole),
        clause("attributes come when asked for", attributes),
        clause("ids compare bytewise", ids_compare_bytewise),
        clause("accounts are listed bytewise and paged", accounts_are_paged),
        clause("a snapshot is ordered", a_snapshot_is_ordered),
        clause("more rows than a statement binds", many_rows),
        clause("accounts do not touch", accounts_do_not_touch),
    ]
}

async fn not_found_is_none(store: Arc<dyn Store>) {
    let nobody = id("nobody");
    let head = Head {
        revision: 1,
        nonce: [0; 8],
    };
    assert_eq!(store.head(&nobody).await.unwrap(), None);
    assert_eq!(
        store.heads(std::slice::from_ref(&nobody)).await.unwrap(),
        []
    );
    assert_eq!(store.nonce_at(&nobody, 1).await.unwrap(), None);
    assert_eq!(store.accounts(None, 10).await.unwrap(), []);
    assert!(store.snapshot(&nobody, true).await.unwrap().is_none());
    assert_eq!(
        store
            .attributes(&nobody, &[key("contact", "c1")])
            .await
            .unwrap(),
        []
    );
    assert!(
        !store
            .delete_account(&nobody, None, &Author::anyone("DeleteAccount"))
            .await
            .unwrap()
    );
    assert!(
        !store
            .delete_account(&nobody, Some(head), &Author::anyone("DeleteAccount"))
            .await
            .unwrap()
    );
    store.clock().await.unwrap();
}

async fn comes_back_whole(store: Arc<dyn Store>) {
    let changes = everything();
    let head = apply(&*store, "acme", &changes).await;
    let (loaded_head, entities) = load(&*store, "acme", false).await;
    assert_eq!(loaded_head, head);
    assert_eq!(by_key(&entities), by_key(puts(&changes)));

    // Emptied again: every field goes back to its default, not only away from it.
    let bare = vec![
        put(Entity::Account(account("acme"))),
        team("de", None),
        put(Entity::PermissionSet(PermissionSet {
            id: id("rep"),
            grants: BTreeSet::new(),
        })),
        user("pa"),
        put(Entity::AccessGroup(AccessGroup {
            id: id("vip"),
            members: BTreeMap::new(),
        })),
        put_resource(resource("c1")),
        put(Entity::Segment(Segment {
            id: id("gold"),
            resource_type: id("email"),
            when: String::new(),
            assign_to: BTreeSet::new(),
            enabled: true,
            may_partition: true,
        })),
    ];
    apply(&*store, "acme", &bare).await;
    let mut expected = by_key(puts(&changes));
    expected.extend(by_key(puts(&bare)));
    let (_, entities) = load(&*store, "acme", false).await;
    assert_eq!(by_key(&entities), expected);
}

async fn attributes(store: Arc<dyn Store>) {
    apply(&*store, "acme", &everything()).await;
    let wanted = everything()
        .into_iter()
        .find_map(|change| match change {
            EntityChange::Put(Entity::Resource(_, Some(attributes))) => Some(attributes),
            _ => None,
        })
        .unwrap();
    let named = [
        key("contact", "c1"),
        key("contact", "c2"),
        key("contact", "absent"),
    ];
    let found = || async { store.attributes(&id("acme"), &named).await.unwrap() };
    assert_eq!(found().await, [(key("contact", "c1"), wanted.clone())]);

    // A snapshot has them only when asked; a resource without any then has an empty map.
    let (_, entities) = load(&*store, "acme", true).await;
    let loaded: Vec<(&Id, &Option<Attributes>)> = entities
        .iter()
        .filter_map(|entity| match entity {
            Entity::Resource(resource, attributes)
                if resource.key.resource_type == id("contact") =>
            {
                Some((&resource.key.id, attributes))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        loaded,
        [
            (&id("c1"), &Some(wanted.clone())),
            (&id("c2"), &Some(Attributes::new()))
        ]
    );
    let (_, entities) = load(&*store, "acme", false).await;
    assert!(
        entities
            .iter()
            .all(|entity| !matches!(entity, Entity::Resource(_, Some(_))))
    );

    // `None` leaves them, the same ones again are no change, an empty map removes them.
    let c1 = by_key(&entities)
        .remove(&EntityKey::Resource(key("contact", "c1")))
        .unwrap();
    let Entity::Resource(c1, _) = c1 else {
        panic!("found by the key of a resource");
    };
    let mut lone = c1.clone();
    lone.owners.clear();
    apply(&*store, "acme", &[put_resource(lone.clone())]).await;
    assert_eq!(found().await, [(key("contact", "c1"), wanted.clone())]);
    let head = store.head(&id("acme")).await.unwrap().unwrap();
    let same = put(Entity::Resource(lone.clone(), Some(wanted)));
    assert_eq!(apply(&*store, "acme", &[same]).await, head);
    let other: Attributes = serde_json::from_str(r#"{"category":"lead"}"#).unwrap();
    let changed = put(Entity::Resource(lone.clone(), Some(other.clone())));
    apply(&*store, "acme", &[changed]).await;
    assert_eq!(found().await, [(key("contact", "c1"), other.clone())]);
    let emptied = put(Entity::Resource(lone.clone(), Some(Attributes::new())));
    apply(&*store, "acme", &[emptied]).await;
    assert_eq!(found().await, []);

    // And they go with their resource.
    let back = put(Entity::Resource(lone, Some(other)));
    apply(&*store, "acme", &[back]).await;
    let gone = EntityChange::Delete(EntityKey::Resource(key("contact", "c1")));
    apply(&*store, "acme", &[gone]).await;
    assert_eq!(found().await, []);
}

/// Ids that a store may be tempted to fold, trim, split, match or run.
fn awkward_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "Foo",
        "foo",
        "FOO",
        "straße",
        "STRASSE",
        "é",
        "e\u{301}",
        "a",
        "a ",
        " a",
        "a\u{a0}",
        "a\u{200b}",
        "\u{200b}",
        "\u{202e}abc",
        "*",
        "?",
        "[a-z]",
        "%",
        "_",
        "../",
        "..",
        "/",
        "a:b#c",
        "a/b",
        "user:1",
        "'; DROP TABLE team; --",
        "\"",
        "\\",
        "\\u0041",
        "{}",
        "[]",
        "null",
        "0",
        "00",
        "1e3",
        "\u{fffd}",
        "\u{10ffff}",
        "💥",
        "ﬁ",
        "fi",
        "K",
        "\u{212a}",
    ]
    .map(str::to_owned)
    .into();
    ids.push("x".repeat(256));
    ids.push("ü".repeat(128));
    ids
}

async fn ids_compare_bytewise(store: Arc<dyn Store>) {
    let mut changes = vec![put(Entity::Account(account("acme")))];
    for text in awkward_ids() {
        changes.push(team(&text, None));
        changes.push(put(Entity::User(User {
            main_team: Some(id(&text)),
            seats: ids([text.as_str()]),
            ..User::new(id(&text))
        })));
        changes.push(put(Entity::AccessGroup(AccessGroup {
            id: id(&text),
            members: [(Principal::User(id(&text)), ids([text.as_str()]))].into(),
        })));
        changes.push(put_resource(Resource {
            key: key(&text, &text),
            owners: ids([text.as_str()]),
            partitioned: true,
            assignments: [Assignment {
                principal: Principal::Team(id(&text)),
                provenance: Provenance::Segment(id(&text)),
                expires_at: None,
            }]
            .into(),
            ..resource("x")
        }));
    }
    apply(&*store, "acme", &changes).await;
    let (head, entities) = load(&*store, "acme", false).await;
    assert_eq!(by_key(&entities), by_key(puts(&changes)));

    // One of a pair goes: the other stays.
    let gone: Vec<EntityChange> = ["foo", "é", "a", "*", "%"]
        .map(|text| EntityChange::Delete(EntityKey::User(id(text))))
        .into();
    apply(&*store, "acme", &gone).await;
    let (_, entities) = load(&*store, "acme", false).await;
    let users = entities
        .iter()
        .filter(|entity| matches!(entity, Entity::User(_)))
        .count();
    assert_eq!(users, awkward_ids().len() - gone.len());
    let ambit::store::Changes::Delta { changes, .. } =
        store.changes_since(&id("acme"), head).await.unwrap()
    else {
        panic!("a few changes are a delta");
    };
    let deleted: Vec<&EntityChange> = changes
        .iter()
        .filter(|change| matches!(change, EntityChange::Delete(_)))
        .collect();
    assert_eq!(deleted.len(), gone.len());
    assert!(deleted.iter().all(|change| gone.contains(change)));
}

async fn accounts_are_paged(store: Arc<dyn Store>) {
    let mut names = awkward_ids();
    for name in &names {
        apply(&*store, name, &[put(Entity::Account(account(name)))]).await;
    }
    names.sort();
    let mut listed = Vec::new();
    let mut after: Option<Id> = None;
    loop {
        let page = store.accounts(after.as_ref(), 7).await.unwrap();
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        listed.extend(page);
    }
    let ids: Vec<&str> = listed.iter().map(|summary| summary.id.as_str()).collect();
    assert_eq!(ids, names);

    let asked = [id("foo"), id("nobody"), id("Foo"), id("foo")];
    let mut heads = store.heads(&asked).await.unwrap();
    heads.sort_by(|one, other| one.id.cmp(&other.id));
    let found: Vec<&str> = heads.iter().map(|summary| summary.id.as_str()).collect();
    assert_eq!(found, ["Foo", "foo"]);
    for summary in heads {
        assert_eq!(store.head(&summary.id).await.unwrap(), Some(summary.head));
    }
}

async fn a_snapshot_is_ordered(store: Arc<dyn Store>) {
    let mut changes = everything();
    // Ids whose order is the reverse of the tree's.
    for depth in 0..50 {
        let parent = (depth > 0).then(|| format!("t{:02}", 99 - depth + 1));
        changes.push(team(&format!("t{:02}", 99 - depth), parent.as_deref()));
    }
    for number in 0..2_500 {
        changes.push(put_resource(resource(&format!("r{number}"))));
    }
    apply(&*store, "acme", &changes).await;
    let (_, entities) = load(&*store, "acme", false).await;
    let rank = |entity: &Entity| match entity {
        Entity::Account(_) => 0,
        Entity::Team(_) => 1,
        Entity::PermissionSet(_) => 2,
        Entity::User(_) => 3,
        Entity::AccessGroup(_) => 4,
        Entity::Segment(_) => 5,
        Entity::AccessRequest(_) => 6,
        Entity::Resource(..) => 7,
    };
    assert!(entities.is_sorted_by_key(rank));
    let resources: Vec<&ResourceKey> = entities
        .iter()
        .filter_map(|entity| match entity {
            Entity::Resource(resource, _) => Some(&resource.key),
            _ => None,
        })
        .collect();
    assert_eq!(resources.len(), 2_503);
    assert!(resources.is_sorted());
    let mut seen = BTreeSet::new();
    for entity in &entities {
        if let Entity::Team(team) = entity {
            assert!(
                team.parent
                    .as_ref()
                    .is_none_or(|parent| seen.contains(parent))
            );
            seen.insert(team.id.clone());
        }
    }
    assert_eq!(seen.len(), 53);
}

/// One row, and numbers of rows about the limits of bound values that databases have: 32,766 and
/// 65,535.
async fn many_rows(store: Arc<dyn Store>) {
    for count in [1, 32_766, 32_767, 65_536] {
        let name = format!("with-{count}");
        let mut changes = vec![put(Entity::Account(account(&name))), user("owner")];
        changes.extend((0..count).map(|number| {
            put_resource(Resource {
                owners: ids(["owner"]),
                ..resource(&format!("c{number}"))
            })
        }));
        let head = apply(&*store, &name, &changes).await;
        assert_eq!(head.revision, 1);
        let (_, entities) = load(&*store, &name, false).await;
        assert_eq!(by_key(&entities), by_key(puts(&changes)));

        if count < 65_536 {
            continue;
        }
        // And taken away again, in one revision.
        let gone: Vec<EntityChange> = (0..count)
            .map(|number| {
                EntityChange::Delete(EntityKey::Resource(key("contact", &format!("c{number}"))))
            })
            .collect();
        assert_eq!(apply(&*store, &name, &gone).await.revision, 2);
        let (_, entities) = load(&*store, &name, false).await;
        assert_eq!(entities.len(), 2);
    }
}

async fn accounts_do_not_touch(store: Arc<dyn Store>) {
    let mut other = everything();
    other[0] = put(Entity::Account(account("other")));
    apply(&*store, "acme", &everything()).await;
    apply(&*store, "other", &other).await;
    let head = store.head(&id("other")).await.unwrap();
    let gone: Vec<EntityChange> = by_key(puts(&everything()))
        .into_keys()
        .filter(|key| *key != EntityKey::Account)
        .map(EntityChange::Delete)
        .collect();
    apply(&*store, "acme", &gone).await;
    assert_eq!(load(&*store, "acme", true).await.1.len(), 1);
    assert!(
        store
            .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
            .await
            .unwrap()
    );
    assert_eq!(store.head(&id("other")).await.unwrap(), head);
    let (_, entities) = load(&*store, "other", false).await;
    assert_eq!(by_key(&entities), by_key(puts(&other)));
}
