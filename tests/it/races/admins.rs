//! Admins against admins: two last super admins at once (S4.23, S4.27, D9, D10), and rights that are
//! handed on against the loss of the right to do so (D5).

use super::*;
use crate::access_requests::scene::{approval, direct_grant, export};
use crate::grpc::reason;
use ambit::grpc::status::Reason;

/// `x1` and `x2` of the agency are the only active super admins of `duo`.
const DUO: &str = "
account: duo
catalog: hubspot
plan: enterprise
users:
  - {id: x1, super_admin: true, kind: partner_employee, partner: {account: kite, user: anna, role: employee}}
  - {id: x2, super_admin: true, kind: partner_employee, partner: {account: kite, user: bert, role: employee}}
";

const AGAIN: &str = "users:
  - {id: x1, status: active, super_admin: true, partner_admin: false, partner: {account: kite, user: anna, role: employee}}
  - {id: x2, status: active, super_admin: true, partner_admin: false, partner: {account: kite, user: bert, role: employee}}
";

/// What a super admin does about the other one, or about themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Demote,
    Deactivate,
    Remove,
    Delete,
    Migrate,
}

const MOVES: [Move; 5] = [
    Move::Migrate,
    Move::Deactivate,
    Move::Demote,
    Move::Remove,
    Move::Delete,
];

async fn make(server: &TestServer, what: Move, actor: &str, other: &str) -> Result<(), Status> {
    let text = match what {
        Move::Demote => format!("users: [{{id: {other}, super_admin: false}}]"),
        Move::Deactivate => format!("users: [{{id: {other}, status: deactivated}}]"),
        Move::Remove => format!("users: [{{id: {other}, status: removed}}]"),
        Move::Delete => {
            let delete = wire::change::Change::DeleteUser(other.to_owned());
            return apply_as(server, "duo", actor, vec![change(delete)])
                .await
                .map(drop);
        }
        Move::Migrate => {
            let request = wire::MigrateToPartnerAdminRequest {
                account_id: "duo".to_owned(),
                actor_user_id: actor.to_owned(),
                user_id: actor.to_owned(),
                keep_billing: true,
            };
            let mut partners = server.partners();
            return partners.migrate_to_partner_admin(request).await.map(drop);
        }
    };
    apply_as(server, "duo", actor, changes("duo", &text))
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_of_two_last_super_admins_who_take_each_other_away_exactly_one_stays() {
    let pair = Pair::new().await;
    for document in parse_file(DUO, &mut |_| Err(String::new())).unwrap() {
        pair.at(0).write(vec![document]).await;
    }
    let mut orders = Orders::default();
    for round in 0..rounds() {
        // Like against like first, then each against each.
        let (first, second) = match round {
            0..5 => (MOVES[round], MOVES[round]),
            _ => (MOVES[round % 5], MOVES[round / 5 % 5]),
        };
        let (one, two) = meet(
            round,
            make(pair.at(0), first, "x1", "x2"),
            make(pair.at(1), second, "x2", "x1"),
        )
        .await;
        let told = format!("round {round}: {first:?} {one:?}, {second:?} {two:?}");
        let users = pair.users("duo").await;
        let is_standing =
            |user: &&wire::User| user.super_admin && user.status() == wire::UserStatus::Active;
        let standing: Vec<&str> = users
            .iter()
            .filter(is_standing)
            .map(|user| user.id.as_str())
            .collect();
        assert_eq!(standing.len(), 1, "{told}");
        // Who has migrated is a partner admin, and may still be taken away by the other one.
        let migrates = first == Move::Migrate || second == Move::Migrate;
        match migrates && first != second {
            true => assert!(one.is_ok() || two.is_ok(), "{told}"),
            false => assert!(one.is_ok() ^ two.is_ok(), "{told}"),
        }
        orders.saw(standing == ["x1"]);
        for lost in [one, two].into_iter().filter(Result::is_err) {
            let why = reason(lost);
            assert!(
                matches!(
                    why,
                    Reason::LastSuperAdmin
                        | Reason::ActorMayNot
                        | Reason::NotSuperAdmin
                        | Reason::ProtectedUser
                        | Reason::UnknownReference
                ),
                "{why:?} {told}"
            );
        }
        pair.operate("duo", AGAIN).await;
    }
    orders.settle("two last super admins");
    pair.stop().await;
}

/// The same inside an account: who loses user management hands on nothing from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_a_change_of_permissions_comes_before_the_admins_demotion_or_not_at_all() {
    let pair = Pair::new().await;
    let mut orders = Orders::default();
    let handed_on = "users: [{id: u, grants: {contact.view: everything}}]";
    for round in 0..rounds() {
        let (demoted, changed) = meet(
            round,
            pair.at(0).apply("acme", revoked("user_management.edit")),
            apply_as(pair.at(1), "acme", "manager", changes("acme", handed_on)),
        )
        .await;
        demoted.unwrap();
        let demoted_first = changed.is_err();
        if demoted_first {
            assert_eq!(reason(changed), Reason::ActorMayNot, "round {round}");
        }
        let held = level_of(&pair, "u", "view").await;
        let expected = match demoted_first {
            true => wire::Level::Owned,
            false => wire::Level::Everything,
        };
        assert_eq!(held, expected, "round {round}");
        orders.saw(demoted_first);
        for at in 0..2 {
            let late = apply_as(pair.at(at), "acme", "manager", changes("acme", handed_on));
            assert_eq!(reason(late.await), Reason::ActorMayNot, "round {round}");
        }
        let again = "users:
          - {id: manager, grants: {user_management.edit: everything}}
          - {id: u, grants: {contact.view: owned}}";
        pair.operate("acme", again).await;
    }
    orders.settle("a change of permissions against the admin's demotion");
    pair.stop().await;
}

/// Case 37: an approver who loses what they would give, between the look and the click, gives none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_37_an_approval_gives_what_the_approver_holds_when_it_is_committed() {
    let pair = Pair::new().await;
    let give = |text: &str| format!("users: [{{id: manager, grants: {{{text}}}}}]");
    pair.operate("acme", &give("contact.export: everything"))
        .await;
    let mut orders = Orders::default();
    for round in 0..rounds() {
        let user = format!("u{round}");
        pair.operate(
            "acme",
            &format!("users: [{{id: {user}, grants: {{contact.view: owned}}}}]"),
        )
        .await;
        let asked = pair.at(0).filed(export(&user)).await;
        let resolution = direct_grant("export", wire::Level::Owned);
        let approved = pair.at(1).approve(approval(&asked, "manager", resolution));
        let lost = pair.at(0).apply("acme", revoked("contact.export"));
        let (lost, approved) = meet(round, lost, approved).await;
        lost.unwrap();
        let lost_first = approved.is_err();
        let state = pair.at(round).state(&asked).await;
        let held = level_of(&pair, &user, "export").await;
        match lost_first {
            true => {
                assert_eq!(reason(approved), Reason::BeyondOwnRights, "round {round}");
                assert_eq!(state, wire::AccessRequestState::Pending);
                assert_eq!(held, wire::Level::None, "round {round}");
            }
            false => {
                assert_eq!(state, wire::AccessRequestState::Approved);
                assert_eq!(held, wire::Level::Owned, "round {round}");
            }
        }
        orders.saw(lost_first);
        pair.operate("acme", &give("contact.export: everything"))
            .await;
        let gone = change(wire::change::Change::DeleteUser(user));
        pair.at(0).apply("acme", vec![gone]).await.unwrap();
    }
    orders.settle("an approval against the approver's loss");
    pair.stop().await;
}

/// Takes a permission from `manager`.
fn revoked(permission: &str) -> Vec<wire::Change> {
    let (resource_type, permission) = permission.rsplit_once('.').unwrap();
    vec![change(wire::change::Change::SetGrants(wire::SetGrants {
        holder: Some(wire::set_grants::Holder::UserId("manager".to_owned())),
        resource_type: resource_type.to_owned(),
        permission: permission.to_owned(),
        provenance: String::new(),
        terms: Vec::new(),
    }))]
}

async fn level_of(pair: &Pair, user: &str, permission: &str) -> wire::Level {
    let grants = pair.user("acme", user).await.grants;
    let of =
        |grant: &&wire::Grant| grant.resource_type == "contact" && grant.permission == permission;
    let terms = grants
        .iter()
        .find(of)
        .and_then(|grant| grant.terms.as_ref());
    terms.map_or(wire::Level::None, wire::GrantTerms::level)
}
