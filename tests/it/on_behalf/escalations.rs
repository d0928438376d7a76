//! Case 36 and its variations: every way to a right of one's own that somebody may think of.

use super::*;
use wire::Level;

/// Whatever a manager tries, neither the manager nor anybody of theirs comes to `report.view`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_36_no_way_leads_to_a_right_that_the_set_of_people_does_not_hold() {
    let scene = Scene::new().await;
    let object = |user: &str| {
        vec![change(Change::SetObjectGrant(wire::SetObjectGrant {
            user_id: user.to_owned(),
            resource_type: "contact".to_owned(),
            resource_id: "c1".to_owned(),
            action: "view".to_owned(),
            terms: Some(wire::ObjectGrantTerms::default()),
            ..wire::SetObjectGrant::default()
        }))]
    };
    let attempts: Vec<(&str, Vec<wire::Change>)> = vec![
        // Directly, and by the other user of the same person.
        ("m", set_grants("m", "report.view", Some(Level::Everything))),
        (
            "m",
            set_grants("m2", "report.view", Some(Level::Everything)),
        ),
        ("m", set_grants("m2", "contact.view", Some(Level::Owned))),
        ("m", changes("users: [{id: m2, permission_sets: [free]}]")),
        // By somebody else, who could give it back.
        ("m", set_grants("e", "report.view", Some(Level::Everything))),
        ("m", changes("users: [{id: e, permission_sets: [free]}]")),
        (
            "m",
            changes("users: [{id: new, permission_sets: [free, reporters]}]"),
        ),
        ("m", changes("users: [{id: new2, super_admin: true}]")),
        // By a set that one holds, or that one makes.
        (
            "m",
            set_grants("set:mine", "report.view", Some(Level::Everything)),
        ),
        (
            "m",
            set_grants("set:mine", "contact.edit", Some(Level::Owned)),
        ),
        (
            "m",
            set_grants("set:viewers", "report.view", Some(Level::Everything)),
        ),
        (
            "m",
            changes(
                "permission_sets: [{id: evil, grants: {report.view: everything}}]\nusers: [{id: e, permission_sets: [evil]}]",
            ),
        ),
        // By a set that a super admin holds.
        (
            "m",
            set_grants("set:admins", "contact.view", Some(Level::Team)),
        ),
        // By a team: oneself, a friend, or the team itself.
        ("m", changes("users: [{id: m, teams: [us]}]")),
        ("m", changes("users: [{id: e, teams: [us]}]")),
        ("m", changes("teams: [{id: us, parent: de}]")),
        // By the mask of a group, the target of a rule, a grant on one resource.
        (
            "m",
            changes("access_groups: [{id: vip, members: [{user: m, actions: [view, edit]}]}]"),
        ),
        (
            "group",
            changes("access_groups: [{id: vip, members: [{user: group, actions: [view, edit]}]}]"),
        ),
        (
            "group",
            changes("segments: [{id: s, type: contact, when: 'true', assign_to: ['user:group']}]"),
        ),
        ("m", object("e")),
        ("us1", object("us1")),
        // By what says that somebody else gave it.
        (
            "m",
            vec![change(Change::SetGrants(wire::SetGrants {
                holder: Some(wire::set_grants::Holder::UserId("e".to_owned())),
                resource_type: "contact".to_owned(),
                permission: "view".to_owned(),
                provenance: "request:r1".to_owned(),
                terms: vec![wire::GrantTerms {
                    level: Level::Owned.into(),
                    ..wire::GrantTerms::default()
                }],
            }))],
        ),
        // By waking somebody, or reading their mail.
        ("m", changes("users: [{id: big, status: active}]")),
        ("m", changes("users: [{id: r, email: m@x.example}]")),
        ("m", changes("users: [{id: m2, person: other}]")),
        // By the account.
        ("m", changes("settings: {partition_mode: {contact: share}}")),
    ];
    for (actor, changes) in attempts {
        let answer = scene.write(actor, changes.clone()).await;
        for who in ["m", "m2", "e", "new", "new2", "group", "us1"] {
            if who.starts_with("new") && answer.is_err() {
                continue;
            }
            assert!(!scene.may(who, "report.view").await, "{who} by {changes:?}");
            let reach = wire::CheckRequest {
                account_id: "acme".to_owned(),
                user_id: who.to_owned(),
                resource_type: "contact".to_owned(),
                action: "view".to_owned(),
                resource_id: "c1".to_owned(),
                consistency: crate::grpc::server::fully_consistent(),
                ..wire::CheckRequest::default()
            };
            let answer = scene
                .server
                .decisions()
                .check(reach)
                .await
                .unwrap()
                .into_inner();
            let allowed = answer.decision() == wire::Decision::Allow;
            assert_eq!(allowed, who == "us1", "{who} reaches c1 by {changes:?}");
        }
    }
    let m = scene.user("m").await;
    assert_eq!((m.main_team.as_str(), m.teams.len()), ("eu", 0));
    scene.stop().await;
}

/// A right that the admin hands on, and then loses, is not handed on again (D5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_the_ceiling_is_that_of_the_moment() {
    let scene = Scene::new().await;
    let give = |user: &str| set_grants(user, "contact.edit", Some(Level::Team));
    scene.write("m", give("e")).await.unwrap();
    scene
        .write("", set_grants("m", "contact.edit", None))
        .await
        .unwrap();
    let answer = scene.write("m", give("so")).await.unwrap();
    assert_eq!(
        told(&answer.ceiling.unwrap().withheld),
        ["contact.edit at team"]
    );
    // What was given before stays, and is not the admin's to take any more.
    let answer = scene
        .write("m", set_grants("e", "contact.edit", None))
        .await
        .unwrap();
    assert_eq!(
        told(&answer.ceiling.unwrap().kept),
        ["contact.edit at team"]
    );
    scene.stop().await;
}

/// D5: what was given stays when the giver loses it, and is listed; page by page, and exactly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_grants_above_their_grantors_present_ceiling_are_listed() {
    let scene = Scene::new().await;
    let list = async |size: u32| {
        let mut request = wire::ListGrantsBeyondCeilingRequest {
            account_id: "acme".to_owned(),
            page_size: size,
            consistency: crate::grpc::server::fully_consistent(),
            ..wire::ListGrantsBeyondCeilingRequest::default()
        };
        let mut found = Vec::new();
        loop {
            let mut directory = scene.server.directory();
            let page = directory
                .list_grants_beyond_ceiling(request.clone())
                .await
                .unwrap();
            let page = page.into_inner();
            found.extend(page.grants);
            if page.next_page_token.is_empty() {
                return found;
            }
            request.page_token = page.next_page_token;
        }
    };
    let mut give = set_grants("e", "contact.edit", Some(Level::Team));
    give.extend(set_grants("so", "contact.edit", Some(Level::Owned)));
    give.extend(set_grants("set:viewers", "contact.edit", Some(Level::Team)));
    scene.write("m", give).await.unwrap();
    // A super admin is above any ceiling.
    scene
        .write("sa", set_grants("us1", "contact.edit", Some(Level::Team)))
        .await
        .unwrap();
    assert_eq!(list(0).await, []);
    scene
        .write("", set_grants("m", "contact.edit", Some(Level::Owned)))
        .await
        .unwrap();
    let found = list(0).await;
    let rows: Vec<_> = found
        .iter()
        .map(|one| {
            let grant = one.grant.as_ref().unwrap();
            let of = grant.of.as_ref().unwrap().id.as_str();
            (of, one.granted_by.as_str(), one.held_level())
        })
        .collect();
    assert_eq!(
        rows,
        [("e", "m", Level::Owned), ("viewers", "m", Level::Owned)]
    );
    assert_eq!(list(1).await, found);
    scene.write("", delete_user("m")).await.unwrap();
    let rows: Vec<_> = list(1)
        .await
        .iter()
        .map(wire::GrantBeyondCeiling::held_level)
        .collect();
    assert_eq!(rows, [Level::None; 3]);
    scene.stop().await;
}
