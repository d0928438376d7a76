//! The rules of access requests, and what their tests are written with: accounts as documents.
#![cfg(test)]

use super::{
    AccessRequest, Approval, Filing, GrantOffer, RequestRefusal, RequestTarget, Resolution,
    Transition, Wish, approve, file,
};
use crate::authz::access_set;
use crate::authz::decision::{Decision, Target};
use crate::authz::document::parse_file;
use crate::authz::graph::{AccountGraph, GraphBuilder};
use crate::authz::model::{Entity, EntityChange, Id, PermissionKey, Timestamp};

mod approvers;
mod approving;
mod ceiling;
mod filing;
mod lifecycle;
mod revoking;
mod suggesting;

/// Teams eu > {de, fr > paris}; us. `sa` super admin, `um` manages users and assigns, `q` asks and
/// is in de. e1 is walled to de, e2 is us1's without a wall, e3 has nothing.
pub(super) const ACCOUNT: &str = "
account: acme
catalog: hubspot
plan: enterprise
teams:
  - {id: eu}
  - {id: de, parent: eu}
  - {id: fr, parent: eu}
  - {id: paris, parent: fr}
  - {id: us}
permission_sets:
  - {id: editors, grants: {email.edit: team}}
  - {id: readers, grants: {email.view: everything}}
users:
  - {id: sa, super_admin: true}
  - {id: um, main_team: eu, grants: {user_management.edit: everything, partition.assign: everything, email.edit: everything}}
  - {id: q, main_team: de}
  - {id: de1, main_team: de, grants: {email.edit: team}}
  - {id: us1, main_team: us, grants: {email.view: team}}
resources:
  - {type: email, id: e1, owners: [de1], assigned_to: ['team:de']}
  - {type: email, id: e2, owners: [us1]}
  - {type: email, id: e3}
";

pub(super) fn id(text: &str) -> Id {
    Id::parse(text).expect("an id")
}

/// So many seconds after 2026-11-22T00:00:00Z.
pub(super) fn at(seconds: i64) -> Timestamp {
    let zero = Timestamp::parse("2026-11-22T00:00:00Z").expect("a time");
    Timestamp::from_unix_micros(zero.unix_micros() + seconds * 1_000_000).expect("a time")
}

pub(super) const DAY: i64 = 86_400;

pub(super) fn graph(document: &str) -> AccountGraph {
    let mut builder = GraphBuilder::default();
    let mut none = |path: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/");
        std::fs::read_to_string(format!("{folder}{path}")).map_err(|error| error.to_string())
    };
    let documents = parse_file(document, &mut none).unwrap_or_else(|error| panic!("{error}"));
    let entities = documents[0].to_account();
    entities
        .unwrap_or_else(|error| panic!("{error}"))
        .into_iter()
        .for_each(|entity| builder.push(entity));
    builder.finish().expect("a graph")
}

/// The usual account with something added to a list, as `users` and `- {id: x}`. An entry of the
/// same id replaces the usual one.
pub(super) fn account_with(parts: &[(&str, &str)]) -> AccountGraph {
    graph(&document_with(ACCOUNT, parts))
}

pub(super) fn document_with(document: &str, parts: &[(&str, &str)]) -> String {
    let mut document = document.to_owned();
    for (list, entry) in parts {
        let name = entry
            .split("id: ")
            .nth(1)
            .and_then(|rest| rest.split([',', '}']).next());
        let name = name.expect("an entry with an id").to_owned();
        let (start, rest) = document
            .split_once(&format!("\n{list}:\n"))
            .unwrap_or_else(|| panic!("no list {list}"));
        let inside = rest
            .lines()
            .take_while(|line| line.starts_with(' '))
            .count();
        let kept = |at: &usize, line: &&str| {
            *at >= inside
                || !(line.contains(&format!("id: {name},"))
                    || line.contains(&format!("id: {name}}}")))
        };
        let rest: Vec<&str> = rest
            .lines()
            .enumerate()
            .filter(|(at, line)| kept(at, line))
            .map(|(_, line)| line)
            .collect();
        document = format!("{start}\n{list}:\n  {entry}\n{}\n", rest.join("\n"));
    }
    document
}

/// `email.edit` for the tool, `email.edit e1` for a resource.
pub(super) fn target(text: &str) -> RequestTarget {
    let (key, resource) = match text.split_once(' ') {
        Some((key, resource)) => (key, Some(id(resource))),
        None => (text, None),
    };
    let (resource_type, action) = key.rsplit_once('.').expect("TYPE.ACTION");
    RequestTarget {
        resource_type: id(resource_type),
        action: id(action),
        resource_id: resource,
    }
}

pub(super) fn wish(user: &str, asked: &str) -> Wish {
    Wish {
        user: id(user),
        target: target(asked),
        reason: "for the spring campaign".to_owned(),
        wanted_seconds: None,
        origin_url: None,
    }
}

/// A request of `q`, filed at second 0.
pub(super) fn filed(graph: &AccountGraph, asked: &str) -> AccessRequest {
    filed_by(graph, "q", asked)
}

pub(super) fn filed_by(graph: &AccountGraph, user: &str, asked: &str) -> AccessRequest {
    match file(graph, &wish(user, asked), id("r1"), None, at(0)) {
        Ok(Filing::New { request, .. }) => request,
        other => panic!("{user} asks for {asked}: {other:?}"),
    }
}

pub(super) fn not_filed(graph: &AccountGraph, user: &str, asked: &str) -> RequestRefusal {
    match file(graph, &wish(user, asked), id("r1"), None, at(0)) {
        Err(refusal) => refusal,
        Ok(filing) => panic!("{user} asks for {asked}: {filing:?}"),
    }
}

pub(super) fn key(text: &str) -> PermissionKey {
    let (resource_type, permission) = text.rsplit_once('.').expect("TYPE.PERMISSION");
    PermissionKey {
        resource_type: id(resource_type),
        permission: id(permission),
    }
}

/// `email.edit team+unassigned`.
pub(super) fn offer(text: &str) -> GrantOffer {
    let (name, level) = text.split_once(' ').expect("a key and a level");
    let (level, include_unassigned) = match level.split_once('+') {
        Some((level, _)) => (level, true),
        None => (level, false),
    };
    GrantOffer {
        key: key(name),
        level: crate::authz::model::Level::from_word(level).expect("a level"),
        include_unassigned,
    }
}

pub(super) fn direct(text: &str) -> Resolution {
    Resolution::DirectGrant(offer(text))
}

pub(super) fn raise(text: &str) -> Resolution {
    Resolution::RaiseLevel(offer(text))
}

pub(super) fn for_good(resolution: Resolution) -> Approval {
    Approval {
        resolution,
        expires_at: None,
    }
}

pub(super) fn until(resolution: Resolution, end: Timestamp) -> Approval {
    Approval {
        resolution,
        expires_at: Some(end),
    }
}

/// An approval without an end, a second after the filing.
pub(super) fn approved(
    graph: &AccountGraph,
    request: &AccessRequest,
    approver: &str,
    resolution: Resolution,
) -> Result<Transition, RequestRefusal> {
    let approval = for_good(resolution);
    approve(graph, request, &id(approver), &approval, None, 1, at(1))
}

/// The account after a transition, the request itself aside.
pub(super) fn after(graph: &AccountGraph, transition: &Transition) -> AccountGraph {
    graph.apply(&transition.changes).expect("a graph")
}

/// The account after changes made by hand.
pub(super) fn put(graph: &AccountGraph, entity: Entity) -> AccountGraph {
    graph.apply(&[EntityChange::Put(entity)]).expect("a graph")
}

pub(super) fn check(graph: &AccountGraph, user: &str, asked: &str, now: Timestamp) -> Decision {
    let target = target(asked);
    let asked = match &target.resource_id {
        Some(resource) => Target::Resource(resource.as_str()),
        None => Target::Tool,
    };
    access_set::check(
        graph,
        user,
        target.resource_type.as_str(),
        target.action.as_str(),
        asked,
        now,
    )
    .expect("known names")
}
