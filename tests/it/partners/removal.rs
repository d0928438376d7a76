//! Taking somebody out of clients: S4.18, S4.20-S4.22, D6, D7.

use super::*;
use crate::grpc::refused;
use crate::grpc::server::{change, put_contact, put_user};

impl Scene {
    pub async fn preview(
        &self,
        actor: &str,
        clients: &[&str],
    ) -> Result<wire::PreviewRemovalResponse, Status> {
        let request = wire::PreviewRemovalRequest {
            account_id: "kite".to_owned(),
            actor_user_id: actor.to_owned(),
            partner_user_id: "anna".to_owned(),
            client_account_ids: clients.iter().map(|id| (*id).to_owned()).collect(),
        };
        let previewed = self.server.partners().preview_removal(request).await?;
        Ok(previewed.into_inner())
    }

    pub fn commit(&self, token: &str) -> wire::CommitRemovalRequest {
        wire::CommitRemovalRequest {
            account_id: "kite".to_owned(),
            actor_user_id: "petra".to_owned(),
            partner_user_id: "anna".to_owned(),
            preview_token: token.to_owned(),
            resolution: Some(wire::commit_removal_request::Resolution::Unassign(true)),
            ..wire::CommitRemovalRequest::default()
        }
    }

    pub async fn removed(
        &self,
        request: wire::CommitRemovalRequest,
    ) -> Result<Vec<(String, bool, String)>, Status> {
        let committed = self.server.partners().commit_removal(request).await?;
        let clients = committed.into_inner().clients.into_iter();
        Ok(clients
            .map(|one| (one.client_account_id, one.done, one.skipped))
            .collect())
    }

    /// As `petra`, of anybody.
    pub async fn preview_of(&self, person: &str, clients: &[&str]) -> wire::PreviewRemovalResponse {
        let request = wire::PreviewRemovalRequest {
            account_id: "kite".to_owned(),
            actor_user_id: "petra".to_owned(),
            partner_user_id: person.to_owned(),
            client_account_ids: clients.iter().map(|id| (*id).to_owned()).collect(),
        };
        let previewed = self.server.partners().preview_removal(request).await;
        previewed.unwrap().into_inner()
    }

    /// As `petra`, with nobody who takes over; the clients that it was done in.
    pub async fn remove(
        &self,
        person: &str,
        clients: &[&str],
        token: &str,
    ) -> Result<Vec<String>, Status> {
        let request = wire::CommitRemovalRequest {
            partner_user_id: person.to_owned(),
            client_account_ids: clients.iter().map(|id| (*id).to_owned()).collect(),
            ..self.commit(token)
        };
        let removed = self.removed(request).await?;
        Ok(removed.into_iter().map(|(client, ..)| client).collect())
    }

    async fn contact(&self, id: &str) -> wire::Resource {
        let request = wire::GetResourceRequest {
            account_id: "acme".to_owned(),
            resource_type: "contact".to_owned(),
            resource_id: id.to_owned(),
            consistency: fully_consistent(),
        };
        let got = self.server.directory().get_resource(request).await.unwrap();
        got.into_inner().resource.unwrap()
    }

    /// `anna` works in acme, bravo and charlie, and owns `owned` of acme, where `mine` is hers alone.
    async fn with_anna_in_all() -> Self {
        let scene = Self::new().await;
        let link = scene.create("petra").await.unwrap().link;
        for client in ["bravo", "charlie"] {
            scene.approve(client, "sa", &link).await.unwrap();
            let set = wire::change::Change::PutPermissionSet("helpers".to_owned());
            scene.server.apply(client, vec![change(set)]).await.unwrap();
            let added = scene.add(client, "petra", &["anna"], "helpers").await;
            added.unwrap();
        }
        let owned = change(wire::change::Change::PutResource(wire::ResourcePatch {
            resource_type: "contact".to_owned(),
            id: "owned".to_owned(),
            owners: Some(wire::IdList {
                ids: vec!["anna-k".to_owned(), "u".to_owned()],
            }),
            ..wire::ResourcePatch::default()
        }));
        let changes = vec![owned, put_contact("mine"), assign("mine", "anna-k")];
        scene.server.apply("acme", changes).await.unwrap();
        scene
    }
}

fn assign(contact: &str, user: &str) -> wire::Change {
    change(wire::change::Change::PutAssignment(wire::PutAssignment {
        resource: Some(wire::ResourceRef {
            resource_type: "contact".to_owned(),
            id: contact.to_owned(),
        }),
        principal: Some(wire::Principal {
            principal: Some(wire::principal::Principal::UserId(user.to_owned())),
        }),
        ..wire::PutAssignment::default()
    }))
}

const ALL: [&str; 3] = ["acme", "bravo", "charlie"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_18_s4_21_all_clients_and_all_that_is_affected_are_reviewed_first() {
    let scene = Scene::with_anna_in_all().await;
    let previewed = scene.preview("petra", &[]).await.unwrap();
    let clients: Vec<&str> = previewed
        .clients
        .iter()
        .map(|one| one.client_account_id.as_str())
        .collect();
    assert_eq!(clients, ALL);
    let acme = &previewed.clients[0];
    assert_eq!(
        (acme.user_id.as_str(), acme.blocker.as_str()),
        ("anna-k", "")
    );
    assert_eq!(acme.owned.len(), 1);
    assert_eq!(
        (acme.owned[0].total, &acme.owned[0].ids[..]),
        (1, &["owned".to_owned()][..])
    );
    assert_eq!((acme.assigned_total, acme.orphans_total), (1, 1));
    assert_eq!(acme.orphans[0].id, "mine");
    // Of one client alone, and by whoever may.
    assert_eq!(
        scene
            .preview("petra", &["bravo"])
            .await
            .unwrap()
            .clients
            .len(),
        1
    );
    let unmanaged = scene.preview("viewer", &[]).await;
    assert_eq!(reason(unmanaged), Reason::NoPartnerManagement);
    let elsewhere = scene.preview("petra", &["nowhere"]).await;
    assert_eq!(reason(elsewhere), Reason::AccountNotFound);
    // Who is no partner admin there is told so, client by client.
    let boss = scene.preview("boss", &[]).await.unwrap();
    assert!(
        boss.clients
            .iter()
            .all(|one| one.blocker == "NOT_PARTNER_ADMIN")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_a_removal_from_all_clients_is_one_and_leaves_a_tombstone() {
    let scene = Scene::with_anna_in_all().await;
    let previewed = scene.preview("petra", &[]).await.unwrap();
    let removed = scene.removed(scene.commit(&previewed.preview_token)).await;
    let done = |client: &&str| ((*client).to_owned(), true, String::new());
    assert_eq!(removed.unwrap(), ALL.iter().map(done).collect::<Vec<_>>());
    for (client, user) in [
        ("acme", "anna-k"),
        ("bravo", "kite/anna"),
        ("charlie", "kite/anna"),
    ] {
        let user = scene.user(client, user).await;
        assert_eq!(user.status(), wire::UserStatus::Removed);
        assert!(user.grants.is_empty() && user.permission_sets.is_empty());
    }
    assert_eq!(scene.contact("owned").await.owners, ["u"]);
    let mine = scene.contact("mine").await;
    assert!(
        mine.partitioned && mine.assigned_to.is_empty(),
        "3.5: it never opens by itself"
    );
    // There is nobody left to remove.
    let again = scene.removed(scene.commit(&previewed.preview_token)).await;
    assert_eq!(reason(again), Reason::PreviewStale);
    let nobody = scene.preview("petra", &[]).await;
    assert_eq!(reason(nobody), Reason::StaffNotFound);
    let records = scene.audited("bravo").await;
    let committed = records.iter().find(|one| one.method == "CommitRemoval");
    assert_eq!(committed.unwrap().actor_user_id, "kite/petra");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_what_changed_since_the_preview_is_stale() {
    let scene = Scene::with_anna_in_all().await;
    let previewed = scene.preview("petra", &[]).await.unwrap();
    let token = previewed.preview_token;
    // Something else of a client doesn't matter to it.
    let other = vec![put_contact("elsewhere")];
    scene.server.apply("acme", other).await.unwrap();
    assert_eq!(
        scene.preview("petra", &[]).await.unwrap().preview_token,
        token
    );
    // A new resource does, and so do another choice of clients, another actor and garbage.
    let fewer = wire::CommitRemovalRequest {
        client_account_ids: vec!["acme".to_owned()],
        ..scene.commit(&token)
    };
    let another = scene.commit("garbage");
    let owned = change(wire::change::Change::PutResource(wire::ResourcePatch {
        resource_type: "contact".to_owned(),
        id: "new".to_owned(),
        owners: Some(wire::IdList {
            ids: vec!["anna-k".to_owned()],
        }),
        ..wire::ResourcePatch::default()
    }));
    for stale in [fewer, another] {
        assert_eq!(reason(scene.removed(stale).await), Reason::PreviewStale);
    }
    scene.server.apply("acme", vec![owned]).await.unwrap();
    let stale = scene.removed(scene.commit(&token)).await;
    assert_eq!(reason(stale), Reason::PreviewStale);
    assert_eq!(
        scene.user("bravo", "kite/anna").await.status(),
        wire::UserStatus::Active
    );
    // The control: previewed again it goes.
    let again = scene.preview("petra", &[]).await.unwrap().preview_token;
    scene.removed(scene.commit(&again)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_22_d7_a_super_admin_blocks_all_of_it_or_is_skipped_when_asked_for() {
    let scene = Scene::with_anna_in_all().await;
    let promoted = vec![put_user("kite/anna", Some(true))];
    scene.server.apply("bravo", promoted).await.unwrap();
    let previewed = scene.preview("petra", &[]).await.unwrap();
    let blockers: Vec<&str> = previewed
        .clients
        .iter()
        .map(|one| one.blocker.as_str())
        .collect();
    assert_eq!(blockers, ["", "SUPER_ADMIN_NOT_REMOVABLE", ""]);
    let token = previewed.preview_token;
    let blocked = scene.removed(scene.commit(&token)).await;
    assert_eq!(reason(blocked), Reason::SuperAdminNotRemovable);
    for (client, user) in [("acme", "anna-k"), ("charlie", "kite/anna")] {
        let status = scene.user(client, user).await.status();
        assert_eq!(status, wire::UserStatus::Active, "{client}: all or nothing");
    }
    let skipping = wire::CommitRemovalRequest {
        skip_blocked: true,
        ..scene.commit(&token)
    };
    let removed = scene.removed(skipping).await.unwrap();
    let told: Vec<(&str, bool, &str)> = removed
        .iter()
        .map(|(client, done, skipped)| (client.as_str(), *done, skipped.as_str()))
        .collect();
    let expected = [
        ("acme", true, ""),
        ("bravo", false, "SUPER_ADMIN_NOT_REMOVABLE"),
        ("charlie", true, ""),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        scene.user("bravo", "kite/anna").await.status(),
        wire::UserStatus::Active
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_what_somebody_owns_goes_to_an_heir_who_is_neither_who_goes_nor_who_asks() {
    let scene = Scene::with_anna_in_all().await;
    let previewed = scene.preview("petra", &["acme"]).await.unwrap();
    let commit = |heir: &str| wire::CommitRemovalRequest {
        client_account_ids: vec!["acme".to_owned()],
        resolution: Some(
            wire::commit_removal_request::Resolution::ReassignToPartnerUserId(heir.to_owned()),
        ),
        ..scene.commit(&previewed.preview_token)
    };
    let field = "reassign_to_partner_user_id".to_owned();
    for wrong in ["anna", "petra", "boss", "nobody"] {
        let answer = scene.removed(commit(wrong)).await;
        let expected = (Reason::InvalidField, Some(field.clone()));
        assert_eq!(refused(answer), expected, "{wrong}");
    }
    let unsaid = wire::CommitRemovalRequest {
        resolution: None,
        ..commit("carl")
    };
    let expected = (Reason::InvalidField, Some("resolution".to_owned()));
    assert_eq!(refused(scene.removed(unsaid).await), expected);
    scene.removed(commit("carl")).await.unwrap();
    assert_eq!(scene.contact("owned").await.owners, ["carl-k", "u"]);
    let mine = scene.contact("mine").await.assigned_to;
    assert_eq!(mine.len(), 1, "no orphan");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_18_s4_20_a_contractor_is_removed_from_chosen_clients_and_stays_in_the_others() {
    let scene = Scene::new().await;
    let link = scene.create("petra").await.unwrap().link;
    for client in ["bravo", "charlie"] {
        scene.approve(client, "sa", &link).await.unwrap();
        let set = wire::change::Change::PutPermissionSet("helpers".to_owned());
        scene.server.apply(client, vec![change(set)]).await.unwrap();
        let added = scene.add(client, "petra", &["carl"], "helpers").await;
        added.unwrap();
    }
    let owned = vec![put_contact("c1"), assign("c1", "carl-k")];
    scene.server.apply("acme", owned).await.unwrap();
    let chosen = ["acme", "charlie"];
    let previewed = scene.preview_of("carl", &chosen).await;
    assert_eq!(previewed.clients.len(), 2);
    assert_eq!(previewed.clients[0].role(), wire::PartnerRole::Contractor);
    assert_eq!(previewed.clients[0].orphans[0].id, "c1");
    let token = previewed.preview_token;
    let removed = scene.remove("carl", &chosen, &token).await.unwrap();
    assert_eq!(removed, chosen);
    for (client, user, expected) in [
        ("acme", "carl-k", wire::UserStatus::Removed),
        ("charlie", "kite/carl", wire::UserStatus::Removed),
        ("bravo", "kite/carl", wire::UserStatus::Active),
    ] {
        assert_eq!(
            scene.user(client, user).await.status(),
            expected,
            "{client}"
        );
    }
    let closed = scene.check("acme", "carl-k", "contact.view").await;
    assert_eq!(closed, "USER_DEACTIVATED");
}
