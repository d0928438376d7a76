//! Clients, employees and contractors: S4.19 and S4.21.

use super::*;

async fn clients(scene: &Scene, person: &str, page_size: u32) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListClientsRequest {
            account_id: "kite".to_owned(),
            actor_user_id: "petra".to_owned(),
            partner_user_id: person.to_owned(),
            page_size,
            page_token,
        };
        let page = scene.server.partners().list_clients(request).await;
        let page = page.unwrap().into_inner();
        let rows = page.memberships.into_iter();
        found.extend(rows.map(|one| (one.client_account_id, one.user_id)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

async fn people(scene: &Scene, contractors: bool, page_size: u32) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let (account_id, actor_user_id) = ("kite".to_owned(), "petra".to_owned());
        let mut partners = scene.server.partners();
        let (page, next) = if contractors {
            let request = wire::ListContractorsRequest {
                account_id,
                actor_user_id,
                page_size,
                page_token,
            };
            let page = partners
                .list_contractors(request)
                .await
                .unwrap()
                .into_inner();
            (page.contractors, page.next_page_token)
        } else {
            let request = wire::ListPartnerEmployeesRequest {
                account_id,
                actor_user_id,
                page_size,
                page_token,
            };
            let page = partners.list_partner_employees(request).await.unwrap();
            let page = page.into_inner();
            (page.employees, page.next_page_token)
        };
        found.extend(page.into_iter().map(|one| (one.user_id, one.clients)));
        page_token = next;
        if page_token.is_empty() {
            return found;
        }
    }
}

fn pairs<T: Copy>(expected: &[(&str, T)]) -> Vec<(String, T)> {
    let of = |(name, value): &(&str, T)| ((*name).to_owned(), *value);
    expected.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_19_employees_are_all_full_time_staff_and_contractors_who_work_on_its_behalf() {
    let scene = Scene::new().await;
    // A contractor whom the agency's account doesn't hold.
    let guest = wire::change::Change::PutUser(wire::UserPatch {
        id: "guest".to_owned(),
        kind: wire::UserKind::Contractor.into(),
        partner: Some(wire::Partner {
            account: "kite".to_owned(),
            user: "dora".to_owned(),
            role: wire::PartnerRole::Contractor.into(),
            partnership: wire::Partnership::Active.into(),
        }),
        ..wire::UserPatch::default()
    });
    let change = crate::grpc::server::change(guest);
    scene.server.apply("bravo", vec![change]).await.unwrap();
    let employees = pairs(&[
        ("anna", 1),
        ("boss", 0),
        ("gone", 0),
        ("petra", 1),
        ("viewer", 0),
    ]);
    let contractors = pairs(&[("carl", 1), ("dora", 1)]);
    for page_size in [0, 1, 2] {
        assert_eq!(people(&scene, false, page_size).await, employees);
        assert_eq!(people(&scene, true, page_size).await, contractors);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_21_all_clients_of_a_person_are_listed() {
    let scene = Scene::new().await;
    let link = scene.create("petra").await.unwrap().link;
    for client in ["bravo", "charlie"] {
        scene.approve(client, "sa", &link).await.unwrap();
    }
    let all = [
        ("acme", "anna-k"),
        ("acme", "carl-k"),
        ("acme", "petra-k"),
        ("bravo", "kite/petra"),
        ("charlie", "kite/petra"),
    ];
    let named = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
        let of = |(client, user): &(&str, &str)| ((*client).to_owned(), (*user).to_owned());
        rows.iter().map(of).collect()
    };
    for page_size in [0, 1, 2] {
        assert_eq!(clients(&scene, "", page_size).await, named(&all));
        assert_eq!(clients(&scene, "petra", page_size).await, named(&all[2..]));
        assert_eq!(clients(&scene, "nobody", page_size).await, []);
    }
    // S4.2.
    let request = wire::ListClientsRequest {
        account_id: "kite".to_owned(),
        actor_user_id: "anna".to_owned(),
        ..wire::ListClientsRequest::default()
    };
    let refused = scene.server.partners().list_clients(request).await;
    assert_eq!(reason(refused), Reason::NoPartnerManagement);
}
