//! R4 and case 36: who resolves a request, and self-approval in every disguise.
#![cfg(test)]

use super::super::{RequestRefusal, approvers, deny, may_resolve};
use super::{ACCOUNT, DAY, account_with, approved, at, direct, filed, graph, id};
use crate::authz::graph::AccountGraph;

const MANAGES: &str = "user_management.edit";

fn judged(graph: &AccountGraph, approver: &str) -> Result<(), RequestRefusal> {
    let request = filed(graph, "email.edit");
    let judged = may_resolve(graph, &request, &id(approver), at(1));
    // One answer, whichever way it is asked.
    let listed = approvers(graph, &request, at(1)).contains(&id(approver));
    assert_eq!(listed, judged.is_ok(), "{approver}");
    let given = approved(graph, &request, approver, direct("email.edit owned"));
    let denied = deny(graph, &request, &id(approver), "no".to_owned(), 1, at(1));
    match &judged {
        Ok(()) => assert!(denied.is_ok()),
        Err(refusal) => {
            assert_eq!(given.unwrap_err(), *refusal, "{approver}");
            assert_eq!(denied.unwrap_err(), *refusal, "{approver}");
        }
    }
    judged
}

fn refused_as(users: &[&str], approver: &str, refusal: &RequestRefusal) {
    let parts: Vec<(&str, &str)> = users.iter().map(|user| ("users", *user)).collect();
    assert_eq!(
        judged(&account_with(&parts), approver).as_ref(),
        Err(refusal)
    );
}

fn allowed(users: &[&str], approver: &str) {
    let parts: Vec<(&str, &str)> = users.iter().map(|user| ("users", *user)).collect();
    assert_eq!(judged(&account_with(&parts), approver), Ok(()));
}

#[test]
fn r4_owner_super_admins_and_who_may_edit_users() {
    let graph = account_with(&[("users", "- {id: bo, account_owner: true}")]);
    let request = filed(&graph, "email.edit");
    assert_eq!(
        approvers(&graph, &request, at(1)),
        [id("bo"), id("sa"), id("um")]
    );
    for nobody in ["de1", "us1", "nobody"] {
        assert_eq!(judged(&graph, nobody), Err(RequestRefusal::NotAnApprover));
    }
}

/// The rule book's names mean what the account's catalog has under them.
#[test]
fn r4_the_right_is_data_of_the_catalog() {
    for (catalog, plan, key, level) in [
        ("brevo", "enterprise", "user_management.all", "everything"),
        ("brevo", "free", "user_management.edit", "everything"),
        ("ipresso", "standard", "user_management.edit", "owned"),
    ] {
        let graph = graph(&format!(
            "account: a\ncatalog: {catalog}\nplan: {plan}\nusers:\n  - {{id: q}}\n  - {{id: x, grants: {{user_management.view: everything}}}}\n  - {{id: um, grants: {{{key}: {level}}}}}\n  - {{id: bo, account_owner: true}}\n"
        ));
        let request = filed(&graph, "contact.export");
        assert_eq!(
            approvers(&graph, &request, at(1)),
            [id("bo"), id("um")],
            "{key}"
        );
    }
    // A catalog without the type has owner and super admins.
    let tiny = graph(
        "account: a\ncatalog: tiny-catalog.yaml\nplan: big\nusers:\n  - {id: q}\n  - {id: sa, super_admin: true}\n",
    );
    let request = filed(&tiny, "deal.view");
    assert_eq!(approvers(&tiny, &request, at(1)), [id("sa")]);
}

#[test]
fn r4_only_active_users_approve() {
    for status in ["invited", "deactivated", "removed"] {
        let admin = format!("- {{id: sa2, super_admin: true, status: {status}}}");
        refused_as(&[&admin], "sa2", &RequestRefusal::NotAnApprover);
        let owner = format!("- {{id: bo, account_owner: true, status: {status}}}");
        refused_as(&[&owner], "bo", &RequestRefusal::NotAnApprover);
        let manager = format!(
            "- {{id: um2, status: {status}, grants: {{user_management.edit: everything}}}}"
        );
        refused_as(&[&manager], "um2", &RequestRefusal::NotAnApprover);
    }
    let ended = "- {id: pa, super_admin: true, kind: contractor, partner: {account: agency, user: u, role: contractor, partnership: ended}}";
    refused_as(&[ended], "pa", &RequestRefusal::NotAnApprover);
}

#[test]
fn r4_a_right_counts_within_its_time() {
    let manager = |bounds: &str| {
        format!("- {{id: um2, grants: {{{MANAGES}: {{level: everything, {bounds}}}}}}}")
    };
    let past = manager("expires_at: 2026-11-22T00:00:01Z");
    refused_as(&[&past], "um2", &RequestRefusal::NotAnApprover);
    let future = manager("not_before: 2026-11-22T00:00:02Z");
    refused_as(&[&future], "um2", &RequestRefusal::NotAnApprover);
    allowed(&[&manager("expires_at: 2026-11-22T00:00:02Z")], "um2");
}

#[test]
fn case_36_nobody_approves_their_own_request() {
    let manager = "- {id: q, grants: {user_management.edit: everything}}";
    refused_as(&[manager], "q", &RequestRefusal::SelfApproval);
}

#[test]
fn case_36_not_by_a_role_that_the_requester_gains_after_the_filing() {
    let request = filed(&graph(ACCOUNT), "email.edit");
    for now in [
        "- {id: q, super_admin: true}",
        "- {id: q, account_owner: true}",
        "- {id: q, grants: {user_management.edit: everything}}",
    ] {
        let graph = account_with(&[("users", now)]);
        let refusal = may_resolve(&graph, &request, &id("q"), at(1)).unwrap_err();
        assert_eq!(refusal, RequestRefusal::SelfApproval);
    }
}

#[test]
fn case_36_not_as_another_user_of_the_same_person() {
    let q = "- {id: q, person: ada}";
    for other in [
        "- {id: ada2, person: ada, super_admin: true}",
        "- {id: ada2, person: ada, account_owner: true}",
        "- {id: ada2, person: ada, grants: {user_management.edit: everything}}",
    ] {
        refused_as(&[q, other], "ada2", &RequestRefusal::SamePerson);
    }
    allowed(&[q, "- {id: bob, person: bob, super_admin: true}"], "bob");
}

/// A user of a partner agency is one human whatever they are called here.
#[test]
fn case_36_not_as_another_user_of_the_same_partner_user() {
    let partner = |name: &str, user: &str, more: &str| {
        format!(
            "- {{id: {name}, {more}kind: contractor, partner: {{account: agency, user: {user}, role: contractor, partnership: active}}}}"
        )
    };
    let q = partner("q", "u1", "");
    let same = partner("p2", "u1", "super_admin: true, ");
    refused_as(&[&q, &same], "p2", &RequestRefusal::SamePerson);
    let colleague = partner("p2", "u2", "super_admin: true, ");
    allowed(&[&q, &colleague], "p2");
}

/// A user who manages users by a grant that others gave.
fn manager(name: &str, giver: &str) -> String {
    format!("- {{id: {name}, grants: {{{MANAGES}: {{level: everything, granted_by: {giver}}}}}}}")
}

const Q_MANAGES: &str = "- {id: q, grants: {user_management.edit: everything}}";

#[test]
fn case_36_not_by_a_right_that_the_requester_gave() {
    refused_as(
        &[Q_MANAGES, &manager("b", "q")],
        "b",
        &RequestRefusal::RightFromRequester,
    );
    // It makes no difference when it was given, or whether the requester still has it.
    refused_as(
        &[&manager("b", "q")],
        "b",
        &RequestRefusal::RightFromRequester,
    );
    allowed(&[Q_MANAGES, &manager("b", "um")], "b");
    allowed(&[Q_MANAGES, &manager("b", "sa")], "b");
}

#[test]
fn case_36_not_by_a_right_that_came_from_the_requester_through_others() {
    let chain = [
        Q_MANAGES.to_owned(),
        manager("b", "q"),
        manager("c", "b"),
        manager("d", "c"),
    ];
    let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
    for approver in ["b", "c", "d"] {
        refused_as(&chain, approver, &RequestRefusal::RightFromRequester);
    }
}

#[test]
fn case_36_not_by_a_right_from_the_requesters_other_self() {
    let q = "- {id: q, person: ada}";
    let other = "- {id: ada2, person: ada, grants: {user_management.edit: everything}}";
    let given = manager("b", "ada2");
    refused_as(
        &[q, other, &given],
        "b",
        &RequestRefusal::RightFromRequester,
    );
}

#[test]
fn r4_a_right_that_also_stems_from_elsewhere_counts() {
    let twice = "- {id: b, grants: {user_management.edit: [{level: everything, granted_by: q}, {level: everything, provenance: 'import:j', granted_by: um}]}}";
    allowed(&[Q_MANAGES, twice], "b");
    // And so does what such a user gave on.
    allowed(&[Q_MANAGES, twice, &manager("c", "b")], "c");
    // Not while the independent one is over.
    let over = twice.replace(
        "granted_by: um",
        "granted_by: um, expires_at: 2026-11-22T00:00:01Z",
    );
    refused_as(
        &[Q_MANAGES, &over],
        "b",
        &RequestRefusal::RightFromRequester,
    );
}

/// Two who made each other managers have no right from elsewhere.
#[test]
fn case_36_not_by_rights_that_go_round_in_a_circle() {
    let circle = [Q_MANAGES.to_owned(), manager("b", "c"), manager("c", "b")];
    let circle: Vec<&str> = circle.iter().map(String::as_str).collect();
    refused_as(&circle, "b", &RequestRefusal::RightFromRequester);
    refused_as(&circle, "c", &RequestRefusal::RightFromRequester);
}

#[test]
fn case_36_not_by_a_permission_set_that_the_requester_wrote() {
    let set = |giver: &str| {
        format!(
            "- {{id: admins, grants: {{{MANAGES}: {{level: everything, granted_by: {giver}}}}}}}"
        )
    };
    let member = ("users", "- {id: b, permission_sets: [admins]}");
    let by_q = set("q");
    let by_um = set("um");
    let graph_of =
        |set: &str| account_with(&[("permission_sets", set), member, ("users", Q_MANAGES)]);
    let refused = judged(&graph_of(&by_q), "b");
    assert_eq!(refused, Err(RequestRefusal::RightFromRequester));
    assert_eq!(judged(&graph_of(&by_um), "b"), Ok(()));
}

#[test]
fn case_36_not_by_a_membership_that_the_requester_gave() {
    use crate::authz::model::{Entity, Membership, MembershipOf, Provenance};
    let account = account_with(&[
        (
            "permission_sets",
            "- {id: admins, grants: {user_management.edit: everything}}",
        ),
        ("users", "- {id: b, main_team: us}"),
        ("users", Q_MANAGES),
    ]);
    for (giver, end, expected) in [
        ("q", None, Err(RequestRefusal::RightFromRequester)),
        ("um", None, Ok(())),
        ("um", Some(at(DAY)), Ok(())),
        ("um", Some(at(1)), Err(RequestRefusal::NotAnApprover)),
    ] {
        let mut user = account.user("b").unwrap().clone();
        user.memberships.insert(Membership {
            of: MembershipOf::PermissionSet(id("admins")),
            provenance: Provenance::Request(id("r0")),
            expires_at: end,
            granted_by: Some(id(giver)),
        });
        let graph = super::put(&account, Entity::User(user));
        assert_eq!(judged(&graph, "b"), expected, "{giver} {end:?}");
    }
}

/// A partner admin's rights are grants like any other's, and say who gave them.
#[test]
fn case_36_not_as_a_partner_admin_whom_the_requester_made() {
    let partner = |giver: &str| {
        format!(
            "- {{id: pa, kind: partner_employee, partner_admin: true, partner: {{account: agency, user: u9, role: admin, partnership: active}}, grants: {{{MANAGES}: {{level: everything, granted_by: {giver}}}}}}}"
        )
    };
    refused_as(
        &[Q_MANAGES, &partner("q")],
        "pa",
        &RequestRefusal::RightFromRequester,
    );
    allowed(&[Q_MANAGES, &partner("sa")], "pa");
}

/// The flag of a partner admin is no right to manage users.
#[test]
fn r4_a_partner_admin_is_no_approver_by_that() {
    let partner = "- {id: pa, kind: partner_employee, partner_admin: true, partner: {account: agency, user: u9, role: admin, partnership: active}}";
    refused_as(&[partner], "pa", &RequestRefusal::NotAnApprover);
}

/// Case 36, changing who must approve: whoever the requester adds does not count, and those who
/// counted before still do.
#[test]
fn case_36_not_by_changing_who_must_approve() {
    let account = graph(ACCOUNT);
    let request = filed(&account, "email.edit");
    let before = approvers(&account, &request, at(1));
    let changed = account_with(&[
        ("users", Q_MANAGES),
        ("users", &manager("b", "q")),
        ("users", &manager("c", "b")),
    ]);
    assert_eq!(approvers(&changed, &request, at(1)), before);
}

/// Whoever gave the right is gone: that is held against those only who could have been behind it.
#[test]
fn r4_a_trace_that_breaks_off_counts_against_who_could_have_given_rights() {
    let orphan = manager("b", "long-gone");
    allowed(&[&orphan], "b");
    refused_as(
        &[Q_MANAGES, &orphan],
        "b",
        &RequestRefusal::RightFromRequester,
    );
    // Likewise where the giver is there, but has no such right on record any more.
    let heir = manager("b", "us1");
    allowed(&[&heir], "b");
    refused_as(
        &[Q_MANAGES, &heir],
        "b",
        &RequestRefusal::RightFromRequester,
    );
    // A right that has expired since is on record.
    let former = "- {id: f, grants: {user_management.edit: {level: everything, granted_by: um, expires_at: 2026-01-01T00:00:00Z}}}";
    allowed(&[Q_MANAGES, former, &manager("b", "f")], "b");
    let tainted = former.replace("granted_by: um", "granted_by: q");
    refused_as(
        &[Q_MANAGES, &tainted, &manager("b", "f")],
        "b",
        &RequestRefusal::RightFromRequester,
    );
}
