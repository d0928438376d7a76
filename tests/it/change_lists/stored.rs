//! The rules of a list of changes through the use case and the embedded store: what was planned is
//! what is stored, to the last row.

use std::cell::Cell;
use std::collections::BTreeSet;

use ambit::authz::change::{Change, ChangeProblem, ResourcePatch, SegmentPatch, UserPatch};
use ambit::authz::graph::AccountGraph;
use ambit::authz::model::{
    Attributes, ObjectGrant, Principal, Provenance, Resource, User, UserStatus,
};
use ambit::directory::DirectoryError;
use ambit::graph_cache::Consistency;
use ambit::store::Head;
use proptest::collection::vec;
use proptest::strategy::Strategy;

use super::lists::{bare, mixed, put};
use super::{account, after, for_all, planned, resource_key, resource_patch, state, user_patch};
use crate::database::Database;
use crate::directory::{Replica, fresh_graph, id, put_team};

const STORED_CASES: u32 = 24;

/// One account of a real store.
struct Account {
    replica: Replica,
    name: String,
    _data: Database,
}

impl Account {
    async fn open(plan: &str, changes: Vec<Change>) -> Self {
        let data = Database::new();
        let replica = Replica::open(&data).await;
        let this = Self {
            replica,
            name: "acme".to_owned(),
            _data: data,
        };
        this.make(vec![account("hubspot", plan)]).await;
        this.make(changes).await;
        this
    }

    /// Changes that can be made; what is stored is then what a reader of the cache sees.
    async fn make(&self, changes: Vec<Change>) -> Head {
        let applied = self.replica.apply(&self.name, changes).await;
        let head = applied
            .expect("changes that can be made")
            .head
            .expect("a head");
        self.assert_stored(head).await;
        head
    }

    /// Changes that can't be made, and that leave the account where it was.
    async fn refused(&self, changes: Vec<Change>) -> (usize, String, ChangeProblem) {
        let before = self.stored().await;
        let error = match self.replica.apply(&self.name, changes).await {
            Err(DirectoryError::Change(error)) => error,
            other => panic!("not refused: {other:?}"),
        };
        let after = self.stored().await;
        assert_eq!(after.1, before.1, "a refused list takes no revision");
        assert_eq!(state(&after.0), state(&before.0));
        (error.index, error.field, error.problem)
    }

    async fn stored(&self) -> (AccountGraph, Head) {
        fresh_graph(&self.replica.store, &self.name).await
    }

    async fn assert_stored(&self, head: Head) {
        let consistency = Consistency::FullyConsistent;
        let read = self
            .replica
            .graphs
            .read(&id(&self.name), &consistency)
            .await;
        let read = read.expect("the account");
        let (stored, at) = self.stored().await;
        assert_eq!((read.head, at), (head, head));
        assert_eq!(state(&read.graph), state(&stored));
        assert_eq!(stored.anomalies(), Vec::<String>::new());
    }

    async fn user(&self, user: &str) -> User {
        self.stored().await.0.user(user).expect("the user").clone()
    }

    async fn resource(&self, key: &str) -> Resource {
        let (graph, _) = self.stored().await;
        graph.resource(&resource_key(key)).expect("the resource")
    }
}

fn user_with(user: &str, set: impl FnOnce(&mut UserPatch)) -> Change {
    let mut patch = user_patch(user);
    set(&mut patch);
    Change::PutUser(Box::new(patch))
}

fn user(user: &str) -> Change {
    user_with(user, |_| {})
}

fn resource_with(key: &str, set: impl FnOnce(&mut ResourcePatch)) -> Change {
    let mut patch = resource_patch(key);
    set(&mut patch);
    Change::PutResource(patch)
}

fn resource(key: &str) -> Change {
    resource_with(key, |_| {})
}

fn owned(key: &str, owner: &str) -> Change {
    resource_with(key, |patch| {
        patch.owners = Some(BTreeSet::from([id(owner)]))
    })
}

fn principal(text: &str) -> Principal {
    text.parse().expect("a principal")
}

fn assign_from(key: &str, to: &str, provenance: Provenance) -> Change {
    Change::PutAssignment {
        resource: resource_key(key),
        principal: principal(to),
        provenance,
        expires_at: None,
    }
}

fn assign(key: &str, to: &str) -> Change {
    assign_from(key, to, Provenance::Manual)
}

fn member(group: &str, of: &str) -> Change {
    Change::SetGroupMember {
        group: id(group),
        principal: principal(of),
        actions: Some(BTreeSet::from([id("view")])),
    }
}

fn segment(name: &str, to: &str) -> Change {
    Change::PutSegment(SegmentPatch {
        id: id(name),
        resource_type: Some(id("contact")),
        when: Some("resource.score > 1".to_owned()),
        assign_to: Some(BTreeSet::from([principal(to)])),
        enabled: None,
        may_partition: None,
    })
}

fn object_grant(user: &str, key: &str) -> Change {
    Change::SetObjectGrant {
        user: id(user),
        resource: resource_key(key),
        action: id("view"),
        provenance: Provenance::Manual,
        grant: Some(ObjectGrant {
            resource: resource_key(key),
            action: id("view"),
            not_before: None,
            expires_at: None,
            provenance: Provenance::Manual,
            granted_by: None,
        }),
    }
}

/// Whatever is planned is stored just so, whatever is refused leaves nothing, and what changes
/// nothing takes no revision.
#[test]
fn random_lists_are_stored_as_they_were_planned() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let data = Database::new();
    let replica = runtime.block_on(Replica::open(&data));
    let serial = Cell::new(0);
    let lists = (
        bare(),
        vec(vec(put(), 1..20), 1..3),
        vec(vec(mixed(), 1..12), 6),
    )
        .prop_map(|(bare, grow, lists)| [vec![bare], grow, lists].concat());
    for_all(STORED_CASES, &lists, |lists| {
        serial.set(serial.get() + 1);
        let name = format!("account-{}", serial.get());
        runtime.block_on(follow(&replica, &name, lists));
    });
}

async fn follow(replica: &Replica, name: &str, lists: Vec<Vec<Change>>) {
    let enterprise = vec![account("hubspot", "enterprise")];
    let mut model = after(None, &enterprise);
    let made = replica.apply(name, enterprise).await.expect("an account");
    let mut at = made.head.expect("a head");
    // Half-way the plan loses walls, so that some are old (C12).
    let downgrade = lists.len() / 2;
    for (turn, mut changes) in lists.into_iter().enumerate() {
        if turn == downgrade {
            changes.push(account("hubspot", "professional"));
        }
        let plan = planned(Some(&model), &changes);
        let applied = replica.apply(name, changes).await;
        match (plan, applied) {
            (Ok(mut set), Ok(applied)) => {
                // No resource here has attributes, also not one that is made anew under its id.
                set.settle_attributes(Vec::new());
                model = model.apply(&set.changes).expect("a graph");
                let head = applied.head.expect("a head");
                assert_eq!(
                    head.revision,
                    at.revision + u64::from(!set.changes.is_empty())
                );
                assert_eq!(applied.lines, set.summary);
                at = head;
            }
            (Err(planned), Err(DirectoryError::Change(refused))) => assert_eq!(planned, refused),
            (plan, applied) => panic!("planned {plan:?}, but the use case said {applied:?}"),
        }
        let (stored, head) = fresh_graph(&replica.store, name).await;
        assert_eq!(head, at);
        assert_eq!(state(&stored), state(&model));
    }
}

#[tokio::test]
async fn p11_a_deleted_team_takes_its_rows_and_its_children_move_up() {
    let account = Account::open(
        "enterprise",
        vec![
            put_team("eu", None),
            put_team("de", Some("eu")),
            put_team("nrw", Some("de")),
            user_with("u", |patch| patch.main_team = Some(Some(id("de")))),
            Change::PutAccessGroup(id("g")),
            member("g", "team:de"),
            resource_with("email/e1", |patch| patch.owning_team = Some(Some(id("de")))),
            assign("email/e1", "team:de"),
            segment("s", "team:de"),
        ],
    )
    .await;
    account.make(vec![Change::DeleteTeam(id("de"))]).await;
    let (graph, _) = account.stored().await;
    assert_eq!(graph.team("nrw").expect("the team").parent, Some(id("eu")));
    assert_eq!(account.user("u").await.main_team, None);
    assert!(
        graph
            .access_group("g")
            .expect("the group")
            .members
            .is_empty()
    );
    let resource = account.resource("email/e1").await;
    assert_eq!(resource.owning_team, None);
    assert!(
        resource.assignments.is_empty() && resource.partitioned,
        "3.5"
    );
    let segment = graph.segment("s").expect("the segment");
    assert!(segment.assign_to.is_empty() && !segment.enabled);
}

/// The same rule, for all records of its type.
fn always(segment: Change) -> Change {
    match segment {
        Change::PutSegment(patch) => Change::PutSegment(SegmentPatch {
            when: Some("true".to_owned()),
            ..patch
        }),
        other => other,
    }
}

#[tokio::test]
async fn p11_a_deleted_user_group_segment_or_resource_takes_what_names_it() {
    let segment_row = Provenance::Segment(id("s"));
    let account = Account::open(
        "enterprise",
        vec![
            user("u"),
            user("v"),
            Change::PutAccessGroup(id("g")),
            member("g", "user:u"),
            owned("contact/c1", "u"),
            assign("contact/c1", "user:u"),
            assign("contact/c1", "group:g"),
            always(segment("s", "user:v")),
            assign_from("contact/c1", "user:v", segment_row),
            owned("contact/c2", "v"),
            object_grant("v", "contact/c2"),
        ],
    )
    .await;
    account.make(vec![Change::DeleteUser(id("u"))]).await;
    let resource = account.resource("contact/c1").await;
    assert!(resource.owners.is_empty());
    assert_eq!(resource.assignments.len(), 2);
    account.make(vec![Change::DeleteAccessGroup(id("g"))]).await;
    assert_eq!(account.resource("contact/c1").await.assignments.len(), 1);
    account.make(vec![Change::DeleteSegment(id("s"))]).await;
    let resource = account.resource("contact/c1").await;
    assert!(
        resource.assignments.is_empty() && resource.partitioned,
        "P7, 3.5"
    );
    let delete = Change::DeleteResource(resource_key("contact/c2"));
    account.make(vec![delete]).await;
    assert!(account.user("v").await.object_grants.is_empty());
}

#[tokio::test]
async fn case_29_cycles_and_dangling_references_are_refused_and_write_nothing() {
    let account = Account::open(
        "enterprise",
        vec![
            put_team("a", None),
            put_team("b", Some("a")),
            put_team("c", Some("b")),
        ],
    )
    .await;
    let (index, field, problem) = account
        .refused(vec![user("u"), put_team("a", Some("c"))])
        .await;
    assert_eq!((index, field.as_str()), (1, "team.parent"));
    assert_eq!(problem, ChangeProblem::TeamCycle("a".to_owned()));
    let (index, field, problem) = account
        .refused(vec![user("u"), owned("contact/c", "x")])
        .await;
    assert_eq!((index, field.as_str()), (1, "resource.owners"));
    assert!(matches!(
        problem,
        ChangeProblem::Dangling { what: "user", .. }
    ));
    // The tree turned upside down in one list has no cycle at its end, nor on the way to it.
    let turned = vec![
        put_team("a", Some("b")),
        put_team("b", Some("c")),
        put_team("c", None),
    ];
    account.make(turned).await;
}

#[tokio::test]
async fn row_3_5_a_partition_is_sticky_and_only_said_so_opened() {
    let account = Account::open("enterprise", vec![user("u"), resource("email/e1")]).await;
    account.make(vec![assign("email/e1", "user:u")]).await;
    let unassign = Change::DeleteAssignment {
        resource: resource_key("email/e1"),
        principal: principal("user:u"),
        provenance: Provenance::Manual,
    };
    account.make(vec![unassign]).await;
    assert!(account.resource("email/e1").await.partitioned);
    let open = || resource_with("email/e1", |patch| patch.partitioned = Some(false));
    account
        .refused(vec![open(), assign("email/e1", "user:u")])
        .await;
    account
        .refused(vec![assign("email/e1", "user:u"), open()])
        .await;
    account.make(vec![assign("email/e1", "user:u")]).await;
    account.make(vec![open()]).await;
    let resource = account.resource("email/e1").await;
    assert!(!resource.partitioned && resource.assignments.is_empty());
}

#[tokio::test]
async fn s2_4_c12_a_plan_refuses_new_walls_and_keeps_old_ones() {
    let starter = Account::open("starter", vec![user("u"), resource("email/e1")]).await;
    let not_entitled = ChangeProblem::NotEntitled("email".to_owned());
    let refusal = starter.refused(vec![assign("email/e1", "user:u")]).await;
    assert_eq!(
        refusal,
        (0, "assignment.principal".to_owned(), not_entitled.clone())
    );
    starter
        .make(vec![
            account("hubspot", "enterprise"),
            assign("email/e1", "user:u"),
        ])
        .await;
    starter.make(vec![account("hubspot", "starter")]).await;
    assert!(starter.resource("email/e1").await.partitioned);
    let more = assign_from("email/e1", "user:u", Provenance::Import(id("j")));
    assert_eq!(starter.refused(vec![more]).await.2, not_entitled);
}

#[tokio::test]
async fn d9_the_last_active_super_admin_stays_and_the_owner_changes_hands() {
    let account = Account::open(
        "enterprise",
        vec![
            user_with("sa", |patch| patch.super_admin = Some(true)),
            user_with("owner", |patch| patch.account_owner = Some(true)),
            user("heir"),
        ],
    )
    .await;
    let off = user_with("sa", |patch| patch.status = Some(UserStatus::Deactivated));
    let refusal = account.refused(vec![user("x"), off]).await;
    assert_eq!(
        refusal,
        (1, "user.status".to_owned(), ChangeProblem::LastSuperAdmin)
    );
    let inherit = user_with("heir", |patch| patch.account_owner = Some(true));
    assert_eq!(
        account.refused(vec![inherit.clone()]).await.1,
        "user.account_owner"
    );
    account
        .make(vec![inherit, Change::DeleteUser(id("owner"))])
        .await;
    assert!(account.user("heir").await.account_owner);
}

#[tokio::test]
async fn attributes_are_stored_once_and_go_with_their_resource() {
    let put = |score: i64| {
        resource_with("contact/c1", |patch| {
            let mut attributes = Attributes::new();
            attributes.insert("score".to_owned(), score.into());
            patch.attributes = Some(attributes);
        })
    };
    let account = Account::open("enterprise", vec![put(1)]).await;
    let (_, before) = account.stored().await;
    assert_eq!(
        account.make(vec![put(1)]).await,
        before,
        "the same again takes no revision"
    );
    let after = account.make(vec![put(2)]).await;
    assert_eq!(after.revision, before.revision + 1);
    let keys = [resource_key("contact/c1")];
    let name = id("acme");
    let stored = || account.replica.store.attributes(&name, &keys);
    let found = stored().await.expect("attributes");
    assert_eq!(
        found
            .first()
            .map(|(_, attributes)| attributes["score"].clone()),
        Some(2.into())
    );
    // A patch that says nothing of attributes leaves them.
    account
        .make(vec![resource_with("contact/c1", |patch| {
            patch.partitioned = Some(true)
        })])
        .await;
    assert_eq!(stored().await.expect("attributes").len(), 1);
    // Deleted and made again in one list, the resource has none.
    let again = vec![
        Change::DeleteResource(resource_key("contact/c1")),
        resource("contact/c1"),
    ];
    account.make(again).await;
    let left = stored().await.expect("attributes");
    assert!(
        left.iter().all(|(_, attributes)| attributes.is_empty()),
        "{left:?}"
    );
}
