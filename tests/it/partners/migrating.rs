//! From super admin to partner admin: S4.24-S4.27, D10.

use super::*;
use crate::grpc::server::put_user;

impl Scene {
    pub async fn migrate(&self, actor: &str, user: &str, keep_billing: bool) -> Result<(), Status> {
        let request = wire::MigrateToPartnerAdminRequest {
            account_id: "acme".to_owned(),
            actor_user_id: actor.to_owned(),
            user_id: user.to_owned(),
            keep_billing,
        };
        let mut partners = self.server.partners();
        partners.migrate_to_partner_admin(request).await.map(drop)
    }

    /// With `anna-k` as a super admin beside `sa`.
    async fn with_two() -> Self {
        let scene = Self::new().await;
        let promoted = vec![put_user("anna-k", Some(true))];
        scene.server.apply("acme", promoted).await.unwrap();
        scene
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_24_s4_25_a_super_admin_becomes_partner_admin_and_keeps_billing_if_asked() {
    for keep_billing in [true, false] {
        let scene = Scene::with_two().await;
        assert_eq!(
            scene.check("acme", "anna-k", "payment_tools.use").await,
            "RESERVED_HOLDER"
        );
        let billing = crate::grpc::server::grant(
            "anna-k",
            "account.billing",
            "view",
            wire::Level::Everything,
        );
        scene.server.apply("acme", vec![billing]).await.unwrap();
        scene
            .migrate("anna-k", "anna-k", keep_billing)
            .await
            .unwrap();
        let user = scene.user("acme", "anna-k").await;
        assert!(user.partner_admin && !user.super_admin);
        assert_eq!(user.partner.unwrap().role(), wire::PartnerRole::Admin);
        assert_eq!(user.seats, ["partner"]);
        for action in ["account.billing.view", "account.billing.edit"] {
            let held = check_billing(&scene, action).await;
            assert_eq!(held == "RESERVED_HOLDER", keep_billing, "{action}: {held}");
        }
        // Payment tools are lost either way.
        let tools = scene.check("acme", "anna-k", "payment_tools.use").await;
        assert_eq!(tools, "PARTNER_FORBIDDEN");
        let manage = scene.check("acme", "anna-k", "partner_staff.manage").await;
        assert_eq!(manage, "RESERVED_HOLDER");
    }
}

async fn check_billing(scene: &Scene, action: &str) -> String {
    let (resource_type, action) = action.rsplit_once('.').unwrap();
    let request = wire::CheckRequest {
        account_id: "acme".to_owned(),
        user_id: "anna-k".to_owned(),
        action: action.to_owned(),
        resource_type: resource_type.to_owned(),
        consistency: fully_consistent(),
        ..wire::CheckRequest::default()
    };
    let answer = scene.server.decisions().check(request).await.unwrap();
    answer.into_inner().reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_26_only_oneself_migrates_and_only_a_super_admin_of_a_partner() {
    let scene = Scene::with_two().await;
    let other = scene.migrate("sa", "anna-k", true).await;
    assert_eq!(reason(other), Reason::SelfOnly);
    let none = scene.migrate("petra-k", "petra-k", true).await;
    assert_eq!(reason(none), Reason::NotSuperAdmin);
    // S4.3: the client's own super admin is of no agency.
    let own = scene.migrate("sa", "sa", true).await;
    assert_eq!(reason(own), Reason::NotAPartner);
    let heron = vec![put_user("other-agency", Some(true))];
    scene.server.apply("acme", heron).await.unwrap();
    let unknown = scene.migrate("other-agency", "other-agency", true).await;
    assert_eq!(reason(unknown), Reason::NotAPartner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_27_the_last_super_admin_does_not_migrate() {
    let scene = Scene::with_two().await;
    let demoted = vec![put_user("sa", Some(false))];
    scene.server.apply("acme", demoted).await.unwrap();
    let last = scene.migrate("anna-k", "anna-k", true).await;
    assert_eq!(reason(last), Reason::LastSuperAdmin);
    assert!(scene.user("acme", "anna-k").await.super_admin);
}
