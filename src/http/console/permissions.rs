//! What a requester may do today, for an approver who weighs what to give.

use super::language::{Language, Sentence, Value};
use super::pages::Row;
use super::request_page::Matter;
use crate::authz::access_set::actions_allowed;
use crate::authz::decision::Target;
use crate::authz::model::{MembershipOf, Timestamp, User};

/// Entries of one row that are shown; the rest is counted.
const SHOWN: usize = 20;

impl Matter<'_> {
    /// `None`: the account has no such user any more.
    pub(super) fn permissions(&self) -> Option<Vec<Row>> {
        let user = self.graph.user(self.request.user.as_str())?;
        let t = self.t;
        let status = t.text(&format!("status.{}", user.status)).to_owned();
        let row = |label: &str, entries: Vec<Sentence>| Row {
            label: t.say(label, &[]),
            entries: bounded(t, entries),
            none: t.text("page.none").to_owned(),
        };
        let names = |names: &mut dyn Iterator<Item = &str>| {
            names.map(|name| t.name(name)).collect::<Vec<_>>()
        };
        let mut rows = vec![
            row("permissions.status", vec![t.plain_sentence(&status)]),
            self.on_type(),
            row(
                "permissions.sets",
                names(&mut user.permission_sets.iter().map(AsRef::as_ref)),
            ),
            row(
                "permissions.seats",
                names(&mut user.seats.iter().map(AsRef::as_ref)),
            ),
        ];
        let more = [
            ("permissions.roles", roles(t, user)),
            ("permissions.grants", grants(t, user, self.now)),
            (
                "permissions.object_grants",
                object_grants(t, user, self.now),
            ),
            ("permissions.memberships", memberships(t, user, self.now)),
        ];
        let more = more.into_iter().filter(|(_, entries)| !entries.is_empty());
        rows.extend(more.map(|(label, entries)| row(label, entries)));
        Some(rows)
    }

    /// What the user may do with the requested type as a tool, and how far it reaches.
    fn on_type(&self) -> Row {
        let (t, target) = (self.t, &self.request.target);
        let resource_type = target.resource_type.as_str();
        let allowed = actions_allowed(
            self.graph,
            self.request.user.as_str(),
            resource_type,
            Target::Tool,
            self.now,
        );
        let entries = allowed
            .unwrap_or_default()
            .into_iter()
            .map(|(action, decision)| {
                let level = t.level(decision.level, decision.include_unassigned);
                t.say(
                    "permissions.entry",
                    &[
                        ("action", Value::Name(action.as_str())),
                        ("level", Value::Plain(&level)),
                    ],
                )
            });
        Row {
            label: t.say(
                "permissions.on_type",
                &[("type", Value::Name(resource_type))],
            ),
            // A catalog has few actions, and each matters here.
            entries: entries.collect(),
            none: t.text("permissions.nothing_on_type").to_owned(),
        }
    }
}

fn bounded(t: &Language, mut entries: Vec<Sentence>) -> Vec<Sentence> {
    let hidden = entries.len().saturating_sub(SHOWN);
    if hidden > 0 {
        entries.truncate(SHOWN);
        let hidden = u64::try_from(hidden).unwrap_or(u64::MAX);
        entries.push(t.plain_sentence(&t.count("page.more", hidden)));
    }
    entries
}

fn roles(t: &Language, user: &User) -> Vec<Sentence> {
    let flags = [
        (user.account_owner, "permissions.account_owner"),
        (user.super_admin, "permissions.super_admin"),
        (user.partner_admin, "permissions.partner_admin"),
    ];
    let held = flags.into_iter().filter(|(held, _)| *held);
    let mut roles: Vec<Sentence> = held.map(|(_, key)| t.say(key, &[])).collect();
    roles.extend(user.partner.as_ref().map(|partner| {
        t.say(
            "permissions.partner",
            &[("account", Value::Name(partner.account.as_str()))],
        )
    }));
    roles
}

/// Those whose time is not over.
fn is_ahead(expires_at: Option<Timestamp>, now: Timestamp) -> bool {
    expires_at.is_none_or(|end| now < end)
}

fn until(t: &Language, entry: Sentence, expires_at: Option<Timestamp>) -> Sentence {
    match expires_at {
        None => entry,
        Some(at) => t.say(
            "permissions.until",
            &[
                ("entry", Value::Sentence(&entry)),
                ("at", Value::Plain(&t.moment(at))),
            ],
        ),
    }
}

fn grants(t: &Language, user: &User, now: Timestamp) -> Vec<Sentence> {
    let ahead = user
        .grants
        .iter()
        .filter(|grant| is_ahead(grant.expires_at, now));
    ahead
        .map(|grant| {
            let permission = grant.key.to_string();
            let level = t.level(grant.level, grant.include_unassigned);
            let entry = t.say(
                "permissions.grant",
                &[
                    ("permission", Value::Name(&permission)),
                    ("level", Value::Plain(&level)),
                ],
            );
            until(t, entry, grant.expires_at)
        })
        .collect()
}

fn object_grants(t: &Language, user: &User, now: Timestamp) -> Vec<Sentence> {
    let ahead = user
        .object_grants
        .iter()
        .filter(|grant| is_ahead(grant.expires_at, now));
    ahead
        .map(|grant| {
            let resource = grant.resource.to_string();
            let entry = t.say(
                "permissions.object_grant",
                &[
                    ("action", Value::Name(grant.action.as_str())),
                    ("resource", Value::Name(&resource)),
                ],
            );
            until(t, entry, grant.expires_at)
        })
        .collect()
}

fn memberships(t: &Language, user: &User, now: Timestamp) -> Vec<Sentence> {
    let live = user.memberships.iter().filter(|one| one.is_live(now));
    live.map(|membership| {
        let (key, name) = match &membership.of {
            MembershipOf::Team(team) => ("permissions.membership_team", team),
            MembershipOf::PermissionSet(set) => ("permissions.membership_set", set),
        };
        let entry = t.say(key, &[("name", Value::Name(name.as_str()))]);
        until(t, entry, membership.expires_at)
    })
    .collect()
}
