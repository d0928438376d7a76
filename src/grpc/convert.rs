//! Between the wire and the core. What comes in is checked here, once, and each complaint names the
//! field by its path; the core then only meets values that are what their types say.

use std::fmt;

use super::admission::AdmittedAccount;
use super::status::{Failure, Reason};
use super::wire;
use crate::authz::decision::{
    Decision, DescribedAssignment, Effect, Presentation, Requestable, ResourceFacts, Target,
};
use crate::authz::explain::{Explanation, PathElement};
use crate::authz::model::{Id, Level, Principal, Timestamp};

mod access_request;
mod assignment;
mod audit;
mod ceiling;
mod change;
mod change_to_wire;
mod changes_of_entity;
mod entity;
mod import;
mod preview;
mod segment;

pub use access_request::{
    access_request_to_wire, notification_state_from_wire, notification_to_wire,
    request_check_to_wire, request_event_to_wire, request_state_from_wire, request_state_to_wire,
    resolution_from_wire, resolution_to_wire, suggestion_to_wire,
};
pub use assignment::{batch_counts_to_wire, batch_entry_to_wire, selection};
pub use audit::{
    audit_kind_from_wire, audit_order_from_wire, audit_record_to_wire, entity_key_from_wire,
};
pub use ceiling::{audited_ceiling_to_wire, ceiling_to_wire, note_to_wire, noted_to_wire};
pub use change::{attributes, change_from_wire, level};
pub use change_to_wire::change_to_wire;
pub use changes_of_entity::changes_of_entity;
pub use entity::{access_group_to_wire, account_to_wire, known, segment_to_wire};
pub use entity::{catalog_from_wire, partner_program_from_wire};
pub use entity::{entity_change_to_wire, entity_key_to_wire, resource_to_wire, settings_from_wire};
pub use entity::{partner_role_to_wire, partnership_to_wire, user_status_to_wire};
pub use entity::{permission_set_to_wire, team_to_wire, user_to_wire};
pub use import::withheld_to_wire;
pub use import::{attributes_from_text, core_field, mode_from_wire, mode_to_wire};
pub use import::{line_problem_to_wire, progress_to_wire, row_from_wire, row_to_wire};
pub use preview::{foreseen_to_wire, preview_parts};
pub use segment::{segment_from_wire, segment_job_to_wire, trial_to_wire};

/// The path of a field on the wire, such as `changes[3].put_user.main_team`; built on the stack and
/// written out only where a complaint needs it.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'a str,
    index: Option<usize>,
}

impl<'a> Path<'a> {
    pub const fn root(name: &'a str) -> Self {
        Self {
            parent: None,
            name,
            index: None,
        }
    }

    /// The element of a repeated field.
    #[must_use]
    pub const fn at(self, index: usize) -> Self {
        Self {
            index: Some(index),
            ..self
        }
    }

    /// A field of the message at this path.
    pub const fn field(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            name,
            index: None,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            // The fields of a request itself have no name before them.
            if !parent.name.is_empty() {
                write!(formatter, "{parent}.")?;
            }
        }
        formatter.write_str(self.name)?;
        match self.index {
            Some(index) => write!(formatter, "[{index}]"),
            None => Ok(()),
        }
    }
}

impl<'a> From<&'a str> for Path<'a> {
    fn from(name: &'a str) -> Self {
        Self::root(name)
    }
}

/// A required id.
pub fn id<'a>(text: &str, path: impl Into<Path<'a>>) -> Result<Id, Failure> {
    Id::parse(text).map_err(|error| Failure::invalid(path.into(), error))
}

/// A required id that is only looked up.
pub fn id_text<'a, 'p>(text: &'a str, path: impl Into<Path<'p>>) -> Result<&'a str, Failure> {
    match Id::validate(text) {
        Ok(()) => Ok(text),
        Err(error) => Err(Failure::invalid(path.into(), error)),
    }
}

/// An id that may be left out, as the empty string.
pub fn optional_id<'a>(text: &str, path: impl Into<Path<'a>>) -> Result<Option<Id>, Failure> {
    if text.is_empty() {
        Ok(None)
    } else {
        id(text, path).map(Some)
    }
}

/// A moment that is stored: in whole microseconds, since a boundary must come back as it was set.
pub fn timestamp<'a>(
    value: &prost_types::Timestamp,
    path: impl Into<Path<'a>>,
) -> Result<Timestamp, Failure> {
    let path = path.into();
    if value.nanos % 1_000 != 0 {
        return Err(Failure::invalid(
            path,
            "a moment that is kept is in whole microseconds",
        ));
    }
    moment(value, path)
}

/// A moment that is only compared. A fraction of a microsecond is cut off: boundaries are whole
/// microseconds, so no comparison with one changes by it.
pub fn moment<'a>(
    value: &prost_types::Timestamp,
    path: impl Into<Path<'a>>,
) -> Result<Timestamp, Failure> {
    let nanos = u32::try_from(value.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    nanos
        .and_then(|nanos| {
            let micros = value.seconds.checked_mul(1_000_000)?;
            Timestamp::from_unix_micros(micros.checked_add(i64::from(nanos / 1_000))?)
        })
        .ok_or_else(|| {
            Failure::invalid(
                path.into(),
                "a moment lies between the years 1 and 9999, with 0 to 999,999,999 nanoseconds",
            )
        })
}

pub fn timestamp_to_wire(moment: Timestamp) -> prost_types::Timestamp {
    let micros = moment.unix_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        // Less than a billion, so it fits.
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0),
    }
}

pub fn principal<'a>(
    value: Option<&wire::Principal>,
    path: impl Into<Path<'a>>,
) -> Result<Principal, Failure> {
    let path = path.into();
    let missing = || Failure::invalid(path, "a principal is required: set one of its fields");
    match value
        .and_then(|value| value.principal.as_ref())
        .ok_or_else(missing)?
    {
        wire::principal::Principal::UserId(user) => {
            Ok(Principal::User(id(user, path.field("user_id"))?))
        }
        wire::principal::Principal::TeamId(team) => {
            Ok(Principal::Team(id(team, path.field("team_id"))?))
        }
        wire::principal::Principal::AccessGroupId(group) => {
            Ok(Principal::Group(id(group, path.field("access_group_id"))?))
        }
    }
}

pub fn principal_to_wire(principal: &Principal) -> wire::Principal {
    let id = principal.id().to_string();
    let principal = match principal {
        Principal::User(_) => wire::principal::Principal::UserId(id),
        Principal::Team(_) => wire::principal::Principal::TeamId(id),
        Principal::Group(_) => wire::principal::Principal::AccessGroupId(id),
    };
    wire::Principal {
        principal: Some(principal),
    }
}

/// What a request asks about, its id and facts checked; [`Asked::target`] gives it to the core.
#[derive(Debug)]
pub struct Asked<'a> {
    resource_id: &'a str,
    facts: Option<ResourceFacts>,
}

impl<'a> Asked<'a> {
    /// `parent` is the message that holds the fields `resource_id` and `resource_facts`.
    pub fn new(
        account: &AdmittedAccount,
        resource_id: &'a str,
        facts: Option<&wire::ResourceFacts>,
        parent: &Path<'_>,
    ) -> Result<Self, Failure> {
        if facts.is_some() && !account.may_state_facts() {
            // Whoever says what a resource looks like can open a wall.
            return Err(Failure::field(
                Reason::RoleMissing,
                parent.field("resource_facts"),
                "facts about a resource need the role `admin`, which the caller does not have",
            ));
        }
        if resource_id.is_empty() {
            if facts.is_some() {
                return Err(Failure::invalid(
                    parent.field("resource_facts"),
                    "facts describe a resource: name it in resource_id",
                ));
            }
            return Ok(Self {
                resource_id,
                facts: None,
            });
        }
        id_text(resource_id, parent.field("resource_id"))?;
        let facts = facts
            .map(|facts| resource_facts(facts, &parent.field("resource_facts")))
            .transpose()?;
        Ok(Self { resource_id, facts })
    }

    pub fn target(&self) -> Target<'_> {
        match (&self.facts, self.resource_id) {
            (_, "") => Target::Tool,
            (None, resource_id) => Target::Resource(resource_id),
            (Some(facts), resource_id) => Target::Described(resource_id, facts),
        }
    }
}

fn resource_facts(facts: &wire::ResourceFacts, path: &Path<'_>) -> Result<ResourceFacts, Failure> {
    let owners = ids(&facts.owners, &path.field("owners"))?;
    let owning_team = optional_id(&facts.owning_team, path.field("owning_team"))?;
    let mut assigned_to = Vec::with_capacity(facts.assigned_to.len());
    for (index, assignment) in facts.assigned_to.iter().enumerate() {
        let path = path.field("assigned_to").at(index);
        assigned_to.push(DescribedAssignment {
            principal: principal(assignment.principal.as_ref(), path.field("principal"))?,
            expires_at: assignment
                .expires_at
                .as_ref()
                .map(|expires_at| moment(expires_at, path.field("expires_at")))
                .transpose()?,
        });
    }
    let partitioned = facts.partitioned.unwrap_or(!assigned_to.is_empty());
    if !partitioned && !assigned_to.is_empty() {
        return Err(Failure::invalid(
            path.field("partitioned"),
            "a resource with assignments is partitioned: leave out one of the two",
        ));
    }
    Ok(ResourceFacts {
        owners,
        owning_team,
        partitioned,
        assigned_to,
    })
}

/// The ids of a repeated field.
pub fn ids(texts: &[String], path: &Path<'_>) -> Result<Vec<Id>, Failure> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| id(text, path.at(index)))
        .collect()
}

pub fn level_to_wire(level: Level) -> wire::Level {
    match level {
        Level::None => wire::Level::None,
        Level::Owned => wire::Level::Owned,
        Level::Team => wire::Level::Team,
        Level::Everything => wire::Level::Everything,
    }
}

fn effect_to_wire(effect: Effect) -> wire::Decision {
    match effect {
        Effect::Allow => wire::Decision::Allow,
        Effect::Deny => wire::Decision::Deny,
    }
}

fn requestable_to_wire(requestable: Requestable) -> wire::Requestable {
    match requestable {
        Requestable::None => wire::Requestable::None,
        Requestable::Tool => wire::Requestable::Tool,
        Requestable::Object => wire::Requestable::Object,
    }
}

fn presentation_to_wire(presentation: Presentation) -> wire::Presentation {
    match presentation {
        Presentation::None => wire::Presentation::None,
        Presentation::Lock => wire::Presentation::Lock,
        Presentation::TooltipLink => wire::Presentation::TooltipLink,
        Presentation::BlockedPage => wire::Presentation::BlockedPage,
    }
}

pub fn check_response(
    decision: &Decision,
    pending: String,
    revision: String,
    explanation: Option<wire::Explanation>,
) -> wire::CheckResponse {
    wire::CheckResponse {
        decision: effect_to_wire(decision.effect).into(),
        reason: decision.reason.as_str().to_owned(),
        level: level_to_wire(decision.level).into(),
        include_unassigned: decision.include_unassigned,
        requestable: requestable_to_wire(decision.requestable).into(),
        presentation: presentation_to_wire(decision.presentation).into(),
        pending_access_request_id: pending,
        valid_until: decision.valid_until.map(timestamp_to_wire),
        revision,
        explanation,
    }
}

pub fn explain_response(
    explanation: Explanation,
    pending: String,
    revision: String,
) -> wire::ExplainResponse {
    let check = check_response(&explanation.decision, pending, revision, None);
    wire::ExplainResponse {
        decision: check.decision,
        reason: check.reason,
        level: check.level,
        include_unassigned: check.include_unassigned,
        requestable: check.requestable,
        presentation: check.presentation,
        pending_access_request_id: check.pending_access_request_id,
        valid_until: check.valid_until,
        revision: check.revision,
        explanation: Some(explanation_to_wire(explanation)),
    }
}

pub fn batch_result(outcome: Result<(Decision, String), Failure>) -> wire::BatchCheckResult {
    match outcome {
        Ok((decision, pending)) => wire::BatchCheckResult {
            decision: effect_to_wire(decision.effect).into(),
            reason: decision.reason.as_str().to_owned(),
            level: level_to_wire(decision.level).into(),
            include_unassigned: decision.include_unassigned,
            requestable: requestable_to_wire(decision.requestable).into(),
            presentation: presentation_to_wire(decision.presentation).into(),
            pending_access_request_id: pending,
            valid_until: decision.valid_until.map(timestamp_to_wire),
            error: None,
        },
        Err(failure) => wire::BatchCheckResult {
            error: Some(failure.into_item_error()),
            ..wire::BatchCheckResult::default()
        },
    }
}

pub fn explanation_to_wire(explanation: Explanation) -> wire::Explanation {
    wire::Explanation {
        step: explanation.step.as_str().to_owned(),
        summary: explanation.summary,
        path: explanation
            .path
            .into_iter()
            .map(path_element_to_wire)
            .collect(),
        remedy: explanation.remedy.unwrap_or_default(),
    }
}

fn path_element_to_wire(element: PathElement) -> wire::PathElement {
    wire::PathElement {
        kind: element.kind.to_owned(),
        text: element.text,
        fields: element
            .fields
            .into_iter()
            .map(|(name, value)| wire::PathField {
                name: name.to_owned(),
                value,
            })
            .collect(),
    }
}

pub fn user_access(user: &Id, decision: &Decision) -> wire::UserAccess {
    wire::UserAccess {
        user_id: user.to_string(),
        reason: decision.reason.as_str().to_owned(),
        level: level_to_wire(decision.level).into(),
        include_unassigned: decision.include_unassigned,
        valid_until: decision.valid_until.map(timestamp_to_wire),
    }
}

pub fn allowed_action(action: &Id, decision: &Decision) -> wire::AllowedAction {
    wire::AllowedAction {
        action: action.to_string(),
        reason: decision.reason.as_str().to_owned(),
        level: level_to_wire(decision.level).into(),
        include_unassigned: decision.include_unassigned,
        valid_until: decision.valid_until.map(timestamp_to_wire),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Path<'static> = Path::root("");

    fn facts(partitioned: Option<bool>, teams: &[&str]) -> wire::ResourceFacts {
        wire::ResourceFacts {
            owners: vec!["de1".to_owned()],
            owning_team: String::new(),
            partitioned,
            assigned_to: teams
                .iter()
                .map(|team| wire::DescribedAssignment {
                    principal: Some(wire::Principal {
                        principal: Some(wire::principal::Principal::TeamId((*team).to_owned())),
                    }),
                    expires_at: None,
                })
                .collect(),
        }
    }

    fn field(result: Result<Asked<'_>, Failure>) -> String {
        result.unwrap_err().field.unwrap()
    }

    #[test]
    fn a_path_is_written_as_on_the_wire() {
        let changes = Path::root("changes").at(3);
        let user = changes.field("put_user");
        let teams = user.field("teams");
        let ids = teams.field("ids").at(0);
        assert_eq!(ids.to_string(), "changes[3].put_user.teams.ids[0]");
        assert_eq!(REQUEST.field("user_id").to_string(), "user_id");
    }

    #[test]
    fn facts_are_partitioned_by_default_when_they_have_assignments() {
        for (partitioned, teams, expected) in [
            (None, &[] as &[&str], false),
            (None, &["de"], true),
            (Some(true), &[], true),
            (Some(true), &["de"], true),
            (Some(false), &[], false),
        ] {
            let facts = facts(partitioned, teams);
            let account = AdmittedAccount::for_tests("acme", true);
            let asked = Asked::new(&account, "c1", Some(&facts), &REQUEST).unwrap();
            let Target::Described("c1", read) = asked.target() else {
                panic!("the facts are lost: {asked:?}");
            };
            assert_eq!(read.partitioned, expected, "{partitioned:?} {teams:?}");
        }
    }

    #[test]
    fn facts_are_for_admins_alone() {
        let account = AdmittedAccount::for_tests("acme", false);
        let facts = facts(None, &[]);
        for id in ["c1", ""] {
            let failure = Asked::new(&account, id, Some(&facts), &REQUEST).unwrap_err();
            assert_eq!(failure.reason, Reason::RoleMissing);
            assert_eq!(failure.field.as_deref(), Some("resource_facts"));
        }
        assert!(Asked::new(&account, "c1", None, &REQUEST).is_ok());
    }

    #[test]
    fn contradictory_and_nameless_facts_are_refused_by_their_field() {
        let account = AdmittedAccount::for_tests("acme", true);
        let open = facts(Some(false), &["de"]);
        assert_eq!(
            field(Asked::new(&account, "c1", Some(&open), &REQUEST)),
            "resource_facts.partitioned"
        );
        let plain = facts(None, &[]);
        assert_eq!(
            field(Asked::new(&account, "", Some(&plain), &REQUEST)),
            "resource_facts"
        );
        let wrong = facts(None, &["de", "a\nb"]);
        assert_eq!(
            field(Asked::new(&account, "c1", Some(&wrong), &REQUEST)),
            "resource_facts.assigned_to[1].principal.team_id"
        );
    }

    #[test]
    fn a_moment_keeps_its_microsecond_and_only_what_is_compared_may_be_finer() {
        let fine = prost_types::Timestamp {
            seconds: -1,
            nanos: 999_999_999,
        };
        assert_eq!(moment(&fine, "at").unwrap().unix_micros(), -1);
        assert_eq!(
            timestamp(&fine, "expires_at").unwrap_err().field.as_deref(),
            Some("expires_at")
        );
        for wrong in [
            prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            },
            prost_types::Timestamp {
                seconds: 0,
                nanos: -1,
            },
            prost_types::Timestamp {
                seconds: 0,
                nanos: 1_000_000_000,
            },
        ] {
            assert!(moment(&wrong, "at").is_err(), "{wrong:?}");
        }
        for micros in [
            Timestamp::MIN.unix_micros(),
            -1,
            0,
            1,
            Timestamp::MAX.unix_micros(),
        ] {
            let moment = Timestamp::from_unix_micros(micros).unwrap();
            assert_eq!(timestamp(&timestamp_to_wire(moment), "at"), Ok(moment));
        }
    }
}
