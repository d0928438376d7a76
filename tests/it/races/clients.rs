//! What an agency does in a client, against what the client does meanwhile: an access link that is
//! approved twice, the end of a partnership, and a removal.

use super::*;
use crate::grpc::reason;
use ambit::grpc::status::Reason;

async fn link(pair: &Pair, actor: &str) -> String {
    let request = wire::CreateAccessLinkRequest {
        account_id: "kite".to_owned(),
        actor_user_id: actor.to_owned(),
    };
    let created = pair.at(0).partners().create_access_link(request).await;
    created.unwrap().into_inner().link
}

async fn approve(
    server: &TestServer,
    actor: &str,
    link: &str,
) -> Result<wire::ApproveAccessLinkResponse, Status> {
    let request = wire::ApproveAccessLinkRequest {
        account_id: "acme".to_owned(),
        link: link.to_owned(),
        actor_user_id: actor.to_owned(),
        ..wire::ApproveAccessLinkRequest::default()
    };
    let approved = server.partners().approve_access_link(request).await?;
    Ok(approved.into_inner())
}

pub async fn end(server: &TestServer) -> Result<wire::EndPartnershipResponse, Status> {
    let request = wire::EndPartnershipRequest {
        account_id: "acme".to_owned(),
        side: wire::PartnerSide::Client.into(),
        other_account_id: "kite".to_owned(),
        actor_user_id: "sa".to_owned(),
    };
    let ended = server.partners().end_partnership(request).await?;
    Ok(ended.into_inner())
}

pub async fn add(server: &TestServer, person: &str, set: &str) -> Result<String, Status> {
    let request = wire::AddStaffRequest {
        account_id: "kite".to_owned(),
        client_account_id: "acme".to_owned(),
        actor_user_id: "petra".to_owned(),
        people: vec![wire::StaffMember {
            partner_user_id: person.to_owned(),
            user_id: format!("{person}-k"),
        }],
        permission_set_id: set.to_owned(),
    };
    let added = server.partners().add_staff(request).await?.into_inner();
    Ok(added.staff[0].user_id.clone())
}

pub async fn preview(server: &TestServer, person: &str) -> Result<String, Status> {
    let request = wire::PreviewRemovalRequest {
        account_id: "kite".to_owned(),
        actor_user_id: "petra".to_owned(),
        partner_user_id: person.to_owned(),
        ..wire::PreviewRemovalRequest::default()
    };
    let previewed = server.partners().preview_removal(request).await?;
    Ok(previewed.into_inner().preview_token)
}

pub async fn remove(
    server: &TestServer,
    person: &str,
    token: String,
) -> Result<wire::CommitRemovalResponse, Status> {
    let request = wire::CommitRemovalRequest {
        account_id: "kite".to_owned(),
        actor_user_id: "petra".to_owned(),
        partner_user_id: person.to_owned(),
        preview_token: token,
        resolution: Some(wire::commit_removal_request::Resolution::Unassign(true)),
        ..wire::CommitRemovalRequest::default()
    };
    let removed = server.partners().commit_removal(request).await?;
    Ok(removed.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_approved_twice_at_once_lets_in_once() {
    let pair = Pair::new().await;
    let mut orders = Orders::default();
    for round in 0..rounds() {
        let link = link(&pair, "petra").await;
        let (one, two) = meet(
            round,
            approve(pair.at(0), "sa", &link),
            approve(pair.at(1), "manager", &link),
        )
        .await;
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.user_id, two.user_id);
        assert!(one.already_approved ^ two.already_approved, "round {round}");
        orders.saw(two.already_approved);
        let users = pair.users("acme").await;
        let of_petra = |user: &&wire::User| {
            let partner = user.partner.as_ref();
            partner.is_some_and(|partner| partner.user == "petra")
        };
        assert_eq!(users.iter().filter(of_petra).count(), 1, "round {round}");
        end(pair.at(round)).await.unwrap();
    }
    orders.settle("a link approved twice");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partnership_that_ends_while_somebody_is_let_in_leaves_nobody_half_in() {
    let pair = Pair::new().await;
    let mut orders = Orders::default();
    for round in 0..rounds() {
        let of_boss = link(&pair, "boss").await;
        let (ended, approved) = meet(
            round,
            end(pair.at(0)),
            approve(pair.at(1), "manager", &of_boss),
        )
        .await;
        ended.unwrap();
        let boss = pair.user("acme", &approved.unwrap().user_id).await;
        // Either the end came later and took them along, or they were let in after it.
        let again = approve(pair.at(0), "sa", &of_boss).await;
        let ended_first = match boss.partner.unwrap().partnership() {
            wire::Partnership::Active => {
                assert!(again.unwrap().already_approved);
                true
            }
            wire::Partnership::Ended => {
                assert_eq!(reason(again), Reason::AccessLinkUsed);
                false
            }
            wire::Partnership::Unspecified => panic!("round {round}"),
        };
        orders.saw(ended_first);
        let of_petra = link(&pair, "petra").await;
        approve(pair.at(round), "sa", &of_petra).await.unwrap();
        let gone = changes("acme", "users: [{id: kite/boss, status: removed}]");
        pair.at(0).apply("acme", gone).await.unwrap();
    }
    orders.settle("the end of a partnership against a link");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partnership_that_ends_while_staff_is_added_leaves_nobody_active() {
    let pair = Pair::new().await;
    let mut orders = Orders::default();
    for round in 0..rounds() {
        let person = ["anna", "bert"][round % 2];
        let (ended, added) = meet(round, end(pair.at(0)), add(pair.at(1), person, "readers")).await;
        ended.unwrap();
        let ended_first = added.is_err();
        if ended_first {
            assert_eq!(reason(added), Reason::NotPartnerAdmin, "round {round}");
        }
        orders.saw(ended_first);
        for user in pair.users("acme").await {
            if let Some(partner) = &user.partner {
                let partnership = partner.partnership();
                assert_eq!(partnership, wire::Partnership::Ended, "{}", user.id);
            }
        }
        // From the commit on the partner admin reaches nothing there, on every server.
        for at in 0..2 {
            let late = add(pair.at(at), person, "readers").await;
            assert_eq!(reason(late), Reason::NotPartnerAdmin, "round {round}");
        }
        let again = "users: [{id: petra-k, partner: {account: kite, user: petra, role: admin}}]";
        pair.operate("acme", again).await;
        if !ended_first {
            let gone = format!("users: [{{id: {person}-k, status: removed}}]");
            pair.operate("acme", &gone).await;
        }
    }
    orders.settle("the end of a partnership against AddStaff");
    pair.stop().await;
}

/// D6: what a person came to own after the preview is seen by the commit, or is refused after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_meets_a_new_resource_leaves_none_to_somebody_who_is_gone() {
    let pair = Pair::new().await;
    let mut orders = Orders::default();
    let own = "resources: [{type: contact, id: new, owners: [anna-k]}]";
    for round in 0..rounds() {
        add(pair.at(0), "anna", "readers").await.unwrap();
        let token = preview(pair.at(round), "anna").await.unwrap();
        let (removed, owned) = meet(
            round,
            remove(pair.at(0), "anna", token),
            pair.at(1).apply("acme", changes("acme", own)),
        )
        .await;
        let anna = pair.user("acme", "anna-k").await;
        let removed_first = removed.is_ok();
        match removed {
            Ok(removed) => {
                assert!(removed.clients[0].done);
                assert_eq!(anna.status(), wire::UserStatus::Removed);
                assert_eq!(reason(owned), Reason::UnknownReference, "round {round}");
            }
            Err(status) => {
                let refused: Result<(), Status> = Err(status);
                assert_eq!(reason(refused), Reason::PreviewStale, "round {round}");
                owned.unwrap();
                assert_eq!(pair.contact("new").await.owners, ["anna-k"]);
                // What is seen now goes.
                let token = preview(pair.at(1), "anna").await.unwrap();
                remove(pair.at(0), "anna", token).await.unwrap();
                assert!(pair.contact("new").await.owners.is_empty());
            }
        }
        orders.saw(removed_first);
        pair.operate("acme", "resources: [{type: contact, id: other}]")
            .await;
        let delete = vec![crate::grpc::server::delete_contact("new")];
        let _there_or_not = pair.at(0).apply("acme", delete).await;
    }
    orders.settle("a removal against a new resource");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_handed_on_before_the_partner_admin_is_demoted_or_not_at_all() {
    let pair = Pair::new().await;
    add(pair.at(0), "anna", "readers").await.unwrap();
    let mut orders = Orders::default();
    for round in 0..rounds() {
        let demoted = change(wire::change::Change::PutUser(wire::UserPatch {
            id: "petra-k".to_owned(),
            partner_admin: Some(false),
            ..wire::UserPatch::default()
        }));
        let request = wire::ChangePermissionSetRequest {
            account_id: "kite".to_owned(),
            client_account_id: "acme".to_owned(),
            actor_user_id: "petra".to_owned(),
            partner_user_id: "anna".to_owned(),
            permission_set_id: "editors".to_owned(),
        };
        let mut partners = pair.at(1).partners();
        let (demoted, changed) = meet(
            round,
            pair.at(0).apply("acme", vec![demoted]),
            partners.change_permission_set(request.clone()),
        )
        .await;
        demoted.unwrap();
        let anna = pair.user("acme", "anna-k").await;
        let demoted_first = changed.is_err();
        match demoted_first {
            true => {
                assert_eq!(reason(changed), Reason::NotPartnerAdmin);
                assert_eq!(anna.permission_sets, ["readers"], "round {round}");
            }
            false => assert_eq!(anna.permission_sets, ["editors"], "round {round}"),
        }
        orders.saw(demoted_first);
        // From the demotion on there is no more of it, on either server.
        for at in 0..2 {
            let mut partners = pair.at(at).partners();
            let late = partners.change_permission_set(request.clone()).await;
            assert_eq!(reason(late), Reason::NotPartnerAdmin);
        }
        pair.operate(
            "acme",
            "users:
              - {id: petra-k, partner_admin: true}
              - {id: anna-k, permission_sets: [readers]}",
        )
        .await;
    }
    orders.settle("ChangePermissionSet against the partner admin's demotion");
    pair.stop().await;
}
