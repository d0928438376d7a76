//! Taking back what an approval gave, as a unit and exactly.
#![cfg(test)]

use super::super::{RequestRefusal, Resolution, revoke};
use super::{ACCOUNT, account_with, after, approved, at, check, direct, filed, graph, id};
use crate::authz::graph::AccountGraph;
use crate::authz::model::Entity;

fn entities(graph: &AccountGraph) -> Vec<Entity> {
    let users = graph.users().cloned().map(Entity::User);
    let resources = ["e1", "e2", "e3"].map(|name| {
        let key = super::target(&format!("email.view {name}"))
            .resource()
            .unwrap();
        Entity::Resource(graph.resource(&key).unwrap(), None)
    });
    users.chain(resources).collect()
}

#[test]
fn r5_revoking_undoes_the_unit_exactly() {
    let viewer = (
        "users",
        "- {id: q, main_team: us, grants: {email.view: [team, {level: owned, provenance: 'request:r0'}]}, object_grants: [{resource: email/e3, action: view, provenance: 'request:r0'}]}",
    );
    let graph = account_with(&[viewer]);
    for (asked, resolution) in [
        ("email.edit", direct("email.edit owned")),
        ("email.edit", Resolution::PermissionSet(id("editors"))),
        ("email.view e1", Resolution::ObjectGrant),
        ("email.view e1", Resolution::AssignToUser),
        ("email.view e1", Resolution::AssignToTeam(id("us"))),
        ("email.view e1", Resolution::AddToTeam(id("de"))),
        ("email.view e1", Resolution::AddToTeam(id("eu"))),
    ] {
        let kind = resolution.kind();
        let request = filed(&graph, asked);
        let approval = approved(&graph, &request, "sa", resolution).unwrap();
        let given = after(&graph, &approval);
        assert_ne!(entities(&given), entities(&graph), "{kind}");
        let note = Some("the campaign is over".to_owned());
        let transition = revoke(&given, &approval.request, &id("sa"), note, 2, at(2)).unwrap();
        let taken = after(&given, &transition);
        assert_eq!(entities(&taken), entities(&graph), "{kind}");
        assert!(!check(&taken, "q", asked, at(2)).is_allow(), "{kind}");
        let again = revoke(&taken, &approval.request, &id("sa"), None, 3, at(3));
        assert_eq!(
            again.unwrap_err(),
            RequestRefusal::NothingToRevoke,
            "{kind}"
        );
    }
}

/// What others gave since stays, even of the same key.
#[test]
fn r5_revoking_leaves_what_came_from_elsewhere() {
    let account = graph(ACCOUNT);
    let request = filed(&account, "email.edit");
    let approval = approved(&account, &request, "sa", direct("email.edit owned")).unwrap();
    let given = after(&account, &approval);
    let mut user = given.user("q").unwrap().clone();
    let mut own = user.grants.first().unwrap().clone();
    own.provenance = crate::authz::model::Provenance::Manual;
    user.grants.insert(own.clone());
    let given = super::put(&given, Entity::User(user));
    let transition = revoke(&given, &approval.request, &id("sa"), None, 2, at(2)).unwrap();
    let taken = after(&given, &transition);
    assert_eq!(taken.user("q").unwrap().grants, [own].into());
}

#[test]
fn r4_revoking_takes_an_approver() {
    let account = graph(ACCOUNT);
    let request = filed(&account, "email.edit");
    let approval = approved(&account, &request, "um", direct("email.edit owned")).unwrap();
    let given = after(&account, &approval);
    for (who, refusal) in [
        ("q", RequestRefusal::SelfApproval),
        ("de1", RequestRefusal::NotAnApprover),
    ] {
        let refused = revoke(&given, &approval.request, &id(who), None, 2, at(2));
        assert_eq!(refused.unwrap_err(), refusal);
    }
    for who in ["sa", "um"] {
        assert!(
            revoke(&given, &approval.request, &id(who), None, 2, at(2)).is_ok(),
            "{who}"
        );
    }
}

/// The ceiling holds in both directions: nobody takes what they do not hold.
#[test]
fn r4_d3_revoking_stays_below_the_ceiling() {
    let lower = (
        "users",
        "- {id: um2, grants: {user_management.edit: everything, email.edit: owned}}",
    );
    let graph = account_with(&[lower]);
    let request = filed(&graph, "email.edit");
    for (resolution, allowed) in [
        (direct("email.edit owned"), true),
        (direct("email.edit team"), false),
        (direct("email.edit owned+unassigned"), false),
        (Resolution::PermissionSet(id("editors")), false),
    ] {
        let approval = approved(&graph, &request, "sa", resolution.clone()).unwrap();
        let given = after(&graph, &approval);
        let outcome = revoke(&given, &approval.request, &id("um2"), None, 2, at(2));
        assert_eq!(outcome.is_ok(), allowed, "{resolution:?}: {outcome:?}");
    }
    let viewer = (
        "users",
        "- {id: q, main_team: us, grants: {email.view: team}}",
    );
    let graph = account_with(&[lower, viewer]);
    let request = filed(&graph, "email.view e1");
    for resolution in [
        Resolution::ObjectGrant,
        Resolution::AssignToUser,
        Resolution::AddToTeam(id("de")),
    ] {
        let approval = approved(&graph, &request, "sa", resolution).unwrap();
        let given = after(&graph, &approval);
        let outcome = revoke(&given, &approval.request, &id("um2"), None, 2, at(2));
        assert!(
            matches!(outcome, Err(RequestRefusal::NoAssignAuthority { .. })),
            "{outcome:?}"
        );
        assert!(revoke(&given, &approval.request, &id("um"), None, 2, at(2)).is_ok());
    }
}
