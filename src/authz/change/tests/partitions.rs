//! Resources, assignments, the sticky partition and segments.
#![cfg(test)]

use std::collections::BTreeSet;

use super::super::super::graph::AccountGraph;
use super::super::super::model::{Provenance, Timestamp};
use super::super::{Change, ChangeProblem, SEGMENT_WHEN_BYTES_MAX, SegmentPatch};
use super::{
    account, account_plan, after, assign, assign_from, hubspot, id, ids, partitioned, provenance,
    refused, resource, resource_key, resource_with, segment, unassign, unchanged, user,
};

#[test]
fn row_3_5_the_first_assignment_partitions_and_the_last_one_gone_does_not_open() {
    let graph = hubspot(&[user("u"), resource("email/e1")]);
    let the = |graph: &AccountGraph| {
        graph
            .resource(&resource_key("email/e1"))
            .expect("the resource")
    };
    assert!(!the(&graph).partitioned);
    let graph = after(Some(&graph), &[assign("email/e1", "user:u")]);
    assert!(the(&graph).partitioned);
    let graph = after(Some(&graph), &[unassign("email/e1", "user:u")]);
    assert!(the(&graph).partitioned && the(&graph).assignments.is_empty());
    let graph = after(Some(&graph), &[assign("email/e1", "user:u")]);
    let graph = after(Some(&graph), &[partitioned("email/e1", false)]);
    assert!(!the(&graph).partitioned && the(&graph).assignments.is_empty());
    let graph = after(Some(&graph), &[partitioned("email/e1", true)]);
    assert!(the(&graph).partitioned, "closed to everyone but its owners");
}

#[test]
fn unpartitioning_together_with_an_assignment_is_refused_in_either_order() {
    let graph = hubspot(&[user("u"), resource("email/e1")]);
    let open = || partitioned("email/e1", false);
    let close = || assign("email/e1", "user:u");
    let (index, field, _) = refused(&graph, &[open(), close()]);
    assert_eq!((index, field.as_str()), (1, "assignment.resource"));
    let (index, field, _) = refused(&graph, &[close(), open()]);
    assert_eq!((index, field.as_str()), (1, "resource.partitioned"));
    after(
        Some(&graph),
        &[
            close(),
            resource("email/e2"),
            partitioned("email/e2", false),
        ],
    );
}

#[test]
fn an_assignment_is_one_of_principal_and_provenance() {
    let graph = hubspot(&[
        user("u"),
        resource("email/e1"),
        assign_from("email/e1", "user:u", "manual", Some(1)),
        assign_from("email/e1", "user:u", "manual", None),
        assign_from("email/e1", "user:u", "import:j", Some(1)),
    ]);
    let resource = graph
        .resource(&resource_key("email/e1"))
        .expect("the resource");
    let ends: Vec<Option<i64>> = resource
        .assignments
        .iter()
        .map(|one| one.expires_at.map(Timestamp::unix_micros))
        .collect();
    assert_eq!(ends, [None, Some(1)]);
}

#[test]
fn s2_4_a_type_that_the_plan_does_not_partition_gets_no_wall() {
    let not_entitled = |index, field: &str, resource_type: &str| {
        (
            index,
            field.to_owned(),
            ChangeProblem::NotEntitled(resource_type.to_owned()),
        )
    };
    let starter = after(
        None,
        &[
            account("hubspot", "starter"),
            user("u"),
            resource("email/e1"),
        ],
    );
    assert_eq!(
        refused(&starter, &[user("v"), assign("email/e1", "user:u")]),
        not_entitled(1, "assignment.principal", "email")
    );
    assert_eq!(
        refused(&starter, &[partitioned("email/e1", true)]),
        not_entitled(0, "resource.partitioned", "email")
    );
    // Entitled by the plan that stands after the list, wherever it is put.
    after(
        Some(&starter),
        &[assign("email/e1", "user:u"), account_plan("enterprise")],
    );
    // S2.3: contacts are partitioned on any plan.
    after(
        Some(&starter),
        &[resource("contact/c1"), assign("contact/c1", "user:u")],
    );
    // Types that are never partitioned.
    let enterprise = hubspot(&[user("u")]);
    let never = [
        resource("user_management/x"),
        assign("user_management/x", "user:u"),
    ];
    assert_eq!(
        refused(&enterprise, &never).2,
        ChangeProblem::NotEntitled("user_management".to_owned())
    );
}

#[test]
fn s2_5_a_blog_post_is_partitioned_only_with_a_content_product() {
    let sales = after(
        None,
        &[
            account("hubspot", "sales_enterprise"),
            user("u"),
            resource("blog_post/b1"),
        ],
    );
    let refusal = refused(&sales, &[assign("blog_post/b1", "user:u")]);
    assert_eq!(
        refusal.2,
        ChangeProblem::NotEntitled("blog_post".to_owned())
    );
}

#[test]
fn c12_walls_outlive_a_downgrade_and_can_only_be_narrowed() {
    let graph = hubspot(&[
        user("u"),
        user("v"),
        resource("email/e1"),
        assign("email/e1", "user:u"),
        assign_from("email/e1", "user:v", "manual", Some(10)),
    ]);
    let graph = after(Some(&graph), &[account_plan("starter")]);
    let resource_of = |graph: &AccountGraph| {
        graph
            .resource(&resource_key("email/e1"))
            .expect("the resource")
    };
    assert_eq!(resource_of(&graph).assignments.len(), 2);
    // The same again is nothing; an owner may change; less is allowed.
    unchanged(
        &graph,
        &[assign("email/e1", "user:u"), partitioned("email/e1", true)],
    );
    after(
        Some(&graph),
        &[resource_with("email/e1", |patch| {
            patch.owners = Some(ids("v"))
        })],
    );
    after(
        Some(&graph),
        &[assign_from("email/e1", "user:v", "manual", Some(5))],
    );
    after(Some(&graph), &[Change::DeleteUser(id("v"))]);
    let open = after(Some(&graph), &[partitioned("email/e1", false)]);
    assert!(!resource_of(&open).partitioned);
    // More is not, by name or by time; and what was opened stays open.
    for more in [
        assign_from("email/e1", "user:u", "import:j", None),
        assign_from("email/e1", "user:v", "manual", Some(11)),
        assign_from("email/e1", "user:v", "manual", None),
    ] {
        let (index, field, problem) = refused(&graph, &[user("w"), more]);
        assert_eq!((index, field.as_str()), (1, "assignment.principal"));
        assert_eq!(problem, ChangeProblem::NotEntitled("email".to_owned()));
    }
    assert_eq!(refused(&open, &[partitioned("email/e1", true)]).0, 0);
}

#[test]
fn c12_walls_raised_under_a_plan_of_the_list_stay_when_it_takes_a_smaller_one() {
    let raised = [
        account("hubspot", "enterprise"),
        user("u"),
        resource("email/e1"),
        assign("email/e1", "user:u"),
        account_plan("starter"),
    ];
    let graph = after(None, &raised);
    let key = resource_key("email/e1");
    assert!(graph.resource(&key).expect("the resource").partitioned);
    assert_eq!(graph.account().plan, id("starter"));
    // Before the larger plan is too early, after the smaller one too late, and another plan that
    // does not let it lends nothing.
    let starter = after(
        None,
        &[
            account("hubspot", "starter"),
            user("u"),
            resource("email/e1"),
        ],
    );
    let assigned = assign("email/e1", "user:u");
    let (larger, smaller) = (account_plan("enterprise"), account_plan("starter"));
    for list in [
        [assigned.clone(), larger.clone(), smaller.clone()],
        [larger, smaller.clone(), assigned.clone()],
        [account_plan("free"), assigned, smaller],
    ] {
        let problem = refused(&starter, &list).2;
        assert_eq!(problem, ChangeProblem::NotEntitled("email".to_owned()));
    }
}

#[test]
fn a_resource_is_of_a_type_of_the_catalog() {
    let graph = hubspot(&[user("u")]);
    assert_eq!(
        refused(&graph, &[resource("spaceship/s1")]).1,
        "resource.type"
    );
    assert_eq!(
        refused(&graph, &[assign("spaceship/s1", "user:u")]).1,
        "assignment.resource"
    );
}

#[test]
fn p5_a_segment_has_a_type_an_expression_and_targets() {
    let graph = hubspot(&[user("u"), segment("s", "user:u")]);
    assert!(graph.segment("s").expect("the segment").enabled);
    let with = |name: &str, set: &dyn Fn(&mut SegmentPatch)| {
        let mut patch = SegmentPatch {
            id: id(name),
            resource_type: None,
            when: None,
            assign_to: None,
            enabled: None,
            may_partition: None,
        };
        set(&mut patch);
        Change::PutSegment(patch)
    };
    let empty = "resource.x == ''";
    let text = "x".repeat(SEGMENT_WHEN_BYTES_MAX - empty.len());
    let long = empty.replace("''", &format!("'{text}'"));
    after(
        Some(&graph),
        &[with("s", &|patch| patch.when = Some(long.clone()))],
    );
    let cases: Vec<(Change, &str)> = vec![
        (
            with("s", &|patch| patch.when = Some(format!("{long} "))),
            "segment.when",
        ),
        (
            with("s", &|patch| patch.when = Some(String::new())),
            "segment.when",
        ),
        (
            with("s", &|patch| patch.when = Some("resource.x ==".to_owned())),
            "segment.when",
        ),
        (
            with("s", &|patch| patch.resource_type = Some(id("spaceship"))),
            "segment.type",
        ),
        (
            with("s", &|patch| patch.assign_to = Some(BTreeSet::new())),
            "segment.assign_to",
        ),
        (with("new", &|_| {}), "segment.type"),
        (
            with("new", &|patch| patch.resource_type = Some(id("contact"))),
            "segment.when",
        ),
        (segment("new", ""), "segment.assign_to"),
    ];
    for (change, field) in cases {
        assert_eq!(refused(&graph, &[change]).1, field);
    }
}

#[test]
fn p7_deleting_a_segment_drops_only_its_own_rows() {
    let graph = hubspot(&[
        user("u"),
        segment("s", "user:u"),
        resource("contact/c1"),
        assign_from("contact/c1", "user:u", "segment:s", None),
        assign_from("contact/c1", "user:u", "segment:t", None),
        resource("contact/c2"),
        assign_from("contact/c2", "user:u", "segment:s", None),
    ]);
    let graph = after(Some(&graph), &[Change::DeleteSegment(id("s"))]);
    let the = |key: &str| graph.resource(&resource_key(key)).expect("the resource");
    let left: Vec<Provenance> = the("contact/c1")
        .assignments
        .into_iter()
        .map(|one| one.provenance)
        .collect();
    assert_eq!(left, [provenance("segment:t")]);
    assert!(the("contact/c2").assignments.is_empty() && the("contact/c2").partitioned);
}
