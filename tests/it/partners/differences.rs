//! What a client's super admins and an agency's partner admins may do apart and alike: S4.7-S4.12, and
//! what no partner admin does (S4.28).

use super::*;
use crate::grpc::server::{change, grant, put_user};
use wire::{Level, change::Change};

impl Scene {
    /// The reason codes of one check for several users of `acme`.
    async fn reasons<const N: usize>(&self, users: [&str; N], action: &str) -> [String; N] {
        let mut told = users.map(str::to_owned);
        for user in &mut told {
            *user = self.check("acme", user, action).await;
        }
        told
    }

    /// What `user` of `acme` writes there, judged by their rights.
    async fn write_as(&self, user: &str, changes: Vec<wire::Change>) -> Result<(), Status> {
        let message = wire::ApplyChangesRequest {
            account_id: "acme".to_owned(),
            actor_user_id: user.to_owned(),
            changes,
            ..wire::ApplyChangesRequest::default()
        };
        self.server.send(vec![message]).await.map(drop)
    }
}

fn seated(user: &str, seats: &[&str]) -> wire::Change {
    change(Change::PutUser(wire::UserPatch {
        id: user.to_owned(),
        seats: Some(wire::IdList {
            ids: seats.iter().map(|seat| (*seat).to_owned()).collect(),
        }),
        ..wire::UserPatch::default()
    }))
}

fn given(user: &str, permission: &str) -> wire::Change {
    let (resource_type, action) = permission.rsplit_once('.').unwrap();
    grant(user, resource_type, action, Level::Everything)
}

/// A super admin, a partner admin, an employee and a user of the client.
const FOUR: [&str; 4] = ["sa", "petra-k", "anna-k", "u"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_7_partner_staff_is_managed_by_partner_admins_and_not_by_super_admins() {
    let scene = Scene::new().await;
    let told = scene.reasons(FOUR, "partner_staff.manage").await;
    let expected = ["RESERVED", "RESERVED_HOLDER", "RESERVED", "RESERVED"];
    assert_eq!(told, expected);
    // No grant of the client makes somebody one.
    let own = vec![given("u", "partner_staff.manage")];
    let granted = scene.server.apply("acme", own).await;
    let told = scene.check("acme", "u", "partner_staff.manage").await;
    assert_eq!(told, "RESERVED", "{granted:?}");
    // And so it is where something is done: `sa` is nobody of the agency's.
    let added = scene.add("acme", "sa", &["viewer"], "editors").await;
    assert_eq!(reason(added), Reason::NoPartnerManagement);
    scene
        .add("acme", "petra", &["viewer"], "editors")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_8_elevated_account_access_is_for_both() {
    let scene = Scene::new().await;
    let told = scene.reasons(FOUR, "elevated_access.use").await;
    let expected = ["RESERVED_HOLDER", "RESERVED_HOLDER", "RESERVED", "RESERVED"];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_9_payment_connections_are_made_by_both() {
    let scene = Scene::new().await;
    let told = scene.reasons(FOUR, "payment_connection.edit").await;
    let expected = ["RESERVED_HOLDER", "RESERVED_HOLDER", "RESERVED", "RESERVED"];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_10_payment_tools_are_for_super_admins_and_for_no_partner_user() {
    let scene = Scene::new().await;
    let tools = "payment_tools.use";
    let told = scene.reasons(FOUR, tools).await;
    let expected = [
        "RESERVED_HOLDER",
        "PARTNER_FORBIDDEN",
        "PARTNER_FORBIDDEN",
        "RESERVED",
    ];
    assert_eq!(told, expected);
    // Whatever the client grants; the control is a user of its own.
    let all = ["petra-k", "anna-k", "u"].map(|user| given(user, tools));
    scene.server.apply("acme", all.to_vec()).await.unwrap();
    let told = scene.reasons(FOUR, tools).await;
    let expected = [
        "RESERVED_HOLDER",
        "PARTNER_FORBIDDEN",
        "PARTNER_FORBIDDEN",
        "RESERVED_HOLDER",
    ];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_11_billing_is_a_partner_admins_by_the_clients_explicit_grant_alone() {
    let scene = Scene::new().await;
    let billing = "account.billing.view";
    let told = scene.reasons(FOUR, billing).await;
    let expected = ["RESERVED_HOLDER", "RESERVED", "RESERVED", "RESERVED"];
    assert_eq!(told, expected);
    // Nobody takes it for themselves.
    let own = scene.write_as("petra-k", vec![given("petra-k", billing)]);
    assert_eq!(reason(own.await), Reason::OwnRights);
    let granted = scene.write_as("sa", vec![given("petra-k", billing)]);
    granted.await.unwrap();
    let told = scene.check("acme", "petra-k", billing).await;
    assert_eq!(told, "RESERVED_HOLDER");
    // D3: and what the client gave to one is not handed on by them.
    let set = change(Change::PutPermissionSet("bookkeepers".to_owned()));
    let held = Change::SetGrants(wire::SetGrants {
        holder: Some(wire::set_grants::Holder::PermissionSetId(
            "bookkeepers".to_owned(),
        )),
        resource_type: "account.billing".to_owned(),
        permission: "view".to_owned(),
        provenance: String::new(),
        terms: vec![wire::GrantTerms {
            level: Level::Everything.into(),
            ..wire::GrantTerms::default()
        }],
    });
    let set = vec![set, change(held)];
    scene.server.apply("acme", set).await.unwrap();
    let added = scene.add("acme", "petra", &["boss"], "bookkeepers").await;
    assert_eq!(added.unwrap()[0].withheld.len(), 1);
    let told = scene.check("acme", "kite/boss", billing).await;
    assert_eq!(told, "RESERVED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_12_paid_features_take_a_super_admin_a_seat_and_a_partner_admin_none() {
    let scene = Scene::new().await;
    let playbook = "playbook.view";
    let granted = ["petra-k", "u"].map(|user| given(user, playbook));
    scene.server.apply("acme", granted.to_vec()).await.unwrap();
    let three = ["sa", "petra-k", "u"];
    let told = scene.reasons(three, playbook).await;
    assert_eq!(told, ["SEAT_REQUIRED", "TOOL", "SEAT_REQUIRED"]);
    // The controls: a super admin with the seat, and a partner admin without that of partners.
    for (user, seats) in [("sa", &["sales"] as &[&str]), ("petra-k", &[])] {
        let seats = vec![seated(user, seats)];
        scene.server.apply("acme", seats).await.unwrap();
    }
    let told = scene.reasons(three, playbook).await;
    assert_eq!(told, ["SUPER_ADMIN", "SEAT_REQUIRED", "SEAT_REQUIRED"]);
    // S4.28: the seat comes first, and comes with the link and with what the admin does.
    let link = scene.create("petra").await.unwrap().link;
    scene.approve("acme", "sa", &link).await.unwrap();
    let told = scene.check("acme", "petra-k", playbook).await;
    assert_eq!(told, "TOOL");
    let added = scene.add("acme", "petra", &["viewer"], "editors").await;
    let viewer = scene.user("acme", &added.unwrap()[0].user_id).await;
    assert_eq!(viewer.seats, ["partner"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_28_partner_admins_add_no_super_admins_and_no_partner_admins() {
    let scene = Scene::new().await;
    let partner_admin = |id: &str| {
        change(Change::PutUser(wire::UserPatch {
            id: id.to_owned(),
            partner_admin: Some(true),
            ..wire::UserPatch::default()
        }))
    };
    // `petra-k` may edit users of the client, and raises neither those who are there nor new ones.
    for (raised, expected) in [
        (put_user("u", Some(true)), Reason::ReservedChange),
        (put_user("anna-k", Some(true)), Reason::ReservedChange),
        (partner_admin("anna-k"), Reason::ReservedChange),
        // Whatever they are to be, she makes no users of the client's own.
        (put_user("new", Some(true)), Reason::ActorMayNot),
        (partner_admin("new"), Reason::ActorMayNot),
    ] {
        let refused = scene.write_as("petra-k", vec![raised.clone()]).await;
        assert_eq!(reason(refused), expected, "{raised:?}");
    }
    // The control: what `petra-k` may write, and who may write what she may not.
    let plain = vec![given("anna-k", "contact.edit")];
    scene.write_as("petra-k", plain).await.unwrap();
    let raised = vec![put_user("u", Some(true))];
    scene.write_as("sa", raised).await.unwrap();
    // What she adds is a super admin in no case, whichever set.
    for set in ["editors", "analysts", "readers"] {
        let added = scene.add("acme", "petra", &["viewer"], set).await.unwrap();
        let user = scene.user("acme", &added[0].user_id).await;
        assert!(!user.super_admin && !user.partner_admin, "{set}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_28_partner_admins_change_and_remove_no_super_admins_by_any_way() {
    let scene = Scene::new().await;
    let promoted = vec![put_user("anna-k", Some(true))];
    scene.server.apply("acme", promoted).await.unwrap();
    let delete = |id: &str| change(Change::DeleteUser(id.to_owned()));
    for (taken, expected) in [
        (delete("sa"), Reason::ProtectedUser),
        (delete("anna-k"), Reason::ProtectedUser),
        (put_user("sa", Some(false)), Reason::ProtectedUser),
        (put_user("anna-k", Some(false)), Reason::ProtectedUser),
        (given("anna-k", "contact.edit"), Reason::ProtectedUser),
    ] {
        let refused = scene.write_as("petra-k", vec![taken.clone()]).await;
        assert_eq!(reason(refused), expected, "{taken:?}");
    }
    let added = scene.add("acme", "petra", &["anna"], "readers").await;
    assert_eq!(reason(added), Reason::StaffNotChangeable);
    let changed = scene.change_set("petra", "anna", "readers").await;
    assert_eq!(reason(changed), Reason::StaffNotChangeable);
    let previewed = scene.preview_of("anna", &["acme"]).await;
    assert_eq!(previewed.clients[0].blocker, "SUPER_ADMIN_NOT_REMOVABLE");
    let removed = scene.remove("anna", &["acme"], &previewed.preview_token);
    assert_eq!(reason(removed.await), Reason::SuperAdminNotRemovable);
    for user in ["sa", "anna-k"] {
        assert!(scene.user("acme", user).await.super_admin, "{user}");
    }
    // The control: who is none goes.
    let plain = vec![put_user("anna-k", Some(false))];
    scene.server.apply("acme", plain).await.unwrap();
    let token = scene.preview_of("anna", &["acme"]).await.preview_token;
    scene.remove("anna", &["acme"], &token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_28_sensitive_data_is_for_no_partner_user_whatever_the_client_grants() {
    let scene = Scene::new().await;
    let sensitive = "sensitive_property.view";
    let all = ["petra-k", "anna-k", "u"].map(|user| given(user, sensitive));
    scene.server.apply("acme", all.to_vec()).await.unwrap();
    let told = scene.reasons(FOUR, sensitive).await;
    let expected = [
        "RESERVED_HOLDER",
        "PARTNER_FORBIDDEN",
        "PARTNER_FORBIDDEN",
        "RESERVED_HOLDER",
    ];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_28_a_client_extends_and_reduces_what_one_partner_admin_has() {
    let scene = Scene::new().await;
    let withheld = async |person: &str| {
        let added = scene.add("acme", "petra", &[person], "analysts").await;
        added.unwrap()[0].withheld.len()
    };
    assert_eq!(withheld("viewer").await, 2);
    // Extended: what the client gives this one is what this one hands on.
    let more = ["report.view", "report.export"].map(|right| given("petra-k", right));
    scene.write_as("sa", more.to_vec()).await.unwrap();
    let told = scene.check("acme", "petra-k", "report.view").await;
    assert_eq!(told, "TOOL");
    assert_eq!(withheld("viewer").await, 0);
    // Reduced: what the client takes is handed on no more.
    let less = grant("petra-k", "report", "export", Level::None);
    scene.write_as("sa", vec![less]).await.unwrap();
    assert_eq!(withheld("boss").await, 1);
    // And it is of this one alone: a second partner admin begins with nothing of it.
    let link = scene.create("boss").await.unwrap().link;
    scene.approve("acme", "sa", &link).await.unwrap();
    let told = scene.check("acme", "kite/boss", "report.export").await;
    assert_eq!(told, "NO_PERMISSION");
}
