//! `ambit audit`: who changed an account, and what.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::authz::model::{EntityKey, Id, ResourceKey, Timestamp};
use crate::client::NotedRight;
use crate::grpc::convert::{entity_key_to_wire, timestamp_to_wire};
use crate::grpc::wire;
use crate::store::audit::AuditKind;

use super::answer;
use super::connection::{ServerArgs, refused};
use super::error::{CliError, Exit, one_line};
use super::output::{Colour, Format, FormatArgs, Output};

mod beyond;

const EXAMPLES: &str = "Examples:
  ambit audit northwind
  ambit audit northwind --entity user:anna --since 2026-11-01T00:00:00Z
  ambit audit northwind --entity resource:contact/siemens --output json
  ambit audit northwind --beyond-ceiling
  ambit audit northwind --caller token:crm-backend --kind permission_set --limit 20

Newest first. Records outlive their account.";

/// Records of one call.
const PAGE_SIZE: u32 = 1_000;

/// Entities that a line for people names.
const NAMED_MAX: usize = 5;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account, which may be gone
    account: Id,
    /// Only what this caller did, by its whole name, as token:crm-backend
    #[arg(long, value_name = "CALLER")]
    caller: Option<String>,
    /// Only what was done in the name of this user
    #[arg(long, value_name = "USER")]
    actor: Option<Id>,
    /// Only changes of entities of this kind
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    kind: Option<AuditKind>,
    /// Only changes of this one: account, KIND:ID or resource:TYPE/ID
    #[arg(long, value_name = "ENTITY", value_parser = parse_entity)]
    entity: Option<EntityKey>,
    /// Only what was recorded at this time or later (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    since: Option<Timestamp>,
    /// Only what was recorded before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    until: Option<Timestamp>,
    /// Begin with the oldest record
    #[arg(long)]
    oldest_first: bool,
    /// Instead: grants that whoever gave them could not give now
    #[arg(long, conflicts_with_all = ["caller", "actor", "kind", "entity", "since", "until", "oldest_first"])]
    beyond_ceiling: bool,
    /// No more than so many records
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

fn parse_kind(text: &str) -> Result<AuditKind, String> {
    AuditKind::from_word(text).ok_or_else(|| {
        let kinds: Vec<&str> = AuditKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("a kind is one of {}", kinds.join(", "))
    })
}

fn parse_entity(text: &str) -> Result<EntityKey, String> {
    let wrong = || {
        format!(
            "`{text}` names no entity: write account, KIND:ID as user:anna, or resource:TYPE/ID"
        )
    };
    let parse = |id: &str| Id::parse(id).map_err(|error| error.to_string());
    if text == AuditKind::Account.as_str() {
        return Ok(EntityKey::Account);
    }
    let (kind, id) = text.split_once(':').ok_or_else(wrong)?;
    Ok(match AuditKind::from_word(kind).ok_or_else(wrong)? {
        AuditKind::Account => return Err(wrong()),
        AuditKind::Team => EntityKey::Team(parse(id)?),
        AuditKind::PermissionSet => EntityKey::PermissionSet(parse(id)?),
        AuditKind::User => EntityKey::User(parse(id)?),
        AuditKind::AccessGroup => EntityKey::AccessGroup(parse(id)?),
        AuditKind::Segment => EntityKey::Segment(parse(id)?),
        AuditKind::AccessRequest => EntityKey::AccessRequest(parse(id)?),
        AuditKind::Resource => {
            let (resource_type, id) = id.split_once('/').ok_or_else(wrong)?;
            EntityKey::Resource(ResourceKey {
                resource_type: parse(resource_type)?,
                id: parse(id)?,
            })
        }
    })
}

/// The field names of the wire.
#[derive(Serialize)]
struct Shown {
    records: Vec<ShownRecord>,
}

#[derive(Serialize)]
struct ShownRecord {
    ordinal: u64,
    revision_number: u64,
    effect: &'static str,
    at: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    caller: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    actor_user_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    idempotency_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    request_id: String,
    entities: Vec<ShownEntity>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forms: Vec<ShownForm>,
    counts: BTreeMap<String, u64>,
    partial: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<ShownCeiling>,
}

/// What the grant ceiling kept and withheld: the first of each, and how many.
#[derive(Serialize)]
struct ShownCeiling {
    kept: Vec<NotedRight>,
    withheld: Vec<NotedRight>,
    kept_total: u64,
    withheld_total: u64,
}

impl From<wire::CeilingReport> for ShownCeiling {
    fn from(report: wire::CeilingReport) -> Self {
        Self {
            kept: NotedRight::of_all(&report.kept),
            withheld: NotedRight::of_all(&report.withheld),
            kept_total: report.kept_total,
            withheld_total: report.withheld_total,
        }
    }
}

#[derive(Serialize)]
struct ShownForm {
    id: String,
    deleted: bool,
}

#[derive(Serialize)]
struct ShownEntity {
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    deleted: bool,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    if arguments.beyond_ceiling {
        let limit = arguments.limit.unwrap_or(usize::MAX);
        return beyond::run(&arguments, limit, output).await;
    }
    let mut client = arguments.server.directory().await?;
    let mut request = asked(&arguments);
    let mut left = arguments.limit.unwrap_or(usize::MAX);
    let mut shown = Shown {
        records: Vec::new(),
    };
    while left > 0 {
        request.page_size = u32::try_from(left).unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
        let page = client
            .list_audit_records(request.clone())
            .await
            .map_err(|status| refused(&status))?
            .into_inner();
        left = left.saturating_sub(page.records.len());
        let found = page.records.into_iter().map(ShownRecord::from);
        match arguments.format.format {
            Format::Human => {
                for record in found {
                    let line = record.in_a_line(output);
                    output.line(&line)?;
                }
            }
            Format::Json => shown.records.extend(found),
        }
        if page.next_page_token.is_empty() || output.closed() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if arguments.format.format == Format::Json {
        output.json(&shown)?;
    }
    Ok(Exit::Success)
}

fn asked(arguments: &Arguments) -> wire::ListAuditRecordsRequest {
    let order = if arguments.oldest_first {
        wire::AuditOrder::OldestFirst
    } else {
        wire::AuditOrder::NewestFirst
    };
    wire::ListAuditRecordsRequest {
        account_id: arguments.account.to_string(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
        caller: arguments.caller.clone().unwrap_or_default(),
        actor_user_id: arguments
            .actor
            .as_ref()
            .map(Id::to_string)
            .unwrap_or_default(),
        kind: arguments
            .kind
            .map_or(wire::EntityKind::Unspecified, kind_to_wire)
            .into(),
        entity: arguments.entity.as_ref().map(entity_key_to_wire),
        since: arguments.since.map(timestamp_to_wire),
        until: arguments.until.map(timestamp_to_wire),
        order: order.into(),
    }
}

fn kind_to_wire(kind: AuditKind) -> wire::EntityKind {
    match kind {
        AuditKind::Account => wire::EntityKind::Account,
        AuditKind::Team => wire::EntityKind::Team,
        AuditKind::PermissionSet => wire::EntityKind::PermissionSet,
        AuditKind::User => wire::EntityKind::User,
        AuditKind::AccessGroup => wire::EntityKind::AccessGroup,
        AuditKind::Segment => wire::EntityKind::Segment,
        AuditKind::AccessRequest => wire::EntityKind::AccessRequest,
        AuditKind::Resource => wire::EntityKind::Resource,
    }
}

fn kind_in_words(kind: i32) -> &'static str {
    match wire::EntityKind::try_from(kind) {
        Ok(wire::EntityKind::Account) => "account",
        Ok(wire::EntityKind::Team) => "team",
        Ok(wire::EntityKind::PermissionSet) => "permission_set",
        Ok(wire::EntityKind::User) => "user",
        Ok(wire::EntityKind::AccessGroup) => "access_group",
        Ok(wire::EntityKind::Resource) => "resource",
        Ok(wire::EntityKind::Segment) => "segment",
        Ok(wire::EntityKind::AccessRequest) => "access_request",
        Ok(wire::EntityKind::Unspecified) | Err(_) => "unknown",
    }
}

impl From<wire::AuditRecord> for ShownRecord {
    fn from(record: wire::AuditRecord) -> Self {
        Self {
            ordinal: record.ordinal,
            revision_number: record.revision_number,
            effect: match wire::AuditEffect::try_from(record.effect) {
                Ok(wire::AuditEffect::Created) => "created",
                Ok(wire::AuditEffect::Changed) => "changed",
                Ok(wire::AuditEffect::Noted) => "noted",
                Ok(wire::AuditEffect::Deleted) => "deleted",
                Ok(wire::AuditEffect::Unspecified) | Err(_) => "unknown",
            },
            at: answer::time(record.at.as_ref()),
            caller: record.caller,
            actor_user_id: record.actor_user_id,
            method: record.method,
            idempotency_key: record.idempotency_key,
            request_id: record.request_id,
            entities: record.entities.into_iter().map(ShownEntity::from).collect(),
            forms: record
                .forms
                .into_iter()
                .map(|form| ShownForm {
                    id: form.id,
                    deleted: form.deleted,
                })
                .collect(),
            counts: record.counts,
            partial: record.partial,
            ceiling: record.ceiling.map(ShownCeiling::from),
        }
    }
}

impl From<wire::AuditedEntity> for ShownEntity {
    fn from(entity: wire::AuditedEntity) -> Self {
        let key = entity.key.unwrap_or_default();
        Self {
            kind: kind_in_words(key.kind),
            resource_type: key.resource_type,
            id: key.id,
            deleted: entity.deleted,
        }
    }
}

impl ShownRecord {
    /// As `TIME  REVISION  EFFECT  CALLER for USER  METHOD  ENTITIES`.
    fn in_a_line(&self, output: &Output) -> String {
        let colour = match self.effect {
            "created" => Colour::Green,
            "deleted" => Colour::Red,
            "noted" => Colour::Dim,
            _ => Colour::Yellow,
        };
        let mut by = match self.caller.as_str() {
            "" => "nobody known".to_owned(),
            caller => one_line(caller),
        };
        if !self.actor_user_id.is_empty() {
            by.push_str(&format!(" for {}", one_line(&self.actor_user_id)));
        }
        let method = match self.method.as_str() {
            "" => "SQL".to_owned(),
            method => one_line(method),
        };
        format!(
            "{}  {}  {}  {by}  {method}  {}",
            self.at.as_deref().unwrap_or("?"),
            self.revision_number,
            output.painted(colour, self.effect),
            self.changed_in_words()
        )
    }

    /// The first entities, and how many more there are.
    fn changed_in_words(&self) -> String {
        let named: Vec<String> = self
            .entities
            .iter()
            .take(NAMED_MAX)
            .map(ShownEntity::in_words)
            .chain(self.forms.iter().map(ShownForm::in_words))
            .collect();
        let all: u64 = self.counts.values().sum();
        let more = all.saturating_sub(u64::try_from(named.len()).unwrap_or(u64::MAX));
        let mut words = named.join(", ");
        if more > 0 {
            words.push_str(&format!(" and {more} more"));
        }
        if self.partial {
            words.push_str(", and more than is counted");
        }
        if let Some(ceiling) = &self.ceiling {
            let (kept, withheld) = (ceiling.kept_total, ceiling.withheld_total);
            words.push_str(&format!(" (kept {kept}, withheld {withheld})"));
        }
        words
    }
}

impl ShownForm {
    fn in_words(&self) -> String {
        let sign = if self.deleted { "-" } else { "" };
        format!("{sign}form:{}", one_line(&self.id))
    }
}

impl ShownEntity {
    /// As `--entity` takes it, with a minus before what was deleted.
    fn in_words(&self) -> String {
        let sign = if self.deleted { "-" } else { "" };
        let id = one_line(&self.id);
        match self.kind {
            "account" => format!("{sign}account"),
            "resource" => format!("{sign}resource:{}/{id}", one_line(&self.resource_type)),
            kind => format!("{sign}{kind}:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_named_as_it_is_shown() {
        for text in [
            "account",
            "user:anna",
            "team:a:b",
            "access_request:r-1",
            "resource:contact/a/b:c",
        ] {
            let key = parse_entity(text).unwrap();
            let shown = ShownEntity::from(wire::AuditedEntity {
                key: Some(entity_key_to_wire(&key)),
                deleted: false,
            });
            assert_eq!(shown.in_words(), text);
        }
        for text in [
            "",
            "anna",
            "account:x",
            "person:anna",
            "user:",
            "resource:contact",
        ] {
            assert!(parse_entity(text).is_err(), "{text}");
        }
    }
}
