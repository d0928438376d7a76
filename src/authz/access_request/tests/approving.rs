//! R5, R7 and R8: what an approval does, and what it is refused for.
#![cfg(test)]

use super::super::{AccessRequest, RequestRefusal, RequestState, Resolution, approve};
use super::{
    ACCOUNT, DAY, account_with, after, approved, at, check, direct, document_with, filed, graph,
    id, raise, until,
};
use crate::authz::decision::ReasonCode;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Level, Provenance, Timestamp};

const VIEWS_TEAM: (&str, &str) = (
    "users",
    "- {id: q, main_team: us, grants: {email.view: team}}",
);
const VIEWS_OWN: (&str, &str) = (
    "users",
    "- {id: q, main_team: de, grants: {email.view: owned}}",
);

/// Approves, and gives the account with it once its check is seen to be turned.
fn given(graph: &AccountGraph, request: &AccessRequest, resolution: Resolution) -> AccountGraph {
    let kind = resolution.kind();
    let transition = approved(graph, request, "sa", resolution)
        .unwrap_or_else(|refusal| panic!("{kind}: {refusal}"));
    let given = after(graph, &transition);
    let asked = format!(
        "{}.{}{}",
        request.target.resource_type,
        request.target.action,
        request
            .target
            .resource_id
            .as_ref()
            .map_or_else(String::new, |resource| format!(" {resource}"))
    );
    assert!(!check(graph, "q", &asked, at(1)).is_allow());
    let decision = check(&given, "q", &asked, at(1));
    assert!(decision.is_allow(), "{kind}: {}", decision.reason);
    assert_eq!(transition.event.after, Some(decision.reason));
    assert_eq!(transition.request.state, RequestState::Approved);
    given
}

#[test]
fn s1_6_r5_a_direct_grant_turns_the_check_and_says_where_it_comes_from() {
    let graph = graph(ACCOUNT);
    let request = filed(&graph, "email.edit");
    let given = given(&graph, &request, direct("email.edit owned"));
    let grants = &given.user("q").unwrap().grants;
    let grant = grants.first().unwrap();
    assert_eq!(grants.len(), 1);
    assert_eq!(
        (grant.level, grant.include_unassigned),
        (Level::Owned, false)
    );
    assert_eq!(grant.provenance, Provenance::Request(id("r1")));
    assert_eq!(grant.granted_by, Some(id("sa")));
    assert_eq!((grant.not_before, grant.expires_at), (None, None));
}

#[test]
fn s1_10_r5_an_object_grant_is_for_one_action_on_one_resource() {
    let graph = account_with(&[VIEWS_TEAM]);
    let request = filed(&graph, "email.view e1");
    let given = given(&graph, &request, Resolution::ObjectGrant);
    let user = given.user("q").unwrap();
    let grant = user.object_grants.first().unwrap();
    assert_eq!(
        (grant.resource.id.as_str(), grant.action.as_str()),
        ("e1", "view")
    );
    assert_eq!(grant.provenance, Provenance::Request(id("r1")));
    assert_eq!(grant.granted_by, Some(id("sa")));
    assert_eq!(
        check(&given, "q", "email.view e1", at(1)).reason,
        ReasonCode::ObjectGrant
    );
    assert_eq!(
        given.user("q").unwrap().grants,
        graph.user("q").unwrap().grants
    );
}

#[test]
fn r5_an_assignment_names_the_user_or_a_team_of_theirs() {
    let graph = account_with(&[VIEWS_TEAM]);
    let request = filed(&graph, "email.view e1");
    let to_user = given(&graph, &request, Resolution::AssignToUser);
    assert_eq!(
        check(&to_user, "q", "email.view e1", at(1)).reason,
        ReasonCode::AssignedUser
    );
    let to_team = given(&graph, &request, Resolution::AssignToTeam(id("us")));
    assert_eq!(
        check(&to_team, "q", "email.view e1", at(1)).reason,
        ReasonCode::Team
    );
    let key = request.target.resource().unwrap();
    for account in [&to_user, &to_team] {
        let assignments = account.resource(&key).unwrap().assignments;
        assert_eq!(assignments.len(), 2, "the others keep theirs");
        let ours = assignments
            .iter()
            .find(|one| one.provenance == Provenance::Request(id("r1")));
        assert!(ours.is_some());
        assert!(check(account, "de1", "email.view e1", at(1)).is_allow());
    }
    for team in ["de", "nowhere"] {
        let refusal = approved(&graph, &request, "sa", Resolution::AssignToTeam(id(team)));
        assert!(
            matches!(refusal, Err(RequestRefusal::InvalidField { .. })),
            "{team} is no team of the requester: {refusal:?}"
        );
    }
}

#[test]
fn r5_a_permission_set_and_a_team_are_memberships() {
    let graph = account_with(&[VIEWS_TEAM]);
    let request = filed(&graph, "email.edit");
    let with_set = given(&graph, &request, Resolution::PermissionSet(id("editors")));
    let request = filed(&graph, "email.view e1");
    let with_team = given(&graph, &request, Resolution::AddToTeam(id("de")));
    for account in [&with_set, &with_team] {
        let user = account.user("q").unwrap();
        let membership = user.memberships.first().unwrap();
        assert_eq!(membership.provenance, Provenance::Request(id("r1")));
        assert_eq!(membership.granted_by, Some(id("sa")));
        let before = graph.user("q").unwrap();
        assert_eq!(
            (&user.teams, &user.permission_sets),
            (&before.teams, &before.permission_sets)
        );
    }
}

#[test]
fn r5_a_raise_stands_beside_the_grant_that_it_raises() {
    let graph = account_with(&[VIEWS_OWN]);
    let request = filed(&graph, "email.view e2");
    let given = given(&graph, &request, raise("email.view everything"));
    let levels: Vec<Level> = given
        .user("q")
        .unwrap()
        .grants
        .iter()
        .map(|grant| grant.level)
        .collect();
    assert_eq!(levels, [Level::Owned, Level::Everything]);
    for wrong in ["email.view owned", "email.edit everything"] {
        let refusal = approved(&graph, &request, "sa", raise(wrong)).unwrap_err();
        assert!(
            matches!(refusal, RequestRefusal::InvalidField { .. }),
            "{wrong}: {refusal}"
        );
    }
}

#[test]
fn r5_unassigned_resources_are_part_of_a_raise() {
    let graph = account_with(&[VIEWS_OWN]);
    let request = filed(&graph, "email.view e3");
    assert_eq!(request.denied_as, ReasonCode::UnassignedNotIncluded);
    let given = given(&graph, &request, raise("email.view owned+unassigned"));
    assert_eq!(
        check(&given, "q", "email.view e3", at(1)).reason,
        ReasonCode::Unassigned
    );
}

/// S1.10, R5: with an end, the same check is denied again from that moment on.
#[test]
fn r5_what_has_an_end_ends() {
    let set = (
        "permission_sets",
        "- {id: viewers, grants: {email.view: everything}}",
    );
    let tool = account_with(&[set]);
    let object = account_with(&[VIEWS_TEAM]);
    let end = at(3_600);
    let just_before = Timestamp::from_unix_micros(end.unix_micros() - 1).unwrap();
    for (graph, asked, resolution) in [
        (&tool, "email.view", direct("email.view owned")),
        (
            &tool,
            "email.view",
            Resolution::PermissionSet(id("viewers")),
        ),
        (&object, "email.view e1", Resolution::ObjectGrant),
        (&object, "email.view e1", Resolution::AssignToUser),
        (&object, "email.view e1", Resolution::AssignToTeam(id("us"))),
        (&object, "email.view e1", Resolution::AddToTeam(id("de"))),
        (&object, "email.view e2", raise("email.view everything")),
    ] {
        let kind = resolution.kind();
        let graph = match asked {
            // Their own team's, so that only the raise is left to turn it.
            "email.view e2" => &account_with(&[VIEWS_OWN]),
            _ => graph,
        };
        let request = filed(graph, asked);
        let approval = until(resolution, end);
        let transition = approve(graph, &request, &id("sa"), &approval, None, 1, at(1)).unwrap();
        let given = after(graph, &transition);
        assert!(check(&given, "q", asked, just_before).is_allow(), "{kind}");
        assert!(!check(&given, "q", asked, end).is_allow(), "{kind}");
    }
}

#[test]
fn r5_the_end_lies_ahead() {
    let graph = graph(ACCOUNT);
    let request = filed(&graph, "email.edit");
    for end in [0, 1] {
        let approval = until(direct("email.edit owned"), at(end));
        let refusal = approve(&graph, &request, &id("sa"), &approval, None, 1, at(1)).unwrap_err();
        assert!(matches!(
            refusal,
            RequestRefusal::InvalidField {
                field: "expires_at",
                ..
            }
        ));
    }
}

#[test]
fn r5_what_does_not_turn_the_check_is_insufficient() {
    let tool = account_with(&[]);
    let request = filed(&tool, "email.edit");
    for resolution in [
        direct("email.view everything"),
        direct("contact.edit everything"),
        Resolution::PermissionSet(id("readers")),
        Resolution::AddToTeam(id("us")),
    ] {
        let refusal = approved(&tool, &request, "sa", resolution).unwrap_err();
        let expected = RequestRefusal::InsufficientResolution {
            reason: ReasonCode::NoPermission,
        };
        assert_eq!(refusal, expected);
    }
    let object = account_with(&[VIEWS_TEAM]);
    let request = filed(&object, "email.view e1");
    for resolution in [
        direct("email.view everything"),
        raise("email.view everything"),
        Resolution::AddToTeam(id("fr")),
    ] {
        let refusal = approved(&object, &request, "sa", resolution).unwrap_err();
        let expected = RequestRefusal::InsufficientResolution {
            reason: ReasonCode::NotInPartition,
        };
        assert_eq!(refusal, expected);
    }
}

#[test]
fn r5_a_tool_request_has_no_resource_to_grant_or_assign() {
    let graph = graph(ACCOUNT);
    let request = filed(&graph, "email.edit");
    for resolution in [
        Resolution::ObjectGrant,
        Resolution::AssignToUser,
        Resolution::AssignToTeam(id("de")),
    ] {
        let refusal = approved(&graph, &request, "sa", resolution).unwrap_err();
        assert!(matches!(
            refusal,
            RequestRefusal::InvalidField {
                field: "resolution",
                ..
            }
        ));
    }
}

#[test]
fn r5_what_can_not_be_written_is_refused() {
    let graph = graph(ACCOUNT);
    let request = filed(&graph, "email.edit");
    for resolution in [
        direct("email.fly owned"),
        direct("contact.bulk_delete owned"),
        direct("email.edit none"),
        Resolution::PermissionSet(id("nothing")),
        Resolution::AddToTeam(id("nowhere")),
    ] {
        let refusal = approved(&graph, &request, "sa", resolution.clone()).unwrap_err();
        assert!(
            matches!(
                refusal,
                RequestRefusal::NotPlannable { .. } | RequestRefusal::InvalidField { .. }
            ),
            "{resolution:?}: {refusal}"
        );
    }
}

/// R5: the first assignment behind a wall would shut everyone else out.
#[test]
fn r5_nothing_open_is_closed_by_an_assignment() {
    let graph = account_with(&[VIEWS_OWN]);
    let request = filed(&graph, "email.view e2");
    for resolution in [Resolution::AssignToUser, Resolution::AssignToTeam(id("de"))] {
        let refusal = approved(&graph, &request, "sa", resolution).unwrap_err();
        assert_eq!(refusal, RequestRefusal::WouldTakeAway);
    }
}

/// C1: in mode SHARE an assignment only adds; but the resource stops being an unassigned one.
#[test]
fn r5_in_share_mode_an_assignment_takes_nothing_away() {
    let document = ACCOUNT.replace(
        "\nteams:",
        "\nsettings: {partition_mode: {default: share}}\nteams:",
    );
    let share = |parts: &[(&str, &str)]| graph(&document_with(&document, parts));
    let graph = share(&[VIEWS_OWN]);
    let request = filed(&graph, "email.view e2");
    given(&graph, &request, Resolution::AssignToUser);
    let request = filed(&graph, "email.view e3");
    given(&graph, &request, Resolution::AssignToUser);

    let others = ("users", "- {id: x, grants: {email.view: owned+unassigned}}");
    let graph = share(&[VIEWS_OWN, others]);
    let request = filed(&graph, "email.view e3");
    let refusal = approved(&graph, &request, "sa", Resolution::AssignToUser).unwrap_err();
    assert_eq!(refusal, RequestRefusal::WouldTakeAway);
    given(&graph, &request, Resolution::ObjectGrant);
}

#[test]
fn r7_the_requester_is_active_at_the_approval() {
    let request = filed(&graph(ACCOUNT), "email.edit");
    let gone = ACCOUNT.replace("  - {id: q, main_team: de}\n", "");
    for graph in [
        account_with(&[("users", "- {id: q, status: deactivated}")]),
        account_with(&[("users", "- {id: q, status: removed}")]),
        account_with(&[("users", "- {id: q, status: invited}")]),
        graph(&gone),
    ] {
        let refusal = approved(&graph, &request, "sa", direct("email.edit owned")).unwrap_err();
        assert_eq!(refusal, RequestRefusal::RequesterInactive);
    }
}

#[test]
fn r7_the_denial_still_stands_at_the_approval() {
    let request = filed(&graph(ACCOUNT), "email.edit");
    let graph = account_with(&[("users", "- {id: q, grants: {email.edit: owned}}")]);
    let refusal = approved(&graph, &request, "sa", direct("email.edit everything")).unwrap_err();
    let expected = RequestRefusal::NoLongerDenied {
        reason: ReasonCode::Tool,
    };
    assert_eq!(refusal, expected);
}

#[test]
fn r7_the_resource_exists_at_the_approval() {
    let request = filed(&account_with(&[VIEWS_TEAM]), "email.view e1");
    let walled = "  - {type: email, id: e1, owners: [de1], assigned_to: ['team:de']}\n";
    let graph = graph(&document_with(ACCOUNT, &[VIEWS_TEAM]).replace(walled, ""));
    let refusal = approved(&graph, &request, "sa", Resolution::ObjectGrant).unwrap_err();
    assert_eq!(refusal, RequestRefusal::ResourceGone);
}

#[test]
fn r7_r8_the_plan_still_has_it_at_the_approval() {
    let tool = filed(&graph(ACCOUNT), "landing_page.edit");
    let object = filed(&account_with(&[VIEWS_TEAM]), "email.view e1");
    let on = |plan: &str, parts: &[(&str, &str)]| {
        // Walls that stand outlive the plan that let them be raised (C12).
        let graph = account_with(parts);
        let mut account = graph.account().clone();
        account.plan = id(plan);
        super::put(&graph, crate::authz::model::Entity::Account(account))
    };
    let refusal = approved(
        &on("sales_enterprise", &[]),
        &tool,
        "sa",
        direct("landing_page.edit owned"),
    );
    assert_eq!(refusal.unwrap_err(), RequestRefusal::NotEntitled);
    let refusal = approved(
        &on("professional", &[VIEWS_TEAM]),
        &object,
        "sa",
        Resolution::ObjectGrant,
    );
    assert_eq!(refusal.unwrap_err(), RequestRefusal::NotEntitled);
    assert!(
        approved(
            &on("free", &[]),
            &tool,
            "sa",
            direct("landing_page.edit owned")
        )
        .is_ok()
    );
}

/// Who may not resolve learns nothing else about the request.
#[test]
fn r4_comes_before_everything_else() {
    let mut request = filed(&graph(ACCOUNT), "email.edit");
    request.state = RequestState::Denied;
    let graph = account_with(&[("users", "- {id: q, status: deactivated}")]);
    let approval = until(direct("email.fly none"), at(0));
    let refusal = approve(
        &graph,
        &request,
        &id("us1"),
        &approval,
        None,
        1,
        at(15 * DAY),
    );
    assert_eq!(refusal.unwrap_err(), RequestRefusal::NotAnApprover);
}

#[test]
fn a_flag_type_is_given_whole() {
    let graph = graph(
        "account: a\ncatalog: brevo\nplan: free\nusers:\n  - {id: q}\n  - {id: sa, super_admin: true}\n",
    );
    let request = filed(&graph, "email_campaign.send");
    let refusal = approved(&graph, &request, "sa", direct("email_campaign.send owned"));
    assert!(
        matches!(refusal, Err(RequestRefusal::NotPlannable { .. })),
        "{refusal:?}"
    );
    for key in ["send", "send_schedule_suspend"] {
        given(
            &graph,
            &request,
            direct(&format!("email_campaign.{key} everything")),
        );
    }
    // A derived action has no permission of its own, but follows from others.
    let request = filed(&graph, "test_list.manage");
    let refusal = approved(
        &graph,
        &request,
        "sa",
        direct("test_list.manage everything"),
    );
    assert!(
        matches!(refusal, Err(RequestRefusal::NotPlannable { .. })),
        "{refusal:?}"
    );
    given(
        &graph,
        &request,
        direct("contact.create_edit_delete everything"),
    );
}
