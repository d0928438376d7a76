//! P6, P7: the rows of segments change with the attributes that they speak of.
#![cfg(test)]

use super::super::super::graph::AccountGraph;
use super::super::super::model::{Attributes, ResourceKey};
use super::super::{ASSIGNMENTS_MAX, Change, SegmentPatch};
use super::{
    account, after, assign, assign_from, id, partitioned, planned, principal, resource_key,
    resource_with, user,
};

fn record(key: &str, json: &str) -> Change {
    let attributes: Attributes = serde_json::from_str(json).expect("an object of JSON");
    resource_with(key, |patch| patch.attributes = Some(attributes))
}

fn rule(name: &str, when: &str, to: &str) -> Change {
    Change::PutSegment(SegmentPatch {
        id: id(name),
        resource_type: Some(id("contact")),
        when: Some(when.to_owned()),
        assign_to: Some(to.split_whitespace().map(principal).collect()),
        enabled: None,
        may_partition: None,
    })
}

fn enable(name: &str, enabled: bool) -> Change {
    Change::PutSegment(SegmentPatch {
        id: id(name),
        resource_type: None,
        when: None,
        assign_to: None,
        enabled: Some(enabled),
        may_partition: None,
    })
}

fn ipresso(changes: &[Change]) -> AccountGraph {
    let mut all = vec![account("ipresso", "standard")];
    all.extend(["marketing", "sales", "pr"].map(|group| Change::PutAccessGroup(id(group))));
    all.extend(["u", "v"].map(user));
    all.extend(changes.to_vec());
    after(None, &all)
}

/// The rows of a contact as text.
fn rows(graph: &AccountGraph, key: &ResourceKey) -> Vec<String> {
    let resource = graph.resource(key).expect("the resource");
    assert!(resource.partitioned || resource.assignments.is_empty());
    resource
        .assignments
        .iter()
        .map(|row| format!("{} {}", row.principal, row.provenance))
        .collect()
}

fn of(graph: &AccountGraph, contact: &str) -> Vec<String> {
    rows(graph, &resource_key(&format!("contact/{contact}")))
}

#[test]
fn p6_a_record_is_assigned_by_the_write_that_makes_it_match() {
    let graph = ipresso(&[
        rule(
            "gold",
            "'gold' in resource.tags",
            "group:marketing group:pr",
        ),
        record("contact/a", r#"{"tags": ["gold"]}"#),
        record("contact/b", r#"{"tags": ["silver"]}"#),
        resource_with("contact/c", |_| {}),
    ]);
    let both = ["group:marketing segment:gold", "group:pr segment:gold"];
    assert_eq!(of(&graph, "a"), both);
    assert!(of(&graph, "b").is_empty() && of(&graph, "c").is_empty());
    let the_b = graph.resource(&resource_key("contact/b")).expect("b");
    assert!(!the_b.partitioned, "what does not match stays open");
    let graph = after(
        Some(&graph),
        &[record("contact/b", r#"{"tags": ["gold"]}"#)],
    );
    assert_eq!(of(&graph, "b"), both);
}

#[test]
fn p7_a_tag_that_goes_takes_only_the_rows_of_its_rule() {
    let graph = ipresso(&[
        rule("gold", "'gold' in resource.tags", "group:marketing"),
        rule("de", "resource.country == 'DE'", "group:marketing"),
        record("contact/a", r#"{"tags": ["gold"], "country": "DE"}"#),
        assign("contact/a", "group:sales"),
        assign_from("contact/a", "group:marketing", "import:j", None),
        record("contact/alone", r#"{"tags": ["gold"]}"#),
    ]);
    assert_eq!(of(&graph, "a").len(), 4);
    let graph = after(
        Some(&graph),
        &[
            record("contact/a", r#"{"tags": [], "country": "DE"}"#),
            record("contact/alone", r#"{"tags": []}"#),
        ],
    );
    assert_eq!(
        of(&graph, "a"),
        [
            "group:marketing segment:de",
            "group:marketing import:j",
            "group:sales manual"
        ]
    );
    let alone = graph.resource(&resource_key("contact/alone")).expect("it");
    assert!(
        alone.partitioned && alone.assignments.is_empty(),
        "sticky, 3.5"
    );
}

#[test]
fn p6_the_rules_that_stand_after_the_list_are_those_that_count() {
    let gold = || rule("gold", "'gold' in resource.tags", "group:marketing");
    let a = || record("contact/a", r#"{"tags": ["gold"]}"#);
    for list in [vec![gold(), a()], vec![a(), gold()]] {
        assert_eq!(of(&ipresso(&list), "a"), ["group:marketing segment:gold"]);
    }
    let graph = ipresso(&[gold(), a()]);
    let renamed = rule("gold", "'gold' in resource.labels", "group:pr");
    let graph = after(
        Some(&graph),
        &[record("contact/a", r#"{"labels": ["gold"]}"#), renamed],
    );
    assert_eq!(of(&graph, "a"), ["group:pr segment:gold"]);
    let graph = after(
        Some(&graph),
        &[
            record("contact/a", r#"{"labels": ["gold"]}"#),
            enable("gold", false),
        ],
    );
    assert!(
        of(&graph, "a").is_empty(),
        "a rule that is off matches nothing"
    );
}

#[test]
fn a_rule_speaks_of_its_type_only_and_a_write_without_attributes_asks_none() {
    let graph = ipresso(&[
        rule("all", "true", "user:v"),
        resource_with("email_campaign/c", |_| {}),
        resource_with("contact/a", |_| {}),
    ]);
    assert!(rows(&graph, &resource_key("email_campaign/c")).is_empty());
    assert_eq!(
        of(&graph, "a"),
        ["user:v segment:all"],
        "P5: a new record without any"
    );
    // An owner changes; the graph knows no attributes, and the rows are left as they are.
    let lost = after(
        Some(&graph),
        &[
            Change::DeleteAssignment {
                resource: resource_key("contact/a"),
                principal: principal("user:v"),
                provenance: "segment:all".parse().expect("a provenance"),
            },
            resource_with("contact/a", |patch| patch.owners = Some([id("u")].into())),
        ],
    );
    assert!(of(&lost, "a").is_empty());
}

#[test]
fn a_record_is_not_opened_by_hand_against_a_rule_that_it_matches() {
    let graph = ipresso(&[
        rule("all", "true", "user:v"),
        record("contact/a", "{}"),
        assign("contact/a", "user:u"),
    ]);
    let opened = after(
        Some(&graph),
        &[record("contact/a", "{}"), partitioned("contact/a", false)],
    );
    assert_eq!(of(&opened, "a"), ["user:v segment:all"]);
}

#[test]
fn s2_4_a_rule_closes_nothing_that_the_plan_does_not_let_be_closed() {
    let email = |name: &str| {
        Change::PutSegment(SegmentPatch {
            id: id(name),
            resource_type: Some(id("email")),
            when: Some("true".to_owned()),
            assign_to: Some([principal("user:u")].into()),
            enabled: None,
            may_partition: None,
        })
    };
    let write = [user("u"), email("all"), record("email/e", "{}")];
    let with_plan = |plan: &str| {
        let mut list = vec![account("hubspot", plan)];
        list.extend(write.to_vec());
        after(None, &list)
    };
    let key = resource_key("email/e");
    assert!(rows(&with_plan("starter"), &key).is_empty());
    assert_eq!(rows(&with_plan("enterprise"), &key), ["user:u segment:all"]);
}

#[test]
fn a_rule_gives_no_record_more_assignments_than_it_may_have() {
    let by_hand = ASSIGNMENTS_MAX - 1;
    let users: Vec<String> = (0..by_hand).map(|at| format!("u{at}")).collect();
    let mut list: Vec<Change> = users.iter().map(|name| user(name)).collect();
    list.push(rule("two", "true", "user:u group:pr"));
    list.push(record("contact/a", "{}"));
    list.extend(
        users
            .iter()
            .map(|name| assign("contact/a", &format!("user:{name}"))),
    );
    let graph = ipresso(&list);
    assert_eq!(of(&graph, "a").len(), ASSIGNMENTS_MAX);
}

#[test]
fn twice_is_once_for_what_rules_make_too() {
    let list = [
        rule("gold", "'gold' in resource.tags", "group:marketing"),
        resource_with("contact/b", |_| {}),
    ];
    let graph = ipresso(&list);
    let set = planned(Some(&graph), &list).expect("changes that can be made");
    assert!(set.changes.is_empty(), "{:?}", set.summary);
}

#[test]
fn p1_a_rule_without_the_right_closes_no_record_that_is_there_and_open() {
    let limited = Change::PutSegment(SegmentPatch {
        id: id("all"),
        resource_type: Some(id("contact")),
        when: Some("true".to_owned()),
        assign_to: Some([principal("group:pr")].into()),
        enabled: None,
        may_partition: Some(false),
    });
    let graph = ipresso(&[
        resource_with("contact/open", |_| {}),
        resource_with("contact/closed", |_| {}),
        assign("contact/closed", "user:u"),
    ]);
    let graph = after(Some(&graph), &[limited]);
    let graph = after(
        Some(&graph),
        &[
            record("contact/open", "{}"),
            record("contact/closed", "{}"),
            record("contact/new", "{}"),
        ],
    );
    assert!(of(&graph, "open").is_empty());
    let open = graph.resource(&resource_key("contact/open")).expect("it");
    assert!(!open.partitioned);
    assert_eq!(of(&graph, "new"), ["group:pr segment:all"]);
    assert_eq!(of(&graph, "closed").len(), 2);
    // The control: with the right it is closed.
    let may = Change::PutSegment(SegmentPatch {
        id: id("all"),
        resource_type: None,
        when: None,
        assign_to: None,
        enabled: None,
        may_partition: Some(true),
    });
    let graph = after(Some(&graph), &[may, record("contact/open", "{}")]);
    assert_eq!(of(&graph, "open"), ["group:pr segment:all"]);
}
