//! What agencies have in several accounts: links, who works where, and writes of several accounts in
//! one transaction.

use super::audit::{assert_one_each, records};
use super::*;
use ambit::callers::SecretHash;
use ambit::store::audit::AuditEffect;
use ambit::store::partners::{
    AccessLink, Counted, LinkApproval, LinkEvent, LinkStep, PartnerStore, PartnerUserFilter,
};

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        partner_clause("accounts are written together or not at all", together),
        partner_clause("writes across accounts never wait in a circle", crossing),
        partner_clause(
            "a link is approved once a client, and never when revoked",
            links,
        ),
        partner_clause("links go with the account and take no revision", gone),
        partner_clause("an agency's people are found in all clients", people),
    ]
}

fn partner_clause<Run, Running>(name: &'static str, test: Run) -> Clause
where
    Run: Fn(Arc<dyn Store>, Arc<dyn PartnerStore>) -> Running + 'static,
    Running: Future<Output = ()> + 'static,
{
    Clause {
        name,
        run: Box::new(move |fresh| Box::pin(test(fresh.store.clone(), fresh.partners.clone()))),
    }
}

fn at(second: u32) -> Timestamp {
    time(&format!("2026-11-30T13:00:{second:02}.000001Z"))
}

fn author() -> Author {
    Author::named("token:crm", "ApproveAccessLink")
}

fn write<'a>(
    account: &'a Id,
    expected: Option<Head>,
    changes: &'a [EntityChange],
    author: &'a Author,
) -> Write<'a> {
    Write {
        account,
        expected,
        changes,
        events: &[],
        batch: None,
        idempotency: None,
        author,
    }
}

async fn make(store: &dyn Store, names: &[&str]) {
    for name in names {
        let put = EntityChange::Put(Entity::Account(account(name)));
        apply(store, name, &[put]).await;
    }
}

async fn head(store: &dyn Store, name: &str) -> Option<Head> {
    store.head(&id(name)).await.unwrap()
}

async fn together(store: Arc<dyn Store>, partners: Arc<dyn PartnerStore>) {
    make(store.as_ref(), &["zeta", "acme", "mid"]).await;
    let (zeta, acme, mid) = (id("zeta"), id("acme"), id("mid"));
    let author = author();
    let before = (head(&*store, "zeta").await, head(&*store, "acme").await);
    let (first, second) = ([user("u")], [user("v"), user("w")]);
    let writes = [
        write(&zeta, before.0, &first, &author),
        write(&acme, before.1, &second, &author),
        write(&mid, head(&*store, "mid").await, &[], &author),
    ];
    let heads = partners.apply_across(&writes, None, &[]).await.unwrap();
    // In the order of the writes, each account at its own next revision; what changed nothing stays.
    let revisions: Vec<u64> = heads.iter().map(|head| head.revision).collect();
    assert_eq!(revisions, [2, 2, 1]);
    for (name, written) in [("zeta", 0), ("acme", 1), ("mid", 2)] {
        assert_eq!(head(&*store, name).await, Some(heads[written]), "{name}");
    }
    let audited = records(&*store).await;
    assert_one_each(&audited, 2);
    assert_eq!(audited[1].caller.as_deref(), Some("token:crm"));
    assert_eq!(audited[1].counts.get("user"), Some(&2));

    // One that moved meanwhile keeps all of them from being written.
    let third = [user("x")];
    let stale = [
        write(&acme, Some(heads[1]), &third, &author),
        write(&zeta, before.0, &third, &author),
    ];
    let refused = partners.apply_across(&stale, None, &[]).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    // So does a rule that one of them breaks.
    let dangling = EntityChange::Put(Entity::User(User {
        main_team: Some(id("nowhere")),
        ..User::new(id("y"))
    }));
    let broken = [dangling];
    let writes = [
        write(&acme, Some(heads[1]), &third, &author),
        write(&zeta, Some(heads[0]), &broken, &author),
    ];
    let refused = partners.apply_across(&writes, None, &[]).await;
    assert!(
        matches!(refused, Err(StoreError::Constraint { .. })),
        "{refused:?}"
    );
    let twice = [
        write(&acme, Some(heads[1]), &third, &author),
        write(&acme, Some(heads[1]), &[], &author),
    ];
    let refused = partners.apply_across(&twice, None, &[]).await;
    assert!(
        matches!(refused, Err(StoreError::Constraint { .. })),
        "{refused:?}"
    );
    assert_eq!(head(&*store, "acme").await, Some(heads[1]));
    assert_eq!(head(&*store, "zeta").await, Some(heads[0]));
}

async fn crossing(store: Arc<dyn Store>, partners: Arc<dyn PartnerStore>) {
    const ROUNDS: usize = 20;
    make(store.as_ref(), &["acme", "zeta"]).await;
    let mut writers = Vec::new();
    for number in 0..4 {
        let (store, partners) = (store.clone(), partners.clone());
        writers.push(tokio::spawn(async move {
            let author = author();
            let (acme, zeta) = (id("acme"), id("zeta"));
            let mut made = 0;
            while made < ROUNDS {
                let changes = [user(&format!("u{number}-{made}"))];
                let mut writes = vec![
                    write(&acme, head(&*store, "acme").await, &changes, &author),
                    write(&zeta, head(&*store, "zeta").await, &changes, &author),
                ];
                // Half of them name the accounts the other way round.
                if number % 2 == 0 {
                    writes.reverse();
                }
                match partners.apply_across(&writes, None, &[]).await {
                    Ok(_) => made += 1,
                    Err(StoreError::Conflict) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for name in ["acme", "zeta"] {
        let revision = head(&*store, name).await.unwrap().revision;
        assert_eq!(revision, 1 + 4 * ROUNDS as u64, "{name}");
    }
}

fn link(name: &str) -> AccessLink {
    AccessLink {
        id: id(name),
        user: id("petra"),
        secret: SecretHash::new([7; 32]),
        issued_at: at(1),
        expires_at: at(30),
        revoked_at: None,
    }
}

fn step(event: LinkEvent) -> LinkStep {
    LinkStep {
        account: id("acme"),
        event,
    }
}

fn approval(link: &str, client: &str) -> LinkApproval {
    LinkApproval {
        link: id(link),
        client: id(client),
        user: id("acme/petra"),
        approved_by: id("sa"),
        approved_at: at(2),
    }
}

/// Of the agency alone.
async fn note(
    store: &dyn Store,
    partners: &dyn PartnerStore,
    event: LinkEvent,
) -> Result<(), StoreError> {
    let author = author();
    let acme = id("acme");
    let writes = [write(&acme, head(store, "acme").await, &[], &author)];
    let written = partners
        .apply_across(&writes, Some(&step(event)), &[])
        .await;
    written.map(drop)
}

async fn links(store: Arc<dyn Store>, partners: Arc<dyn PartnerStore>) {
    let (store, partners) = (&*store, &*partners);
    make(store, &["acme", "bravo"]).await;
    for name in ["l2", "l1"] {
        let issued = LinkEvent::Issued(link(name));
        note(store, partners, issued).await.unwrap();
    }
    let acme = id("acme");
    let kept = partners.access_link(&acme, &id("l1")).await.unwrap();
    let kept = kept.unwrap();
    assert_eq!((kept.user, kept.expires_at), (id("petra"), at(30)));
    assert!(kept.secret.matches(&SecretHash::new([7; 32])));
    assert!(!kept.secret.matches(&SecretHash::new([8; 32])));
    let absent = partners.access_link(&id("bravo"), &id("l1")).await;
    assert!(absent.unwrap().is_none());

    let approved = || LinkEvent::Approved(approval("l1", "bravo"));
    note(store, partners, approved()).await.unwrap();
    let again = note(store, partners, approved()).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
    let found = partners.link_approval(&acme, &id("l1"), &id("bravo")).await;
    assert_eq!(found.unwrap(), Some(approval("l1", "bravo")));
    let other = partners.link_approval(&acme, &id("l2"), &id("bravo")).await;
    assert_eq!(other.unwrap(), None);

    let revoked = |name: &str| LinkEvent::Revoked {
        link: id(name),
        at: at(9),
    };
    note(store, partners, revoked("l1")).await.unwrap();
    for event in [
        revoked("l1"),
        revoked("l9"),
        LinkEvent::Approved(approval("l1", "charlie")),
        LinkEvent::Approved(approval("l9", "charlie")),
    ] {
        let refused = note(store, partners, event.clone()).await;
        assert!(
            matches!(refused, Err(StoreError::Conflict)),
            "{event:?}: {refused:?}"
        );
    }
    let listed = partners.access_links(&acme, None, None, 10).await.unwrap();
    let told: Vec<(&str, u64, Option<Timestamp>)> = listed
        .iter()
        .map(|one| (one.link.id.as_str(), one.approvals, one.link.revoked_at))
        .collect();
    assert_eq!(told, [("l1", 1, Some(at(9))), ("l2", 0, None)]);
    let page = partners
        .access_links(&acme, None, Some(&id("l1")), 10)
        .await;
    assert_eq!(page.unwrap().len(), 1);
}

async fn gone(store: Arc<dyn Store>, partners: Arc<dyn PartnerStore>) {
    let (store, partners) = (&*store, &*partners);
    make(store, &["acme", "bravo"]).await;
    note(store, partners, LinkEvent::Issued(link("l1")))
        .await
        .unwrap();
    note(
        store,
        partners,
        LinkEvent::Approved(approval("l1", "bravo")),
    )
    .await
    .unwrap();
    assert_eq!(head(store, "acme").await.unwrap().revision, 1);
    let audited = records(store).await;
    let noted = audited.iter().filter(|record| {
        record.effect == AuditEffect::Noted && record.counts.get("access_link") == Some(&1)
    });
    assert_eq!(noted.count(), 2, "{audited:?}");
    let acme = id("acme");
    assert!(store.delete_account(&acme, None, &author()).await.unwrap());
    make(store, &["acme"]).await;
    assert!(
        partners
            .access_links(&acme, None, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let approved = partners.link_approval(&acme, &id("l1"), &id("bravo")).await;
    assert_eq!(approved.unwrap(), None);
}

fn staff(name: &str, agency: &str, of: &str, role: PartnerRole) -> EntityChange {
    EntityChange::Put(Entity::User(User {
        kind: UserKind::PartnerEmployee,
        partner: Some(Partner {
            account: id(agency),
            user: id(of),
            role,
            partnership: Partnership::Active,
        }),
        ..User::new(id(name))
    }))
}

async fn people(store: Arc<dyn Store>, partners: Arc<dyn PartnerStore>) {
    let (store, partners) = (&*store, &*partners);
    make(store, &["acme", "bravo", "charlie"]).await;
    let (employee, contractor) = (PartnerRole::Employee, PartnerRole::Contractor);
    let tombstone = |change: EntityChange| match change {
        EntityChange::Put(Entity::User(user)) => EntityChange::Put(Entity::User(User {
            status: UserStatus::Removed,
            ..user
        })),
        other => other,
    };
    apply(
        store,
        "bravo",
        &[
            staff("p", "acme", "petra", PartnerRole::Admin),
            staff("a", "acme", "anna", employee),
            staff("c", "acme", "carl", contractor),
            staff("o", "other", "petra", employee),
            tombstone(staff("r", "acme", "rosa", employee)),
        ],
    )
    .await;
    apply(store, "charlie", &[staff("p", "acme", "petra", employee)]).await;
    let acme = id("acme");
    let all = PartnerUserFilter::default();
    let listed = partners.partner_users(&acme, all, None, 10).await.unwrap();
    let told: Vec<(&str, &str, &str)> = listed
        .iter()
        .map(|one| {
            (
                one.client.as_str(),
                one.user.as_str(),
                one.partner_user.as_str(),
            )
        })
        .collect();
    let expected = [
        ("bravo", "a", "anna"),
        ("bravo", "c", "carl"),
        ("bravo", "p", "petra"),
        ("charlie", "p", "petra"),
    ];
    assert_eq!(told, expected);
    assert_eq!(listed[2].role, PartnerRole::Admin);
    // A page goes on where the one before ended.
    let (client, user) = (id("bravo"), id("c"));
    let page = partners.partner_users(&acme, all, Some((&client, &user)), 1);
    let page = page.await.unwrap();
    assert_eq!((page.len(), page[0].user.as_str()), (1, "p"));
    let petra = id("petra");
    let (only, none) = (ids(["charlie", "unknown"]), BTreeSet::new());
    for (partner_user, clients, count) in [
        (Some(&petra), None, 2),
        (Some(&petra), Some(&only), 1),
        (None, Some(&only), 1),
        (None, Some(&none), 0),
    ] {
        let filter = PartnerUserFilter {
            partner_user,
            clients,
        };
        let found = partners.partner_users(&acme, filter, None, 10).await;
        assert_eq!(found.unwrap().len(), count, "{filter:?}");
    }
    let of = [id("anna"), id("carl"), id("petra"), id("rosa")];
    let counted = partners.clients_counted(&acme, Counted::Employees(&of), None, 10);
    let counted = counted.await.unwrap();
    assert_eq!(counted, [(id("anna"), 1), (id("petra"), 2)]);
    let some = partners.clients_counted(&acme, Counted::Employees(&of), Some(&only), 10);
    assert_eq!(some.await.unwrap(), [(id("petra"), 1)]);
    let contractors = partners.clients_counted(&acme, Counted::Contractors(None), None, 10);
    assert_eq!(contractors.await.unwrap(), [(id("carl"), 1)]);
    let carl = id("carl");
    let after = partners.clients_counted(&acme, Counted::Contractors(Some(&carl)), None, 10);
    assert_eq!(after.await.unwrap(), []);
}
