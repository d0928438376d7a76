//! Assigning in bulk, and taking it back: the use case on the real store, then over the wire, then
//! as the command.

mod authority;
mod bulks;
mod demo;
mod forms;
mod imported;
mod killed;
mod program;
mod undone;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;

use ambit::authz::assignment::{AssignMode, Order, ResourceFilter};
use ambit::authz::change::{Change, GrantHolder, ResourcePatch, UserPatch};
use ambit::authz::model::*;
use ambit::clock::SystemClock;
use ambit::graph_cache::Consistency;
use ambit::partitions::{Bulk, BulkError, BulkRequest, Partitions, Selection, Work};
use ambit::randomness::SystemRandomness;
use ambit::store::audit::Author;
use ambit::store::batches::{BatchCounts, BatchEntry};

use crate::database::Database;
use crate::directory::{Replica, contact, enterprise, id, put_team, put_user};

/// Teams emea > dach > {de, at}, emea > fr, and us alone; users as their names say; four contacts.
pub struct Scene {
    /// Kept as long as the replica.
    pub database: Database,
    pub replica: Replica,
    pub partitions: Partitions,
}

pub fn user(name: &str, change: impl FnOnce(&mut UserPatch)) -> Change {
    let Change::PutUser(mut patch) = put_user(name) else {
        panic!("it puts a user");
    };
    change(&mut patch);
    Change::PutUser(patch)
}

pub fn in_team(name: &str, team: &str) -> Change {
    user(name, |patch| patch.main_team = Some(Some(id(team))))
}

pub fn may(user: &str, resource_type: &str, action: &str) -> Change {
    let key = PermissionKey {
        resource_type: id(resource_type),
        permission: id(action),
    };
    Change::SetGrants {
        holder: GrantHolder::User(id(user)),
        key: key.clone(),
        provenance: Provenance::Manual,
        grants: vec![Grant {
            key,
            level: Level::Everything,
            include_unassigned: false,
            not_before: None,
            expires_at: None,
            provenance: Provenance::Manual,
            granted_by: None,
        }],
    }
}

pub fn put(key: &str, owners: &[&str], attributes: Option<&str>) -> Change {
    Change::PutResource(ResourcePatch {
        key: contact(key),
        owners: Some(owners.iter().map(|owner| id(owner)).collect()),
        owning_team: None,
        partitioned: None,
        attributes: attributes.map(|text| serde_json::from_str(text).unwrap()),
        creator: None,
    })
}

pub fn assigned(key: &str, to: &str, provenance: &str) -> Change {
    Change::PutAssignment {
        resource: contact(key),
        principal: principal(to),
        provenance: provenance.parse().unwrap(),
        expires_at: None,
    }
}

pub fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

impl Scene {
    pub async fn new() -> Self {
        let database = Database::new();
        let replica = Replica::open(&database).await;
        let batches = database.open_batches().await;
        let forms = database.open_forms().await;
        let partitions = Partitions::new(
            replica.directory.clone(),
            Arc::clone(&replica.store),
            batches,
            forms,
            Arc::new(SystemClock::new()),
            Arc::new(SystemRandomness),
        );
        let scene = Self {
            database,
            replica,
            partitions,
        };
        let author = Author::anyone("CreateAccount");
        let directory = &scene.replica.directory;
        directory
            .create_account(id("acme"), enterprise(), None, author)
            .await
            .unwrap();
        scene
            .apply(vec![
                put_team("emea", None),
                put_team("dach", Some("emea")),
                put_team("de", Some("dach")),
                put_team("at", Some("dach")),
                put_team("fr", Some("emea")),
                put_team("us", None),
                user("sa", |patch| patch.super_admin = Some(true)),
                in_team("assigner", "us"),
                may("assigner", "partition", "assign"),
                in_team("owner", "dach"),
                may("owner", "contact", "assign"),
                in_team("member", "dach"),
                may("member", "contact", "assign"),
                in_team("idle", "dach"),
                in_team("dana", "de"),
                in_team("fred", "fr"),
                user("gone", |patch| {
                    patch.status = Some(UserStatus::Deactivated);
                    patch.super_admin = Some(true);
                }),
                Change::PutAccessGroup(id("vip")),
                put("owned", &["owner"], Some(r#"{"country":"DE","score":40}"#)),
                put("free", &[], Some(r#"{"country":"FR"}"#)),
                put("idle", &["idle"], None),
                put("walled", &[], Some(r#"{"country":"DE","score":"40"}"#)),
                assigned("walled", "team:dach", "manual"),
            ])
            .await;
        scene
    }

    pub async fn apply(&self, changes: Vec<Change>) {
        self.replica.apply("acme", changes).await.unwrap();
    }

    pub async fn resource(&self, key: &str) -> Option<Resource> {
        let graphs = &self.replica.graphs;
        let account = id("acme");
        let read = graphs.read(&account, &Consistency::FullyConsistent);
        read.await.unwrap().graph.resource(&contact(key))
    }

    /// `team:de manual` and so on, and whether it is partitioned.
    pub async fn rows(&self, key: &str) -> (bool, Vec<String>) {
        let resource = self.resource(key).await.unwrap();
        let rows = resource.assignments.iter();
        let rows = rows.map(|row| format!("{} {}", row.principal, row.provenance));
        (resource.partitioned, rows.collect())
    }

    pub async fn revision(&self) -> u64 {
        let head = self.replica.store.head(&id("acme")).await.unwrap();
        head.unwrap().revision
    }

    pub async fn run(&self, request: BulkRequest) -> Result<Ran, BulkError> {
        run(self.partitions.begin(request).await?).await
    }
}

#[derive(Debug)]
pub struct Ran {
    pub batch: Id,
    pub counts: BatchCounts,
    pub entries: Vec<BatchEntry>,
}

impl Ran {
    /// Changed, unchanged, refused.
    pub fn counted(&self) -> (u64, u64, u64) {
        (
            self.counts.changed,
            self.counts.unchanged,
            self.counts.refused,
        )
    }

    /// Resource and reason of each refusal.
    pub fn refusals(&self) -> Vec<(String, String)> {
        self.entries
            .iter()
            .filter_map(|entry| {
                let refusal = entry.refusal.as_ref()?;
                Some((entry.resource.id.to_string(), refusal.reason.clone()))
            })
            .collect()
    }
}

pub async fn run(mut bulk: Bulk) -> Result<Ran, BulkError> {
    let mut entries = Vec::new();
    let mut counts = BatchCounts::default();
    while let Some(told) = bulk.next().await? {
        entries.extend(told.entries);
        counts = told.counts;
    }
    Ok(Ran {
        batch: bulk.batch_id().clone(),
        counts,
        entries,
    })
}

pub fn request(work: Work) -> BulkRequest {
    BulkRequest {
        account: id("acme"),
        work,
        actor: None,
        key: None,
        request_digest: [7; 32],
        dry_run: false,
        author: Author::anyone("AssignResources"),
    }
}

pub fn named(keys: &[&str]) -> Selection {
    Selection::Keys(keys.iter().map(|key| contact(key)).collect())
}

pub fn order(mode: AssignMode, targets: &[&str]) -> Order {
    Order::Assign {
        mode,
        targets: targets.iter().map(|text| principal(text)).collect(),
        expires_at: None,
    }
}

pub fn assign(keys: &[&str], mode: AssignMode, targets: &[&str]) -> BulkRequest {
    request(Work::Order {
        order: order(mode, targets),
        on: named(keys),
    })
}

pub fn unpartition(keys: &[&str]) -> BulkRequest {
    request(Work::Order {
        order: Order::Unpartition,
        on: named(keys),
    })
}

pub fn all_contacts() -> ResourceFilter {
    ResourceFilter {
        resource_type: id("contact"),
        owner: None,
        owning_team: None,
        assigned_to: None,
        attributes: Attributes::new(),
    }
}

pub fn by(actor: &str, request: BulkRequest) -> BulkRequest {
    BulkRequest {
        actor: Some(id(actor)),
        ..request
    }
}

pub fn keyed(key: &str, request: BulkRequest) -> BulkRequest {
    BulkRequest {
        key: Some(id(key)),
        ..request
    }
}

pub fn ids(texts: &[&str]) -> BTreeSet<Id> {
    texts.iter().map(|text| id(text)).collect()
}
