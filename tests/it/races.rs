//! The races at the end of section 7, and case 38, on two servers of one database where that is
//! PostgreSQL, on one server where it is SQLite.
//!
//! Each round begins from the same state, lets two calls meet, and asks that what is there afterwards
//! is what one order of them gives. The calls are set apart by a little that differs from round to
//! round, so that both orders come; in the long form of a thousand rounds both must have been seen.

mod admins;
mod bound;
mod clients;
mod last_super_admin;
mod requests;
mod walls;

use std::sync::Arc;
use std::time::Duration;

use ambit::authz::document::parse_file;
use ambit::clock::SystemClock;
use ambit::grpc::convert::change_to_wire;
use ambit::grpc::wire;
use tonic::Status;

use crate::database::{Database, Kind, kind};
use crate::faults::by_soak;
use crate::grpc::server::{TestServer, change, fully_consistent};

/// The agency `kite`, and its client `acme`, where `petra` is partner admin.
const ACCOUNTS: &str = "
account: kite
catalog: hubspot
plan: enterprise
partner_program: solutions
users:
  - {id: petra, super_admin: true}
  - {id: boss, super_admin: true}
  - {id: anna}
  - {id: bert}
---
account: acme
catalog: hubspot
plan: enterprise
teams: [{id: de}, {id: us}]
permission_sets:
  - {id: editors, grants: {contact.edit: team}}
  - {id: readers, grants: {contact.view: owned}}
users:
  - {id: sa, super_admin: true}
  - {id: manager, grants: {user_management.edit: everything, contact.view: everything, contact.edit: everything, partition.assign: everything}}
  - {id: u, main_team: de, grants: {contact.view: owned}}
  - id: petra-k
    kind: partner_employee
    partner_admin: true
    seats: [partner]
    partner: {account: kite, user: petra, role: admin}
    grants: {contact.edit: everything, contact.view: everything}
access_groups:
  - {id: vip, members: [{team: de, actions: [view]}]}
";

pub fn rounds() -> usize {
    by_soak(8, 1_000)
}

/// Two servers of one database, or the only one that it takes.
struct Pair {
    servers: Vec<TestServer>,
    database: Database,
}

impl Pair {
    async fn new() -> Self {
        let database = Database::new();
        let count = match kind() {
            Kind::Postgres => 2,
            Kind::Sqlite => 1,
        };
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(TestServer::start_on(&database, Arc::new(SystemClock::new())).await);
        }
        let pair = Self { servers, database };
        for document in parse_file(ACCOUNTS, &mut |_| Err(String::new())).unwrap() {
            pair.at(0).write(vec![document]).await;
        }
        pair
    }

    /// One of them, each in turn.
    fn at(&self, number: usize) -> &TestServer {
        &self.servers[number % self.servers.len()]
    }

    /// An operator's changes, in the form of a document.
    async fn operate(&self, account: &str, text: &str) {
        let made = self.at(0).apply(account, changes(account, text)).await;
        made.unwrap_or_else(|status| panic!("{text}: {status:?}"));
    }

    async fn user(&self, account: &str, user: &str) -> wire::User {
        let request = wire::GetUserRequest {
            account_id: account.to_owned(),
            user_id: user.to_owned(),
            consistency: fully_consistent(),
        };
        let got = self.at(0).directory().get_user(request).await;
        got.unwrap().into_inner().user.unwrap()
    }

    async fn users(&self, account: &str) -> Vec<wire::User> {
        let request = wire::ListUsersRequest {
            account_id: account.to_owned(),
            page_size: 1_000,
            consistency: fully_consistent(),
            ..wire::ListUsersRequest::default()
        };
        let listed = self.at(0).directory().list_users(request).await;
        listed.unwrap().into_inner().users
    }

    async fn contact(&self, id: &str) -> wire::Resource {
        let request = wire::GetResourceRequest {
            account_id: "acme".to_owned(),
            resource_type: "contact".to_owned(),
            resource_id: id.to_owned(),
            consistency: fully_consistent(),
        };
        let got = self.at(0).directory().get_resource(request).await;
        got.unwrap().into_inner().resource.unwrap()
    }

    async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }
}

/// Changes in the name of a user; of nobody, an operator's.
async fn apply_as(
    server: &TestServer,
    account: &str,
    actor: &str,
    changes: Vec<wire::Change>,
) -> Result<wire::ApplyChangesResponse, Status> {
    let message = wire::ApplyChangesRequest {
        account_id: account.to_owned(),
        actor_user_id: actor.to_owned(),
        changes,
        ..wire::ApplyChangesRequest::default()
    };
    server.send(vec![message]).await
}

/// What a part of a document comes to; it says nothing of the account itself.
fn changes(account: &str, text: &str) -> Vec<wire::Change> {
    let text = format!("account: {account}\n{text}");
    let documents = parse_file(&text, &mut |_| Err(String::new()));
    let documents = documents.unwrap_or_else(|error| panic!("{text}: {error}"));
    let put_account = wire::change::Change::PutAccount(wire::AccountPatch::default());
    let nothing = change(put_account);
    let changes = documents[0].to_changes(None, false).unwrap();
    let changes = changes.iter().map(change_to_wire);
    changes.filter(|change| *change != nothing).collect()
}

/// Two calls at once, one of them a little later than the other.
async fn meet<A, B>(
    round: usize,
    one: impl Future<Output = A>,
    two: impl Future<Output = B>,
) -> (A, B) {
    let apart = Duration::from_micros(500) * u32::try_from(round / 2 % 24).unwrap();
    let (one_after, two_after) = match round % 2 {
        0 => (Duration::ZERO, apart),
        _ => (apart, Duration::ZERO),
    };
    let after = async |wait| {
        if wait > Duration::ZERO {
            tokio::time::sleep(wait).await;
        }
    };
    tokio::join!(
        async {
            after(one_after).await;
            one.await
        },
        async {
            after(two_after).await;
            two.await
        }
    )
}

/// How often each order of two calls was seen.
#[derive(Debug, Default)]
struct Orders {
    first: usize,
    second: usize,
}

impl Orders {
    fn saw(&mut self, first_came_first: bool) {
        match first_came_first {
            true => self.first += 1,
            false => self.second += 1,
        }
    }

    /// A race in which one of them always wins proves nothing.
    fn settle(&self, race: &str) {
        println!("{race}: {self:?}");
        assert_eq!(self.first + self.second, rounds());
        if rounds() >= 1_000 {
            assert!(self.first > 0 && self.second > 0, "{race}: {self:?}");
        }
    }
}
