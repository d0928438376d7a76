//! Agencies and their clients, by the rules of S4 and D1-D11, through gRPC.
//!
//! | rule | proven by |
//! |---|---|
//! | S4.1 | `staff::s4_1_s4_13_…` |
//! | S4.2 | `links::s4_2_…`, `staff::d2_…`, `listing::s4_21_…` |
//! | S4.3 | `links::s4_3_…`, `migrating::s4_26_…` |
//! | S4.4, S4.5 | `links::s4_4_s4_5_…` |
//! | S4.6 | `told::s4_6_…` |
//! | S4.7 | `differences::s4_7_…` |
//! | S4.8 | `differences::s4_8_…` |
//! | S4.9 | `differences::s4_9_…` |
//! | S4.10 | `differences::s4_10_…` |
//! | S4.11 | `differences::s4_11_…` |
//! | S4.12 | `differences::s4_12_…` |
//! | S4.13 | `staff::s4_1_s4_13_…` |
//! | S4.14 | `staff::s4_14_…` |
//! | S4.15 | `staff::s4_15_d4_…` |
//! | S4.16, S4.17 | `staff::s4_16_…`, `staff::s4_17_…`; as cases: `tests/cases/on-behalf.yaml` |
//! | S4.18 | `removal::s4_18_s4_21_…`, `removal::s4_18_s4_20_…` |
//! | S4.19 | `listing::s4_19_…` |
//! | S4.20 | `staff::d8_s4_20_…`, `removal::s4_18_s4_20_…`, `removal::d7_…` |
//! | S4.21 | `removal::s4_18_s4_21_…`, `listing::s4_21_…`, `removal::d6_…` |
//! | S4.22 | `removal::s4_22_d7_…` |
//! | S4.23 | `staff::s4_23_…` |
//! | S4.24, S4.25 | `migrating::s4_24_s4_25_…` |
//! | S4.26 | `migrating::s4_26_…` |
//! | S4.27 | `migrating::s4_27_…` |
//! | S4.28 | `differences::s4_28_…` (super admins, sensitive data, what a client gives and takes), `differences::s4_12_…` (the seat); SCIM and data centres are nothing that Ambit decides on |

mod client;
mod demo;
mod differences;
mod ending;
mod links;
mod listing;
mod migrating;
mod program;
mod removal;
mod roundabout;
mod staff;
mod told;

use ambit::authz::document::parse_file;
use ambit::clock::{Clock, SystemClock};
use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use tonic::Status;

use crate::database::Database;
use crate::grpc::server::{TestServer, fully_consistent};

/// The agency `kite` with three clients: `acme`, where `petra` is partner admin, and `bravo` and
/// `charlie`, which nobody of it works for yet.
const ACCOUNTS: &str = "
account: kite
catalog: hubspot
plan: enterprise
partner_program: solutions
permission_sets:
  - {id: staff-manager, grants: {partner_management.view: everything, partner_management.edit: everything}}
users:
  - {id: boss, super_admin: true, email: boss@kite.example}
  - {id: petra, permission_sets: [staff-manager], email: petra@kite.example}
  - {id: viewer, grants: {partner_management.view: everything}}
  - {id: anna}
  - {id: carl, kind: contractor}
  - {id: gone, super_admin: true, status: deactivated}
---
account: acme
catalog: hubspot
plan: enterprise
permission_sets:
  - {id: editors, grants: {contact.edit: team, email.view: everything}}
  - {id: analysts, grants: {contact.view: everything, report.view: everything, report.export: everything}}
  - {id: readers, grants: {contact.view: owned}}
users:
  - {id: sa, super_admin: true}
  - {id: manager, grants: {user_management.edit: everything}}
  - {id: reader, grants: {user_management.view: everything}}
  - {id: u}
  - id: petra-k
    kind: partner_employee
    partner_admin: true
    seats: [partner]
    partner: {account: kite, user: petra, role: admin}
    grants: {contact.edit: everything, email.view: everything, user_management.edit: everything}
  - id: anna-k
    kind: partner_employee
    partner: {account: kite, user: anna, role: employee}
    grants: {contact.view: everything}
  - id: carl-k
    kind: contractor
    partner: {account: kite, user: carl, role: contractor}
    grants: {contact.view: everything}
  - id: other-agency
    kind: partner_employee
    partner: {account: heron, user: petra, role: employee}
    grants: {contact.view: everything}
---
account: bravo
catalog: hubspot
plan: enterprise
users:
  - {id: sa, super_admin: true}
  - {id: manager, grants: {user_management.edit: everything}}
  - {id: petra}
---
account: charlie
catalog: hubspot
plan: enterprise
users:
  - {id: sa, super_admin: true}
---
account: none-such
catalog: hubspot
plan: enterprise
users:
  - {id: boss, super_admin: true}
";

pub struct Scene {
    pub server: TestServer,
}

/// The system's clock, set forward.
#[derive(Debug)]
pub struct Ahead(pub SystemClock, pub i64);

impl Clock for Ahead {
    fn now(&self) -> ambit::authz::model::Timestamp {
        let micros = self.0.now().unix_micros() + self.1;
        ambit::authz::model::Timestamp::from_unix_micros(micros).unwrap()
    }

    fn monotonic(&self) -> std::time::Duration {
        self.0.monotonic()
    }
}

impl Scene {
    pub async fn new() -> Self {
        let server = TestServer::start().await;
        load(&server).await;
        Self { server }
    }

    pub async fn create(&self, actor: &str) -> Result<wire::CreateAccessLinkResponse, Status> {
        self.create_in("kite", actor).await
    }

    pub async fn create_in(
        &self,
        agency: &str,
        actor: &str,
    ) -> Result<wire::CreateAccessLinkResponse, Status> {
        let request = wire::CreateAccessLinkRequest {
            account_id: agency.to_owned(),
            actor_user_id: actor.to_owned(),
        };
        let created = self.server.partners().create_access_link(request).await?;
        Ok(created.into_inner())
    }

    pub async fn approve(
        &self,
        client: &str,
        actor: &str,
        link: &str,
    ) -> Result<wire::ApproveAccessLinkResponse, Status> {
        approve(&self.server, client, actor, link).await
    }

    pub async fn user(&self, account: &str, user: &str) -> wire::User {
        let request = wire::GetUserRequest {
            account_id: account.to_owned(),
            user_id: user.to_owned(),
            consistency: fully_consistent(),
        };
        let got = self.server.directory().get_user(request).await.unwrap();
        got.into_inner().user.unwrap()
    }

    /// The reason code of a check, at or after a revision.
    pub async fn check(&self, account: &str, user: &str, action: &str) -> String {
        let (resource_type, action) = action.rsplit_once('.').unwrap();
        let request = wire::CheckRequest {
            account_id: account.to_owned(),
            user_id: user.to_owned(),
            action: action.to_owned(),
            resource_type: resource_type.to_owned(),
            consistency: fully_consistent(),
            ..wire::CheckRequest::default()
        };
        let answer = self.server.decisions().check(request).await.unwrap();
        answer.into_inner().reason
    }

    /// How many revisions an account has.
    pub async fn audited(&self, account: &str) -> Vec<wire::AuditRecord> {
        let request = wire::ListAuditRecordsRequest {
            account_id: account.to_owned(),
            ..wire::ListAuditRecordsRequest::default()
        };
        let mut directory = self.server.directory();
        let listed = directory.list_audit_records(request).await;
        listed.unwrap().into_inner().records
    }
}

pub async fn load(server: &TestServer) {
    let documents = parse_file(ACCOUNTS, &mut |_| Err(String::new())).unwrap();
    server.write(documents).await;
}

pub async fn approve(
    server: &TestServer,
    client: &str,
    actor: &str,
    link: &str,
) -> Result<wire::ApproveAccessLinkResponse, Status> {
    let request = wire::ApproveAccessLinkRequest {
        account_id: client.to_owned(),
        link: link.to_owned(),
        actor_user_id: actor.to_owned(),
        user_id: String::new(),
    };
    let approved = server.partners().approve_access_link(request).await?;
    Ok(approved.into_inner())
}

pub async fn end(
    server: &TestServer,
    (account, side, other): (&str, wire::PartnerSide, &str),
    actor: &str,
) -> Result<wire::EndPartnershipResponse, Status> {
    let request = wire::EndPartnershipRequest {
        account_id: account.to_owned(),
        side: side.into(),
        other_account_id: other.to_owned(),
        actor_user_id: actor.to_owned(),
    };
    let ended = server.partners().end_partnership(request).await?;
    Ok(ended.into_inner())
}

pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> Reason {
    crate::grpc::reason(answer)
}
