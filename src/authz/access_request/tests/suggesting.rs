//! R6: the smallest sufficient grant.
#![cfg(test)]

use super::super::{
    Opened, RequestRefusal, Resolution, ResolutionKind, Suggestion, suggest, suggest_for,
};
use super::{
    ACCOUNT, DAY, account_with, approved, at, direct, document_with, filed, graph, id, raise,
};
use crate::authz::graph::{AccountGraph, GraphBuilder};
use crate::authz::model::{
    Account, CatalogRef, Entity, Grant, Level, PartnerProgram, PermissionSet, Provenance, Resource,
    ResourceKey, Settings, Team, User,
};

fn suggested(graph: &AccountGraph, asked: &str) -> Vec<Suggestion> {
    let request = filed(graph, asked);
    let suggestions = suggest(graph, &request, None, at(1)).unwrap();
    for pair in suggestions.windows(2) {
        assert!(pair[0].opens.count <= pair[1].opens.count, "smallest first");
    }
    for suggestion in &suggestions {
        let named = suggestion.opens.sample.len() as u64;
        assert_eq!(named, suggestion.opens.count.min(100), "{suggestion:?}");
        let approval = approved(graph, &request, "sa", suggestion.resolution.clone());
        assert!(approval.is_ok(), "{suggestion:?}: {approval:?}");
    }
    suggestions
}

fn first(graph: &AccountGraph, asked: &str) -> Resolution {
    suggested(graph, asked)[0].resolution.clone()
}

fn opened(user: &str, asked: &str) -> Opened {
    let target = super::target(asked);
    Opened {
        user: id(user),
        action: target.action,
        resource_type: target.resource_type,
        resource_id: target.resource_id,
    }
}

fn of<'s>(suggestions: &'s [Suggestion], resolution: &Resolution) -> &'s Suggestion {
    suggestions
        .iter()
        .find(|one| one.resolution == *resolution)
        .unwrap_or_else(|| panic!("no {resolution:?} among {suggestions:?}"))
}

const VIEWS_TEAM: (&str, &str) = (
    "users",
    "- {id: q, main_team: us, grants: {email.view: team}}",
);

#[test]
fn r6_a_tool_is_given_by_a_direct_grant_of_that_action_at_owned() {
    let graph = graph(ACCOUNT);
    for asked in ["email.view", "email.edit", "contact.export"] {
        assert_eq!(first(&graph, asked), direct(&format!("{asked} owned")));
    }
}

#[test]
fn r6_a_flag_type_is_given_at_everything() {
    let graph = graph(
        "account: a\ncatalog: brevo\nplan: free\nusers:\n  - {id: q}\n  - {id: sa, super_admin: true}\nresources:\n  - {type: email_campaign, id: c1}\n",
    );
    assert_eq!(
        first(&graph, "contact.view"),
        direct("contact.view everything")
    );
    // The action alone opens less than the permission that bundles it.
    let suggestions = suggested(&graph, "email_campaign.requeue");
    let keys: Vec<&Resolution> = suggestions.iter().map(|one| &one.resolution).collect();
    assert_eq!(
        keys,
        [
            &direct("email_campaign.requeue everything"),
            &direct("email_campaign.send_schedule_suspend everything"),
        ]
    );
}

/// What follows from others is given by the one of them that opens least.
#[test]
fn r6_a_derived_action_is_given_by_the_smallest_of_its_any_of() {
    let account = |resources: &str| {
        graph(&format!(
            "account: a\ncatalog: brevo\nplan: free\nusers:\n  - {{id: q}}\n  - {{id: sa, super_admin: true}}\n{resources}"
        ))
    };
    // With campaigns there, a permission of templates opens least.
    let graph = account(
        "resources:\n  - {type: email_campaign, id: c1}\n  - {type: sms_campaign, id: c1}\n",
    );
    let Resolution::DirectGrant(offer) = first(&graph, "sender_settings.manage") else {
        panic!("a direct grant");
    };
    assert_eq!(offer.key.resource_type, id("template"));
    assert_eq!(offer.level, Level::Everything);
    let exports = account("resources:\n  - {type: contact, id: c1}\n");
    assert_eq!(
        first(&exports, "email_campaign.export_engagement"),
        direct("contact.export everything")
    );
}

#[test]
fn r6_an_object_is_given_by_an_object_grant() {
    let graph = account_with(&[VIEWS_TEAM]);
    let suggestions = suggested(&graph, "email.view e1");
    assert_eq!(suggestions[0].resolution, Resolution::ObjectGrant);
    assert_eq!(suggestions[0].opens.count, 1);
    assert_eq!(suggestions[0].opens.users, 1);
    assert_eq!(suggestions[0].opens.sample, [opened("q", "email.view e1")]);
    // The assignment opens as much, and comes after it in the order of kinds.
    assert_eq!(suggestions[1].resolution, Resolution::AssignToUser);
    assert_eq!(suggestions[1].opens.count, 1);
    let kinds: Vec<ResolutionKind> = suggestions
        .iter()
        .map(|one| one.resolution.kind())
        .collect();
    assert_eq!(
        kinds,
        [
            ResolutionKind::ObjectGrant,
            ResolutionKind::AssignToUser,
            ResolutionKind::AddToTeam,
            ResolutionKind::AddToTeam,
            ResolutionKind::AssignToTeam,
        ]
    );
}

/// Where an assignment opens less than an object grant: the grant brings what the action implies.
#[test]
fn r6_fewest_triples_come_before_the_order_of_kinds() {
    let views = (
        "users",
        "- {id: q, main_team: us, grants: {email.edit: {level: team, expires_at: 2026-11-22T00:00:00Z}, email.publish: owned}}",
    );
    let graph = account_with(&[views]);
    let suggestions = suggested(&graph, "email.publish e1");
    let object = of(&suggestions, &Resolution::ObjectGrant);
    // Publishing implies viewing.
    assert_eq!(object.opens.count, 2);
    assert_eq!(
        object.opens.sample,
        [
            opened("q", "email.publish e1"),
            opened("q", "email.view e1")
        ]
    );
}

/// Between equals: lowest level, then without unassigned resources, then bytewise id.
#[test]
fn r6_ties_go_to_the_lowest_level_then_the_id() {
    let empty = "account: a\ncatalog: hubspot\nplan: enterprise\npermission_sets:\n  - {id: b, grants: {email.view: owned}}\n  - {id: a, grants: {email.view: owned}}\n  - {id: é, grants: {email.view: owned}}\nusers:\n  - {id: q}\n  - {id: sa, super_admin: true}\n";
    let suggestions = suggested(&graph(empty), "email.view");
    assert!(suggestions.iter().all(|one| one.opens.count == 1));
    let order: Vec<Resolution> = suggestions.into_iter().map(|one| one.resolution).collect();
    let set = |name: &str| Resolution::PermissionSet(id(name));
    assert_eq!(
        order,
        [
            direct("email.view owned"),
            direct("email.view owned+unassigned"),
            direct("email.view team"),
            direct("email.view team+unassigned"),
            direct("email.view everything"),
            set("a"),
            set("b"),
            set("é"),
        ]
    );
}

#[test]
fn r6_a_raise_comes_last_among_equals() {
    let views = (
        "users",
        "- {id: q, main_team: de, grants: {email.view: owned}}",
    );
    let suggestions = suggested(&account_with(&[views]), "email.view e2");
    let raised = of(&suggestions, &raise("email.view everything"));
    let granted = of(&suggestions, &direct("email.view everything"));
    assert_eq!(raised.opens, granted.opens);
    let place = |one: &Suggestion| suggestions.iter().position(|other| other == one);
    assert!(place(granted) < place(raised));
}

/// R6, R5: what would close a resource for others is never proposed.
#[test]
fn r6_nothing_that_takes_away_is_proposed() {
    let views = (
        "users",
        "- {id: q, main_team: de, grants: {email.view: owned}}",
    );
    let suggestions = suggested(&account_with(&[views]), "email.view e2");
    let assigns = |one: &Suggestion| {
        matches!(
            one.resolution.kind(),
            ResolutionKind::AssignToUser | ResolutionKind::AssignToTeam
        )
    };
    assert!(!suggestions.iter().any(assigns));
    let share = document_with(ACCOUNT, &[views]).replace(
        "\nteams:",
        "\nsettings: {partition_mode: {default: share}}\nteams:",
    );
    assert!(
        suggested(&graph(&share), "email.view e2")
            .iter()
            .any(assigns)
    );
    let others = ("users", "- {id: x, grants: {email.view: owned+unassigned}}");
    let graph = graph(&document_with(&share, &[others]));
    let kinds = |asked: &str| suggested(&graph, asked).iter().any(assigns);
    assert!(kinds("email.view e2"));
    assert!(!kinds("email.view e3"), "x sees e3 as unassigned");
}

/// An assignment to a team opens to all who reach the team, and what each of them may do.
#[test]
fn r6_a_team_opens_to_its_members_and_those_above() {
    let parts = [
        (
            "users",
            "- {id: q, main_team: fr, grants: {email.view: team}}",
        ),
        (
            "users",
            "- {id: fr1, main_team: fr, grants: {email.edit: team}}",
        ),
        (
            "users",
            "- {id: fr2, main_team: us, teams: [fr], grants: {email.view: owned}}",
        ),
        (
            "users",
            "- {id: eu1, main_team: eu, grants: {email.view: everything}}",
        ),
        (
            "users",
            "- {id: p1, main_team: paris, grants: {email.view: team}}",
        ),
        (
            "resources",
            "- {type: email, id: e9, owners: [us1], assigned_to: ['team:us']}",
        ),
    ];
    let suggestions = suggested(&account_with(&parts), "email.view e9");
    let to_team = of(&suggestions, &Resolution::AssignToTeam(id("fr")));
    // um edits everything, from eu above.
    let expected = [
        opened("eu1", "email.view e9"),
        opened("fr1", "email.edit e9"),
        opened("fr1", "email.view e9"),
        opened("q", "email.view e9"),
        opened("um", "email.edit e9"),
        opened("um", "email.view e9"),
    ];
    assert_eq!(to_team.opens.sample, expected);
    assert_eq!((to_team.opens.count, to_team.opens.users), (6, 4));
}

/// C8: a new member brings the team what they own.
#[test]
fn r6_a_team_opens_what_its_new_member_owns() {
    let parts = [
        VIEWS_TEAM,
        (
            "users",
            "- {id: de2, main_team: de, grants: {contact.view: team}}",
        ),
        ("resources", "- {type: contact, id: mine, owners: [q]}"),
        (
            "resources",
            "- {type: contact, id: stamped, owners: [q], owning_team: us}",
        ),
        (
            "resources",
            "- {type: email, id: also-de, owners: [de1], assigned_to: ['team:de']}",
        ),
    ];
    let suggestions = suggested(&account_with(&parts), "email.view e1");
    let team = of(&suggestions, &Resolution::AddToTeam(id("de")));
    let expected = [
        opened("de2", "contact.view mine"),
        opened("q", "email.view also-de"),
        opened("q", "email.view e1"),
    ];
    assert_eq!(team.opens.sample, expected);
}

/// An action by another name is a question of its own.
#[test]
fn r6_every_question_that_turns_is_counted() {
    let graph = account_with(&[("resources", "- {type: contact, id: c1, owners: [q]}")]);
    let suggestions = suggested(&graph, "contact.delete");
    let owned = of(&suggestions, &direct("contact.delete owned"));
    let expected = [
        opened("q", "contact.bulk_delete"),
        opened("q", "contact.bulk_delete c1"),
        opened("q", "contact.delete"),
        opened("q", "contact.delete c1"),
        opened("q", "contact.view"),
        opened("q", "contact.view c1"),
    ];
    assert_eq!(owned.opens.sample, expected);
    assert_eq!(owned.opens.count, 6);
}

#[test]
fn r6_a_sample_is_bounded_and_a_count_is_not() {
    let contacts: Vec<String> = (0..300)
        .map(|number| format!("  - {{type: contact, id: c{number:03}}}\n"))
        .collect();
    let document = format!("{ACCOUNT}{}", contacts.concat());
    let suggestions = suggested(&graph(&document), "contact.view");
    let all = of(&suggestions, &direct("contact.view everything"));
    assert_eq!(all.opens.count, 301);
    assert_eq!(all.opens.sample.len(), 100);
    assert_eq!(all.opens.sample[0], opened("q", "contact.view"));
    assert_eq!(all.opens.sample[99], opened("q", "contact.view c098"));
}

#[test]
fn r6_super_admin_is_never_proposed_and_held_sets_neither() {
    let holds = (
        "users",
        "- {id: q, main_team: de, permission_sets: [readers]}",
    );
    let graph = account_with(&[holds]);
    let sets: Vec<Resolution> = suggested(&graph, "email.edit")
        .into_iter()
        .map(|one| one.resolution)
        .filter(|one| one.kind() == ResolutionKind::PermissionSet)
        .collect();
    assert_eq!(sets, [Resolution::PermissionSet(id("editors"))]);
}

#[test]
fn r6_a_request_that_lost_its_ground_has_no_suggestions() {
    let request = filed(&graph(ACCOUNT), "email.edit");
    let allowed = account_with(&[("users", "- {id: q, grants: {email.edit: owned}}")]);
    let refusal = suggest(&allowed, &request, None, at(1)).unwrap_err();
    assert!(matches!(refusal, RequestRefusal::NoLongerDenied { .. }));
    let gone = account_with(&[("users", "- {id: q, status: removed}")]);
    let refusal = suggest(&gone, &request, None, at(1)).unwrap_err();
    assert_eq!(refusal, RequestRefusal::RequesterInactive);
    let refusal = suggest(&graph(ACCOUNT), &request, Some(at(1)), at(1)).unwrap_err();
    assert!(matches!(refusal, RequestRefusal::InvalidField { .. }));
}

/// Each suggestion says whether this approver may give it, and until when matters.
#[test]
fn r4_r6_suggestions_say_what_an_approver_may_give() {
    let limited = (
        "users",
        "- {id: m, grants: {user_management.edit: everything, email.edit: {level: team, expires_at: 2026-11-23T00:00:00Z}}}",
    );
    let graph = account_with(&[limited]);
    let request = filed(&graph, "email.edit");
    let given = |end| {
        let suggestions = suggest_for(&graph, &request, &id("m"), end, at(1)).unwrap();
        let may = suggestions.iter().filter(|one| one.withheld.is_none());
        may.map(|one| one.resolution.clone()).collect::<Vec<_>>()
    };
    let within = [
        direct("email.edit owned"),
        direct("email.edit team"),
        Resolution::PermissionSet(id("editors")),
    ];
    assert_eq!(given(Some(at(DAY))), within);
    assert_eq!(given(Some(at(DAY + 1))), []);
    assert_eq!(given(None), []);
    let refusal = suggest_for(&graph, &request, &id("de1"), None, at(1)).unwrap_err();
    assert_eq!(refusal, RequestRefusal::NotAnApprover);
    let above = suggest_for(&graph, &request, &id("sa"), None, at(1)).unwrap();
    assert!(above.iter().all(|one| one.withheld.is_none()));
    assert_eq!(above, suggest(&graph, &request, None, at(1)).unwrap());
}

fn grant(key: &str, level: Level) -> Grant {
    Grant {
        key: super::key(key),
        level,
        include_unassigned: false,
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: None,
    }
}

/// A larger account: users in teams in a tree, contacts owned by all of them and walled in part,
/// permission sets of many kinds.
fn crowd(users: usize, teams: usize, sets: usize, contacts: usize) -> AccountGraph {
    let mut builder = GraphBuilder::default();
    builder.push(Entity::Account(Account {
        id: id("acme"),
        catalog: CatalogRef::BuiltIn(id("hubspot")),
        plan: id("enterprise"),
        partner_program: PartnerProgram::None,
        payment_method_valid: true,
        settings: Settings::default(),
    }));
    for team in 0..teams {
        builder.push(Entity::Team(Team {
            id: id(&format!("t{team:04}")),
            parent: (team > 0).then(|| id(&format!("t{:04}", (team - 1) / 4))),
        }));
    }
    let actions = ["view", "edit", "delete", "export", "communicate", "create"];
    for set in 0..sets {
        let grants = actions.iter().take(1 + set % actions.len()).map(|action| {
            let level = [Level::Owned, Level::Team, Level::Everything][set % 3];
            grant(&format!("contact.{action}"), level)
        });
        builder.push(Entity::PermissionSet(PermissionSet {
            id: id(&format!("s{set:04}")),
            grants: grants.collect(),
        }));
    }
    for user in 0..users {
        let mut entity = User::new(id(&format!("u{user:04}")));
        entity.main_team = Some(id(&format!("t{:04}", user % teams)));
        entity.grants = [
            grant("contact.view", Level::Team),
            grant("deal.view", Level::Team),
        ]
        .into();
        builder.push(Entity::User(entity));
    }
    let mut asking = User::new(id("q"));
    asking.main_team = Some(id(&format!("t{:04}", teams - 1)));
    asking.grants = [grant("contact.view", Level::Team)].into();
    builder.push(Entity::User(asking));
    for contact in 0..contacts {
        let owner = match contact % 997 {
            0 => id("q"),
            _ => id(&format!("u{:04}", contact * 7 % users)),
        };
        let walled = contact % 3 == 0;
        let assignment = crate::authz::model::Assignment {
            principal: crate::authz::model::Principal::Team(id(&format!(
                "t{:04}",
                contact % teams
            ))),
            provenance: Provenance::Manual,
            expires_at: None,
        };
        builder.push(Entity::Resource(
            Resource {
                key: ResourceKey {
                    resource_type: id("contact"),
                    id: id(&format!("c{contact:07}")),
                },
                owners: [owner].into(),
                owning_team: None,
                partitioned: walled,
                assignments: walled.then_some(assignment).into_iter().collect(),
            },
            None,
        ));
    }
    builder.finish().expect("a graph")
}

/// Candidates are all tried, however large the account; `AMBIT_CROWD_CONTACTS` makes it larger.
#[test]
fn r6_a_large_account_has_all_its_suggestions() {
    let contacts = std::env::var("AMBIT_CROWD_CONTACTS").ok();
    let contacts = contacts.map_or(20_000, |text| text.parse().expect("a number"));
    let graph = crowd(1_000, 300, 300, contacts);
    for (asked, kind) in [
        ("contact.edit", ResolutionKind::DirectGrant),
        ("contact.view c0000003", ResolutionKind::ObjectGrant),
        ("contact.view c0000004", ResolutionKind::ObjectGrant),
    ] {
        let request = filed(&graph, asked);
        let suggestions = suggest(&graph, &request, None, at(1)).unwrap();
        assert_eq!(suggestions[0].resolution.kind(), kind);
        if kind == ResolutionKind::DirectGrant {
            // Every set that has contact.edit.
            let sets = suggestions
                .iter()
                .filter(|one| one.resolution.kind() == ResolutionKind::PermissionSet);
            assert_eq!(sets.count(), 250);
        }
    }
}

/// A limit is an error, never a shortened list.
#[test]
fn r6_too_many_candidates_are_an_error() {
    let graph = crowd(10, 3, 24_100, 10);
    let request = filed(&graph, "contact.edit");
    let refusal = suggest(&graph, &request, None, at(1)).unwrap_err();
    assert!(matches!(
        refusal,
        RequestRefusal::TooMuch { limit: 20_000, .. }
    ));
}
