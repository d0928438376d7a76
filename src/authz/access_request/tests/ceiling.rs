//! R4 and case 37: approvers below owner and super admin give no more than they hold.
#![cfg(test)]

use super::super::{RequestRefusal, Resolution, approve, suggest_for};
use super::{
    DAY, account_with, after, approved, at, check, direct, filed, graph, id, raise, until,
};
use crate::authz::graph::AccountGraph;
use crate::authz::model::Timestamp;

/// The outcome for an approver who manages users and holds these grants.
fn outcome(
    grants: &str,
    more: &[(&str, &str)],
    asked: &str,
    resolution: &Resolution,
) -> Result<(), RequestRefusal> {
    let manager = format!(
        "- {{id: m, main_team: de, grants: {{user_management.edit: everything, {grants}}}}}"
    );
    let mut parts = vec![("users", manager.as_str())];
    parts.extend(more);
    let graph = account_with(&parts);
    let request = filed(&graph, asked);
    // Whatever it is, owner and super admin are above the ceiling.
    approved(&graph, &request, "sa", resolution.clone())
        .unwrap_or_else(|refusal| panic!("{resolution:?}: {refusal}"));
    let outcome = approved(&graph, &request, "m", resolution.clone()).map(drop);
    // The suggestions say the same.
    let suggestions = suggest_for(&graph, &request, &id("m"), None, at(1)).unwrap();
    if let Some(suggestion) = suggestions.iter().find(|one| one.resolution == *resolution) {
        assert_eq!(suggestion.withheld, outcome.clone().err(), "{resolution:?}");
    }
    outcome
}

fn is_beyond(outcome: Result<(), RequestRefusal>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(RequestRefusal::BeyondOwnRights { .. }) => true,
        Err(other) => panic!("{other}"),
    }
}

const VIEWS_TEAM: (&str, &str) = (
    "users",
    "- {id: q, main_team: us, grants: {email.view: team}}",
);

#[test]
fn case_37_a_grant_at_most_as_far_as_the_approvers_own() {
    let levels = [
        "owned",
        "owned+unassigned",
        "team",
        "team+unassigned",
        "everything",
    ];
    // Each level in the row holds those marked in the columns.
    let holds: [(&str, [bool; 5]); 5] = [
        ("owned", [true, false, false, false, false]),
        ("owned+unassigned", [true, true, false, false, false]),
        ("team", [true, false, true, false, false]),
        ("team+unassigned", [true, true, true, true, false]),
        ("everything", [true, true, true, true, true]),
    ];
    for (own, held) in holds {
        for (level, held) in levels.iter().zip(held) {
            let given = outcome(
                &format!("email.edit: {own}"),
                &[],
                "email.edit",
                &direct(&format!("email.edit {level}")),
            );
            assert_eq!(is_beyond(given), !held, "{own} gives {level}");
        }
    }
    assert!(is_beyond(outcome(
        "email.view: everything",
        &[],
        "email.edit",
        &direct("email.edit owned")
    )));
}

/// D3: level and unassigned resources are each held for themselves.
#[test]
fn case_37_levels_and_unassigned_resources_are_separate() {
    let both = "email.edit: [team, owned+unassigned]";
    let given = outcome(
        both,
        &[],
        "email.edit",
        &direct("email.edit team+unassigned"),
    );
    assert_eq!(given, Ok(()));
}

/// What a grant implies comes with it, and is held with it.
#[test]
fn case_37_what_follows_from_a_grant_is_given_too() {
    // A bundle needs all of its actions.
    let text = |grants: &str| {
        graph(&format!(
            "account: a\ncatalog: brevo\nplan: free\nusers:\n  - {{id: q}}\n  - {{id: m, grants: {{user_management.all: everything, {grants}}}}}\n"
        ))
    };
    for (grants, beyond) in [
        ("email_campaign.send: everything", true),
        (
            "email_campaign.send: everything, email_campaign.schedule: everything, email_campaign.suspend: everything",
            true,
        ),
        ("email_campaign.send_schedule_suspend: everything", false),
    ] {
        let graph = text(grants);
        let request = filed(&graph, "email_campaign.send");
        let bundle = direct("email_campaign.send_schedule_suspend everything");
        let given = approved(&graph, &request, "m", bundle).map(drop);
        assert_eq!(is_beyond(given), beyond, "{grants}");
        let single = approved(
            &graph,
            &request,
            "m",
            direct("email_campaign.send everything"),
        );
        assert!(single.is_ok());
    }
}

#[test]
fn case_37_a_permission_set_only_if_every_grant_in_it_is_held() {
    let set = (
        "permission_sets",
        "- {id: mixed, grants: {email.edit: team, contact.export: owned}}",
    );
    let resolution = || Resolution::PermissionSet(id("mixed"));
    for (grants, beyond) in [
        ("email.edit: team", true),
        ("email.edit: everything, contact.view: everything", true),
        ("email.edit: owned, contact.export: owned", true),
        ("email.edit: team, contact.export: owned", false),
    ] {
        let given = outcome(grants, &[set], "email.edit", &resolution());
        assert_eq!(is_beyond(given), beyond, "{grants}");
    }
}

/// D3: super admin flag, reserved actions and partner admin are nobody's to hand on.
#[test]
fn d3_reserved_actions_are_not_handed_on() {
    let set = (
        "permission_sets",
        "- {id: billing, grants: {email.edit: team, account.billing.edit: everything}}",
    );
    let grants = "email.edit: team, account.billing.edit: everything";
    let given = outcome(
        grants,
        &[set],
        "email.edit",
        &Resolution::PermissionSet(id("billing")),
    );
    assert!(is_beyond(given));
}

#[test]
fn case_37_no_longer_than_the_approvers_own() {
    let own = |bounds: &str| {
        format!("- {{id: m, grants: {{user_management.edit: everything, email.edit: {bounds}}}}}")
    };
    let an_hour = "{level: team, expires_at: 2026-11-22T01:00:00Z}";
    let in_turn = "[{level: team, expires_at: 2026-11-22T01:00:00Z}, {level: team, not_before: 2026-11-22T01:00:00Z, expires_at: 2026-11-22T02:00:00Z, provenance: 'import:j'}]";
    let with_a_gap = "[{level: team, expires_at: 2026-11-22T01:00:00Z}, {level: team, not_before: 2026-11-22T01:00:01Z, provenance: 'import:j'}]";
    let sinking =
        "[{level: team, expires_at: 2026-11-22T01:00:00Z}, {level: owned, provenance: 'import:j'}]";
    for (bounds, level, end, allowed) in [
        (an_hour, "team", Some(3_600), true),
        (an_hour, "team", Some(3_601), false),
        (an_hour, "team", None, false),
        (in_turn, "team", Some(7_200), true),
        (in_turn, "team", Some(7_201), false),
        (with_a_gap, "team", Some(3_600), true),
        (with_a_gap, "team", Some(DAY), false),
        (sinking, "team", Some(3_600), true),
        (sinking, "team", Some(DAY), false),
        (sinking, "owned", None, true),
    ] {
        let manager = own(bounds);
        let graph = account_with(&[("users", &manager)]);
        let request = filed(&graph, "email.edit");
        let mut approval = until(direct(&format!("email.edit {level}")), Timestamp::MAX);
        approval.expires_at = end.map(at);
        let given = approve(&graph, &request, &id("m"), &approval, None, 1, at(1)).map(drop);
        assert_eq!(
            is_beyond(given),
            !allowed,
            "{bounds} gives {level} until {end:?}"
        );
    }
}

/// A set's own grants may end sooner than the membership in it.
#[test]
fn case_37_a_sets_grant_is_held_until_it_ends() {
    let set = (
        "permission_sets",
        "- {id: brief, grants: {email.edit: {level: team, expires_at: 2026-11-22T01:00:00Z}}}",
    );
    let resolution = || Resolution::PermissionSet(id("brief"));
    let hour = "email.edit: {level: team, expires_at: 2026-11-22T01:00:00Z}";
    assert_eq!(outcome(hour, &[set], "email.edit", &resolution()), Ok(()));
    let less = "email.edit: {level: team, expires_at: 2026-11-22T00:59:59Z}";
    assert!(is_beyond(outcome(
        less,
        &[set],
        "email.edit",
        &resolution()
    )));
}

/// Revoked between request and approval: what counts is what is held at the decision.
#[test]
fn case_37_what_is_held_at_the_decision_counts() {
    let with = (
        "users",
        "- {id: m, grants: {user_management.edit: everything, email.edit: team}}",
    );
    let without = (
        "users",
        "- {id: m, grants: {user_management.edit: everything}}",
    );
    let request = filed(&account_with(&[with]), "email.edit");
    let give =
        |graph: &AccountGraph| approved(graph, &request, "m", direct("email.edit team")).map(drop);
    assert_eq!(give(&account_with(&[with])), Ok(()));
    assert!(is_beyond(give(&account_with(&[without]))));
    let no_manager = ("users", "- {id: m, grants: {email.edit: team}}");
    assert_eq!(
        give(&account_with(&[no_manager])),
        Err(RequestRefusal::NotAnApprover)
    );
}

/// R4: an object is given by the approver's own check on it, implied actions included.
#[test]
fn case_37_an_object_grant_by_the_approvers_own_check() {
    let assigns = "partition.assign: everything";
    for (grants, beyond) in [
        (format!("{assigns}, email.edit: team"), false),
        // us1's and not partitioned: the approver is in de, so TEAM does not reach it.
        (format!("{assigns}, email.view: everything"), true),
    ] {
        let editor = (
            "users",
            "- {id: q, main_team: us, grants: {email.edit: team}}",
        );
        let given = outcome(
            &grants,
            &[editor],
            "email.edit e1",
            &Resolution::ObjectGrant,
        );
        assert_eq!(is_beyond(given), beyond, "{grants}");
    }
    // A mask holds just the actions that it lists: who may edit by one does not view by it.
    let group = "
access_groups:
  - {id: g, members: [{user: m, actions: [edit]}]}
";
    let document = format!(
        "account: a\ncatalog: hubspot\nplan: enterprise\nusers:\n  - {{id: q, grants: {{contact.edit: team}}}}\n  - {{id: m, grants: {{user_management.edit: everything, partition.assign: everything, contact.edit: team}}}}\n{}resources:\n  - {{type: contact, id: c1, assigned_to: ['group:g']}}\n",
        group.trim_start_matches('\n')
    );
    let graph = graph(&document);
    assert!(check(&graph, "m", "contact.edit c1", at(0)).is_allow());
    assert!(!check(&graph, "m", "contact.view c1", at(0)).is_allow());
    let request = filed(&graph, "contact.edit c1");
    let given = approved(&graph, &request, "m", Resolution::ObjectGrant).map(drop);
    assert!(is_beyond(given));
}

#[test]
fn case_37_an_object_grant_no_longer_than_the_approvers_own_check() {
    let walled = (
        "resources",
        "- {type: email, id: e1, owners: [de1], assigned_to: ['team:de', {to: 'user:m', expires_at: 2026-11-22T01:00:00Z}]}",
    );
    let manager = (
        "users",
        "- {id: m, grants: {user_management.edit: everything, partition.assign: everything, email.view: owned}}",
    );
    let graph = account_with(&[walled, manager, VIEWS_TEAM]);
    let request = filed(&graph, "email.view e1");
    for (end, allowed) in [(3_600, true), (3_601, false)] {
        let approval = until(Resolution::ObjectGrant, at(end));
        let given = approve(&graph, &request, &id("m"), &approval, None, 1, at(1)).map(drop);
        assert_eq!(is_beyond(given), !allowed, "{end}");
    }
}

/// P1 in R4: OBJECT requests need the authority to assign the resource, whatever the resolution.
#[test]
fn r4_p1_an_object_request_needs_assign_authority() {
    let resolutions = || {
        [
            Resolution::ObjectGrant,
            Resolution::AssignToUser,
            Resolution::AssignToTeam(id("us")),
            Resolution::AddToTeam(id("de")),
        ]
    };
    for resolution in resolutions() {
        let without = outcome(
            "email.view: everything",
            &[VIEWS_TEAM],
            "email.view e1",
            &resolution,
        );
        assert!(
            matches!(without, Err(RequestRefusal::NoAssignAuthority { .. })),
            "{without:?}"
        );
        let with = "email.view: everything, partition.assign: owned";
        assert_eq!(
            outcome(with, &[VIEWS_TEAM], "email.view e1", &resolution),
            Ok(())
        );
    }
    let owner = (
        "users",
        "- {id: q, main_team: de, grants: {email.view: owned}}",
    );
    let raised = outcome(
        "email.view: everything",
        &[owner],
        "email.view e2",
        &raise("email.view everything"),
    );
    assert!(
        matches!(raised, Err(RequestRefusal::NoAssignAuthority { .. })),
        "{raised:?}"
    );
}

/// P1, S2.18: owners reach their teams and what is below, members of an assigned team what is below
/// it only; both need `assign` on the type.
#[test]
fn p1_owners_and_members_assign_downwards() {
    let assigner = |name: &str, team: &str, grants: &str| {
        format!(
            "- {{id: {name}, main_team: {team}, grants: {{user_management.edit: everything, email.view: everything{grants}}}}}"
        )
    };
    let requester =
        |team: &str| format!("- {{id: q, main_team: {team}, grants: {{email.view: owned}}}}");
    // Where m stands, who owns it, whom it is assigned to, where q is: may m give it?
    for (own, owner, assigned, asks, may) in [
        ("fr", "m", "us", "fr", true),
        ("fr", "m", "us", "paris", true),
        ("fr", "m", "us", "eu", false),
        ("fr", "m", "us", "us", false),
        ("fr", "de1", "fr", "paris", true),
        ("fr", "de1", "fr", "fr", false),
        ("fr", "de1", "fr", "eu", false),
        ("eu", "de1", "fr", "paris", false),
    ] {
        let resource = format!(
            "- {{type: email, id: e9, owners: [{owner}], assigned_to: ['team:{assigned}']}}"
        );
        let asking = requester(asks);
        let case = format!("{own} {owner} {assigned} {asks}");
        for (grants, may) in [(", email.assign: owned", may), ("", false)] {
            let assigner = assigner("m", own, grants);
            let graph = account_with(&[
                ("resources", &resource),
                ("users", &asking),
                ("users", &assigner),
            ]);
            let request = filed(&graph, "email.view e9");
            for resolution in [Resolution::ObjectGrant, Resolution::AssignToUser] {
                let given = approved(&graph, &request, "m", resolution).map(drop);
                let refused = matches!(given, Err(RequestRefusal::NoAssignAuthority { .. }));
                assert_eq!(refused, !may, "{case}{grants}: {given:?}");
            }
        }
    }
}

/// What opens by an assignment or a team, to whomever, the approver must be able to do.
#[test]
fn case_37_assignments_and_teams_open_nothing_beyond_the_approver() {
    let editor = (
        "users",
        "- {id: q, main_team: us, grants: {email.edit: team}}",
    );
    // us1 views only; q edits: who assigns to the team gives both.
    for (own, beyond) in [
        ("email.view: everything", true),
        ("email.edit: everything", false),
    ] {
        let grants = format!("{own}, partition.assign: everything");
        for resolution in [
            Resolution::AssignToUser,
            Resolution::AssignToTeam(id("us")),
            Resolution::AddToTeam(id("de")),
        ] {
            let given = outcome(&grants, &[editor], "email.edit e1", &resolution);
            assert_eq!(is_beyond(given), beyond, "{own} {resolution:?}");
        }
    }
    // Membership of de opens everything of de's, not only what was asked for.
    let other = (
        "resources",
        "- {type: contact, id: c1, owners: [de1], assigned_to: ['team:de']}",
    );
    let both = (
        "users",
        "- {id: q, main_team: us, grants: {email.view: team, contact.view: team}}",
    );
    let grants = "partition.assign: everything, email.view: everything";
    let given = outcome(
        grants,
        &[other, both],
        "email.view e1",
        &Resolution::AddToTeam(id("de")),
    );
    assert!(is_beyond(given));
    let grants = "partition.assign: everything, email.view: everything, contact.view: everything";
    let given = outcome(
        grants,
        &[other, both],
        "email.view e1",
        &Resolution::AddToTeam(id("de")),
    );
    assert_eq!(given, Ok(()));
}

/// A membership or an assignment of today opens tomorrow what a grant of tomorrow is about.
#[test]
fn case_37_what_opens_only_later_is_given_today() {
    let later = format!("{{level: team, not_before: {}}}", at(DAY));
    let asks =
        format!("- {{id: q, main_team: us, grants: {{email.view: team, email.edit: {later}}}}}");
    let asks = ("users", asks.as_str());
    for (own, beyond) in [
        ("email.view: everything", true),
        ("email.edit: everything", false),
    ] {
        let grants = format!("{own}, partition.assign: everything");
        for resolution in [
            Resolution::AssignToUser,
            Resolution::AssignToTeam(id("us")),
            Resolution::AddToTeam(id("de")),
        ] {
            let given = outcome(&grants, &[asks], "email.view e1", &resolution);
            assert_eq!(is_beyond(given), beyond, "{own} {resolution:?}");
        }
    }
    // What is over by then opens nothing then.
    let manager = (
        "users",
        "- {id: m, main_team: de, grants: {user_management.edit: everything, partition.assign: everything, email.view: everything}}",
    );
    let graph = account_with(&[manager, asks]);
    let request = filed(&graph, "email.view e1");
    let given_until = |end| {
        let approval = until(Resolution::AddToTeam(id("de")), at(end));
        approve(&graph, &request, &id("m"), &approval, None, 1, at(1)).map(drop)
    };
    assert_eq!(given_until(DAY), Ok(()));
    assert!(is_beyond(given_until(DAY + 1)));
}

/// A colleague in the team gets to edit tomorrow: who assigns to the team today gives that too.
#[test]
fn case_37_what_a_colleague_gets_later_is_given_too() {
    let colleague = format!(
        "- {{id: us2, main_team: us, grants: {{email.edit: {{level: team, not_before: {}}}}}}}",
        at(DAY)
    );
    let grants = "partition.assign: everything, email.view: everything";
    let to_team = Resolution::AssignToTeam(id("us"));
    let with = outcome(
        grants,
        &[VIEWS_TEAM, ("users", &colleague)],
        "email.view e1",
        &to_team,
    );
    assert!(is_beyond(with));
    let without = outcome(grants, &[VIEWS_TEAM], "email.view e1", &to_team);
    assert_eq!(without, Ok(()));
}

/// C8: whoever reaches the team then reaches what the new member owns.
#[test]
fn case_37_a_team_gains_what_its_new_member_owns() {
    let owned = ("resources", "- {type: contact, id: c9, owners: [q]}");
    let asks = (
        "users",
        "- {id: q, main_team: us, grants: {email.view: team}}",
    );
    let member = (
        "users",
        "- {id: de2, main_team: de, grants: {contact.view: team}}",
    );
    let grants = "partition.assign: everything, email.view: everything";
    let given = outcome(
        grants,
        &[owned, asks, member],
        "email.view e1",
        &Resolution::AddToTeam(id("de")),
    );
    assert!(is_beyond(given));
    let graph = account_with(&[owned, asks, member]);
    let request = filed(&graph, "email.view e1");
    let given = after(
        &graph,
        &approved(&graph, &request, "sa", Resolution::AddToTeam(id("de"))).unwrap(),
    );
    assert!(!check(&graph, "de2", "contact.view c9", at(1)).is_allow());
    assert!(check(&given, "de2", "contact.view c9", at(1)).is_allow());
}

/// Brevo has no way to assign: objects are for owner and super admins there.
#[test]
fn r4_p1_without_assign_in_the_catalog_objects_are_for_owner_and_super_admins() {
    let document = "account: a\ncatalog: brevo\nplan: enterprise\nusers:\n  - {id: bo, account_owner: true}\n  - {id: q, grants: {contact.view: everything}}\n  - {id: m, grants: {user_management.all: everything, contact.view: everything}}\nresources:\n  - {type: contact, id: c1, assigned_to: ['user:m']}\n";
    let graph = graph(document);
    let request = filed(&graph, "contact.view c1");
    let given = approved(&graph, &request, "m", Resolution::ObjectGrant);
    assert!(
        matches!(given, Err(RequestRefusal::NoAssignAuthority { .. })),
        "{given:?}"
    );
    assert!(approved(&graph, &request, "bo", Resolution::ObjectGrant).is_ok());
}
