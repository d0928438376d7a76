//! Writes on behalf of a user, through gRPC: who may change what, what the grant ceiling makes of it,
//! and that no way around it is open (S3.26, S3.27, S4.16, S4.17, D3, D4, D11, P1; case 36).

use ambit::authz::document::parse_file;
use ambit::grpc::convert::change_to_wire;
use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use tonic::Status;
use wire::change::Change;

use crate::grpc::refused;
use crate::grpc::server::{TestServer, change};

mod ceiling;
mod escalations;
mod program;
mod refusals;
mod roundabout;

/// eu > de; us. `m` manages users, teams and sets in eu; `m2` is the same person. `group` edits
/// partitions and `assigner` assigns them too. Of `reporters` m holds a part.
const ACCOUNT: &str = "
account: acme
catalog: hubspot
plan: enterprise
teams:
  - {id: eu}
  - {id: de, parent: eu}
  - {id: us}
permission_sets:
  - {id: reporters, grants: {contact.view: team, report.view: everything}}
  - {id: viewers, grants: {contact.view: team}}
  - {id: mine, grants: {contact.view: owned}}
  - {id: admins, grants: {contact.view: owned}}
  - {id: free, grants: {report.view: everything}}
users:
  - {id: sa, super_admin: true}
  - {id: sa2, super_admin: true, permission_sets: [admins]}
  - {id: m, main_team: eu, person: mara, permission_sets: [mine], grants: {user_management.edit: everything, team.edit: everything, permission_set.edit: everything, contact.edit: team, contact.assign: team, email.view: {level: team, expires_at: 2100-01-01T00:00:00Z}}}
  - {id: m2, person: mara}
  - {id: e, main_team: de}
  - {id: r, permission_sets: [reporters]}
  - {id: big, status: deactivated, grants: {report.view: everything}}
  - {id: pa, kind: partner_employee, partner_admin: true, partner: {account: agency, user: pa, role: admin}, grants: {report.view: everything, contact.view: team}}
  - {id: so}
  - {id: group, main_team: us, grants: {partition.edit: everything, user_management.edit: everything}}
  - {id: assigner, grants: {partition.edit: everything, partition.assign: everything}}
  - {id: us1, main_team: us, grants: {contact.view: team, contact.assign: team}}
access_groups:
  - {id: vip, members: [{team: de, actions: [view]}]}
resources:
  - {type: contact, id: c1, owners: [us1], assigned_to: ['team:us']}
  - {type: contact, id: c2, owners: [m]}
  - {type: contact, id: c3, owners: [us1]}
  - {type: contact, id: c4, assigned_to: ['group:vip']}
";

struct Scene {
    server: TestServer,
}

impl Scene {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let scene = Self { server };
        scene.server.apply("acme", changes(ACCOUNT)).await.unwrap();
        scene
    }

    /// On behalf of a user; `None` is an operator.
    async fn write(
        &self,
        actor: &str,
        changes: Vec<wire::Change>,
    ) -> Result<wire::ApplyChangesResponse, Status> {
        let message = wire::ApplyChangesRequest {
            account_id: "acme".to_owned(),
            actor_user_id: actor.to_owned(),
            changes,
            ..wire::ApplyChangesRequest::default()
        };
        self.server.send(vec![message]).await
    }

    async fn user(&self, user: &str) -> wire::User {
        let request = wire::GetUserRequest {
            account_id: "acme".to_owned(),
            user_id: user.to_owned(),
            consistency: crate::grpc::server::fully_consistent(),
        };
        let answer = self.server.directory().get_user(request).await.unwrap();
        answer.into_inner().user.unwrap()
    }

    async fn may(&self, user: &str, permission: &str) -> bool {
        let (resource_type, action) = permission.rsplit_once('.').unwrap();
        let request = wire::CheckRequest {
            account_id: "acme".to_owned(),
            user_id: user.to_owned(),
            resource_type: resource_type.to_owned(),
            action: action.to_owned(),
            consistency: crate::grpc::server::fully_consistent(),
            ..wire::CheckRequest::default()
        };
        let answer = self.server.decisions().check(request).await.unwrap();
        answer.into_inner().decision() == wire::Decision::Allow
    }

    async fn stop(self) {
        self.server.stop().await;
    }
}

/// The changes of a document; of a part of one the account's name goes without saying.
fn changes(text: &str) -> Vec<wire::Change> {
    let text = match text.contains("account: ") && text.contains("catalog: ") {
        true => text.to_owned(),
        false => format!("account: acme\n{text}"),
    };
    let mut none = |path: &str| Err(format!("no file {path}"));
    let documents = parse_file(&text, &mut none).unwrap_or_else(|error| panic!("{text}: {error}"));
    let changes = documents[0].to_changes(None, false).unwrap();
    // A part that says nothing of the account itself changes nothing of it.
    let says_nothing = change(Change::PutAccount(wire::AccountPatch::default()));
    let changes = changes.iter().map(change_to_wire);
    changes.filter(|change| *change != says_nothing).collect()
}

fn delete_user(id: &str) -> Vec<wire::Change> {
    vec![change(Change::DeleteUser(id.to_owned()))]
}

/// `contact.view` at a level, of a user or a set, or with `None` none.
fn set_grants(holder: &str, permission: &str, level: Option<wire::Level>) -> Vec<wire::Change> {
    let (resource_type, permission) = permission.rsplit_once('.').unwrap();
    let holder = match holder.split_once(':') {
        Some(("set", set)) => wire::set_grants::Holder::PermissionSetId(set.to_owned()),
        _ => wire::set_grants::Holder::UserId(holder.to_owned()),
    };
    let terms = level.map(|level| wire::GrantTerms {
        level: level.into(),
        ..wire::GrantTerms::default()
    });
    vec![change(Change::SetGrants(wire::SetGrants {
        holder: Some(holder),
        resource_type: resource_type.to_owned(),
        permission: permission.to_owned(),
        provenance: String::new(),
        terms: terms.into_iter().collect(),
    }))]
}

/// `contact.view at team`, of what the ceiling told.
fn told(noted: &[wire::NotedRight]) -> Vec<String> {
    use wire::noted_right::What;
    let mut told: Vec<String> = noted
        .iter()
        .map(|noted| match noted.what.as_ref().unwrap() {
            What::Permission(one) => {
                let level = one
                    .level()
                    .as_str_name()
                    .trim_start_matches("LEVEL_")
                    .to_lowercase();
                format!("{}.{} at {level}", one.resource_type, one.permission)
            }
            What::Object(one) => format!("{} on {}", one.action, one.resource_id),
            What::Role(role) => role.clone(),
        })
        .collect();
    told.sort();
    told
}

async fn assert_refused(cases: &[(&str, Vec<wire::Change>, Reason, &str)]) {
    let scene = Scene::new().await;
    for (actor, changes, reason, field) in cases {
        let answer = scene.write(actor, changes.clone()).await;
        let case = format!("{actor}: {changes:?}");
        assert!(answer.is_err(), "{case}");
        assert_eq!(
            refused(answer),
            (*reason, Some((*field).to_owned())),
            "{case}"
        );
        // An operator is not judged by the rules of the account.
        let header = wire::ApplyChangesRequest {
            account_id: "acme".to_owned(),
            dry_run: true,
            changes: changes.clone(),
            ..wire::ApplyChangesRequest::default()
        };
        let dry = scene.server.send(vec![header.clone()]).await;
        assert!(dry.is_ok(), "{case}: {dry:?}");
        // A preview refuses as the write does.
        let acting = wire::ApplyChangesRequest {
            actor_user_id: (*actor).to_owned(),
            ..header
        };
        let dry = scene.server.send(vec![acting]).await;
        assert_eq!(refused(dry).0, *reason, "{case}");
    }
    scene.stop().await;
}

async fn assert_made(cases: &[(&str, Vec<wire::Change>)]) {
    for (actor, changes) in cases {
        let scene = Scene::new().await;
        let answer = scene.write(actor, changes.clone()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{actor}: {changes:?}: {error}"));
        assert!(!answer.summary.is_empty(), "{actor}: {changes:?}");
        assert_eq!(answer.ceiling, None, "{actor}: {changes:?}");
        scene.stop().await;
    }
}
