//! Staff under the ceiling: S4.13-S4.17, S4.20, S4.23, D4, D8, D11.

use super::*;
use crate::grpc::refused;
use crate::grpc::server::{change, put_user};
use wire::noted_right::What;

impl Scene {
    pub async fn add(
        &self,
        client: &str,
        actor: &str,
        people: &[&str],
        set: &str,
    ) -> Result<Vec<wire::PlacedStaff>, Status> {
        let people = people.iter().map(|person| wire::StaffMember {
            partner_user_id: (*person).to_owned(),
            user_id: String::new(),
        });
        let request = wire::AddStaffRequest {
            account_id: "kite".to_owned(),
            client_account_id: client.to_owned(),
            actor_user_id: actor.to_owned(),
            people: people.collect(),
            permission_set_id: set.to_owned(),
        };
        let added = self.server.partners().add_staff(request).await?;
        Ok(added.into_inner().staff)
    }

    pub async fn change_set(
        &self,
        actor: &str,
        person: &str,
        set: &str,
    ) -> Result<wire::PlacedStaff, Status> {
        let request = wire::ChangePermissionSetRequest {
            account_id: "kite".to_owned(),
            client_account_id: "acme".to_owned(),
            actor_user_id: actor.to_owned(),
            partner_user_id: person.to_owned(),
            permission_set_id: set.to_owned(),
        };
        let changed = self
            .server
            .partners()
            .change_permission_set(request)
            .await?;
        Ok(changed.into_inner().staff.unwrap())
    }

    pub async fn deactivate(&self, actor: &str, person: &str) -> Result<Vec<String>, Status> {
        let request = wire::DeactivateEmployeeRequest {
            account_id: "kite".to_owned(),
            actor_user_id: actor.to_owned(),
            partner_user_id: person.to_owned(),
            client_account_ids: Vec::new(),
        };
        let changed = self.server.partners().deactivate_employee(request).await?;
        let clients = changed.into_inner().clients.into_iter();
        Ok(clients
            .filter(|one| one.changed)
            .map(|one| one.client_account_id)
            .collect())
    }
}

fn noted(notes: &[wire::NotedRight]) -> Vec<String> {
    let name = |note: &wire::NotedRight| match note.what.as_ref().unwrap() {
        What::Permission(of) => format!("{}.{}", of.resource_type, of.permission),
        other => panic!("no permission: {other:?}"),
    };
    notes.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_1_s4_13_a_partner_admin_adds_people_with_one_permission_set() {
    let scene = Scene::new().await;
    let added = scene
        .add("acme", "petra", &["boss", "viewer"], "editors")
        .await;
    let added = added.unwrap();
    let ids: Vec<&str> = added.iter().map(|one| one.user_id.as_str()).collect();
    assert_eq!(ids, ["kite/boss", "kite/viewer"]);
    for one in &added {
        assert!(one.withheld.is_empty() && one.kept.is_empty(), "{one:?}");
        let user = scene.user("acme", &one.user_id).await;
        assert_eq!(user.kind(), wire::UserKind::PartnerEmployee);
        assert_eq!(user.permission_sets, ["editors"], "held whole, given whole");
        assert!(!user.partner_admin && !user.super_admin);
        assert_eq!(user.partner.unwrap().role(), wire::PartnerRole::Employee);
        assert_eq!(
            scene.check("acme", &one.user_id, "email.view").await,
            "TOOL"
        );
    }
    // Applied twice is applied once, in no revision.
    let before = scene.audited("acme").await.len();
    scene
        .add("acme", "petra", &["boss", "viewer"], "editors")
        .await
        .unwrap();
    assert_eq!(scene.audited("acme").await.len(), before);
    // Somebody of the kind contractor becomes one.
    let carl = scene
        .add("acme", "petra", &["carl"], "readers")
        .await
        .unwrap();
    let user = scene.user("acme", &carl[0].user_id).await;
    assert_eq!(user.partner.unwrap().role(), wire::PartnerRole::Contractor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d2_each_of_the_two_authorities_is_asked_for_and_told_apart() {
    let scene = Scene::new().await;
    for (client, actor, expected) in [
        // In the client, but not in the agency.
        ("acme", "anna", Reason::NoPartnerManagement),
        // In the agency, but not in the client.
        ("acme", "boss", Reason::NotPartnerAdmin),
        ("bravo", "petra", Reason::NotPartnerAdmin),
    ] {
        let added = scene.add(client, actor, &["viewer"], "editors").await;
        assert_eq!(reason(added), expected, "{actor} in {client}");
    }
    let nowhere = scene.add("nowhere", "petra", &["viewer"], "editors").await;
    let expected = (
        Reason::AccountNotFound,
        Some("client_account_id".to_owned()),
    );
    assert_eq!(refused(nowhere), expected);
    // Nobody adds anybody where the partnership has ended.
    let client = ("acme", wire::PartnerSide::Client, "kite");
    end(&scene.server, client, "sa").await.unwrap();
    let added = scene.add("acme", "petra", &["viewer"], "editors").await;
    assert_eq!(reason(added), Reason::NotPartnerAdmin);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_16_what_the_admin_lacks_of_a_set_is_withheld_and_told() {
    let scene = Scene::new().await;
    let added = scene
        .add("acme", "petra", &["boss"], "analysts")
        .await
        .unwrap();
    let mut withheld = noted(&added[0].withheld);
    withheld.sort();
    assert_eq!(withheld, ["report.export", "report.view"]);
    // The rest is applied.
    let boss = &added[0].user_id;
    assert_eq!(scene.check("acme", boss, "contact.view").await, "TOOL");
    assert_eq!(
        scene.check("acme", boss, "report.view").await,
        "NO_PERMISSION"
    );
    // So it is where the set of somebody is changed.
    let changed = scene.change_set("petra", "anna", "analysts").await.unwrap();
    assert_eq!(changed.withheld.len(), 2);
    // The audit of the client says who, for whom, and what was withheld; a call of which nothing is
    // left to do says so too, in no revision.
    let record = scene.audited("acme").await.swap_remove(0);
    assert_eq!(
        (&*record.method, &*record.actor_user_id),
        ("ChangePermissionSet", "petra-k")
    );
    let ceiling = record.ceiling.unwrap();
    assert_eq!(ceiling.withheld, changed.withheld);
    assert_eq!((ceiling.withheld_total, ceiling.kept_total), (2, 0));
    let again = scene.change_set("petra", "anna", "analysts").await.unwrap();
    let noted_again = scene.audited("acme").await.swap_remove(0);
    assert_eq!(noted_again.effect(), wire::AuditEffect::Noted);
    assert_eq!(noted_again.revision_number, record.revision_number);
    assert_eq!(noted_again.ceiling.unwrap().withheld, again.withheld);
    assert_eq!(
        scene.check("acme", "anna-k", "report.view").await,
        "NO_PERMISSION"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_17_what_the_admin_lacks_and_somebody_has_is_kept_and_told() {
    let scene = Scene::new().await;
    // The client gave it.
    let given = crate::grpc::server::grant("anna-k", "report", "view", wire::Level::Everything);
    scene.server.apply("acme", vec![given]).await.unwrap();
    let changed = scene.change_set("petra", "anna", "readers").await.unwrap();
    assert_eq!(noted(&changed.kept), ["report.view"]);
    let ceiling = scene.audited("acme").await.swap_remove(0).ceiling.unwrap();
    assert_eq!(ceiling.kept, changed.kept);
    assert_eq!(scene.check("acme", "anna-k", "report.view").await, "TOOL");
    // What the admin holds goes: `contact.view` at everything became owned.
    let user = scene.user("acme", "anna-k").await;
    assert_eq!(user.permission_sets, ["readers"]);
    let contact = user
        .grants
        .iter()
        .find(|one| one.resource_type == "contact");
    assert!(contact.is_none(), "{contact:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_15_d4_a_set_is_changed_and_never_ones_own_or_another_admins() {
    let scene = Scene::new().await;
    scene.change_set("petra", "anna", "editors").await.unwrap();
    let user = scene.user("acme", "anna-k").await;
    assert_eq!(user.permission_sets, ["editors"]);
    assert!(user.grants.is_empty(), "what was given by hand is replaced");
    scene.change_set("petra", "carl", "editors").await.unwrap();
    let own = scene.change_set("petra", "petra", "editors").await;
    assert_eq!(reason(own), Reason::StaffNotChangeable);
    let link = scene.create("boss").await.unwrap().link;
    scene.approve("acme", "sa", &link).await.unwrap();
    let other = scene.change_set("petra", "boss", "editors").await;
    assert_eq!(reason(other), Reason::StaffNotChangeable);
    let super_admin = put_user("anna-k", Some(true));
    scene.server.apply("acme", vec![super_admin]).await.unwrap();
    let changed = scene.change_set("petra", "anna", "editors").await;
    assert_eq!(reason(changed), Reason::StaffNotChangeable);
    let unknown = scene.change_set("petra", "viewer", "editors").await;
    assert_eq!(reason(unknown), Reason::StaffNotFound);
    let unknown = scene.change_set("petra", "carl", "nothing").await;
    let expected = (
        Reason::UnknownReference,
        Some("permission_set_id".to_owned()),
    );
    assert_eq!(refused(unknown), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_14_a_contractor_is_linked_to_a_further_client_with_a_permission_set() {
    let scene = Scene::new().await;
    let link = scene.create("petra").await.unwrap().link;
    scene.approve("bravo", "sa", &link).await.unwrap();
    let set = change(wire::change::Change::PutPermissionSet("helpers".to_owned()));
    scene.server.apply("bravo", vec![set]).await.unwrap();
    let ask = |person: &str, set: &str| {
        let request = wire::LinkContractorRequest {
            account_id: "kite".to_owned(),
            client_account_id: "bravo".to_owned(),
            actor_user_id: "petra".to_owned(),
            contractor: Some(wire::StaffMember {
                partner_user_id: person.to_owned(),
                user_id: String::new(),
            }),
            permission_set_id: set.to_owned(),
        };
        let mut client = scene.server.partners();
        async move { client.link_contractor(request).await }
    };
    let expected = (Reason::InvalidField, Some("permission_set_id".to_owned()));
    assert_eq!(
        refused(ask("carl", "").await),
        expected,
        "there is no default"
    );
    let expected = (Reason::UnknownReference, Some("partner_user_id".to_owned()));
    for other in ["anna", "nobody"] {
        assert_eq!(refused(ask(other, "helpers").await), expected, "{other}");
    }
    let linked = ask("carl", "helpers").await.unwrap().into_inner();
    let user = scene.user("bravo", &linked.staff.unwrap().user_id).await;
    assert_eq!(user.kind(), wire::UserKind::Contractor);
    assert_eq!(user.permission_sets, ["helpers"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d8_s4_20_employees_are_deactivated_and_reactivated_and_contractors_are_not() {
    let scene = Scene::new().await;
    let contractor = scene.deactivate("petra", "carl").await;
    assert_eq!(reason(contractor), Reason::ContractorNotDeactivatable);
    for own in ["petra"] {
        let refused = scene.deactivate("petra", own).await;
        assert_eq!(reason(refused), Reason::StaffNotChangeable);
    }
    let foreign = scene.deactivate("boss", "anna").await;
    assert_eq!(reason(foreign), Reason::NotPartnerAdmin);
    assert_eq!(scene.deactivate("petra", "anna").await.unwrap(), ["acme"]);
    let denied = scene.check("acme", "anna-k", "contact.view").await;
    assert_eq!(denied, "USER_DEACTIVATED");
    assert_eq!(scene.user("acme", "anna-k").await.grants.len(), 1, "kept");
    // Twice is once.
    assert!(scene.deactivate("petra", "anna").await.unwrap().is_empty());
    let added = scene.add("acme", "petra", &["anna"], "editors").await;
    assert_eq!(reason(added), Reason::StaffDeactivated);
    let request = wire::ReactivateEmployeeRequest {
        account_id: "kite".to_owned(),
        actor_user_id: "petra".to_owned(),
        partner_user_id: "anna".to_owned(),
        client_account_ids: vec!["acme".to_owned()],
    };
    let back = scene.server.partners().reactivate_employee(request).await;
    assert!(back.unwrap().into_inner().clients[0].changed);
    assert_eq!(scene.check("acme", "anna-k", "contact.view").await, "TOOL");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_23_a_super_admin_is_deactivated_only_where_another_active_one_stays() {
    let scene = Scene::new().await;
    let changes = vec![put_user("anna-k", Some(true)), put_user("sa", Some(false))];
    scene.server.apply("acme", changes).await.unwrap();
    let last = scene.deactivate("petra", "anna").await;
    assert_eq!(reason(last), Reason::LastSuperAdmin);
    // The control.
    let own = vec![put_user("sa", Some(true))];
    scene.server.apply("acme", own).await.unwrap();
    assert_eq!(scene.deactivate("petra", "anna").await.unwrap(), ["acme"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_walls_apply_to_partner_admins() {
    let scene = Scene::new().await;
    let contact = change(wire::change::Change::PutResource(wire::ResourcePatch {
        resource_type: "contact".to_owned(),
        id: "walled".to_owned(),
        ..wire::ResourcePatch::default()
    }));
    let wall = change(wire::change::Change::PutAssignment(wire::PutAssignment {
        resource: Some(wire::ResourceRef {
            resource_type: "contact".to_owned(),
            id: "walled".to_owned(),
        }),
        principal: Some(wire::Principal {
            principal: Some(wire::principal::Principal::UserId("u".to_owned())),
        }),
        ..wire::PutAssignment::default()
    }));
    scene
        .server
        .apply("acme", vec![contact, wall])
        .await
        .unwrap();
    for (user, expected) in [("petra-k", "NOT_IN_PARTITION"), ("sa", "SUPER_ADMIN")] {
        let request = wire::CheckRequest {
            account_id: "acme".to_owned(),
            user_id: user.to_owned(),
            action: "view".to_owned(),
            resource_type: "contact".to_owned(),
            resource_id: "walled".to_owned(),
            consistency: fully_consistent(),
            ..wire::CheckRequest::default()
        };
        let answer = scene.server.decisions().check(request).await.unwrap();
        assert_eq!(answer.into_inner().reason, expected, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_what_an_ended_partnership_left_does_not_come_back_through_an_admin_who_lacks_it() {
    let scene = Scene::new().await;
    let given = crate::grpc::server::grant("anna-k", "report", "view", wire::Level::Everything);
    scene.server.apply("acme", vec![given]).await.unwrap();
    let client = ("acme", wire::PartnerSide::Client, "kite");
    end(&scene.server, client, "sa").await.unwrap();
    let link = scene.create("petra").await.unwrap().link;
    scene.approve("acme", "sa", &link).await.unwrap();
    let ended = scene.check("acme", "anna-k", "contact.view").await;
    assert_eq!(ended, "PARTNERSHIP_INACTIVE", "the link was another's");
    let added = scene
        .add("acme", "petra", &["anna"], "editors")
        .await
        .unwrap();
    assert_eq!(added[0].user_id, "anna-k");
    assert_eq!(scene.check("acme", "anna-k", "contact.view").await, "TOOL");
    assert_eq!(
        scene.check("acme", "anna-k", "report.view").await,
        "NO_PERMISSION"
    );
    let nobody = scene.deactivate("petra", "viewer").await;
    assert_eq!(reason(nobody), Reason::StaffNotFound);
}

/// D5: what an agency gave stays when its partner admin loses it, and is listed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_a_set_that_a_partner_admin_gave_is_listed_when_they_hold_it_no_more() {
    let scene = Scene::new().await;
    scene.change_set("petra", "anna", "editors").await.unwrap();
    let user = scene.user("acme", "anna-k").await;
    assert_eq!(user.permission_set_givers["editors"], "petra-k");
    let beyond = async || {
        let request = wire::ListGrantsBeyondCeilingRequest {
            account_id: "acme".to_owned(),
            consistency: fully_consistent(),
            ..wire::ListGrantsBeyondCeilingRequest::default()
        };
        let mut directory = scene.server.directory();
        let listed = directory.list_grants_beyond_ceiling(request).await;
        listed.unwrap().into_inner().grants
    };
    assert_eq!(beyond().await, []);
    let lost = change(wire::change::Change::SetGrants(wire::SetGrants {
        holder: Some(wire::set_grants::Holder::UserId("petra-k".to_owned())),
        resource_type: "email".to_owned(),
        permission: "view".to_owned(),
        provenance: String::new(),
        terms: Vec::new(),
    }));
    scene.server.apply("acme", vec![lost]).await.unwrap();
    let found = beyond().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].granted_by, "petra-k");
    assert_eq!(noted(&[found[0].grant.clone().unwrap()]), ["email.view"]);
    assert_eq!(
        scene.check("acme", "anna-k", "email.view").await,
        "TOOL",
        "it stays"
    );
}
