//! The decisions that a document must give: a check, a list or a who-can, asked in process.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::part::{AccountPart, Parts, ResourcePart};
use super::read::{Lists, Reader, id, split_key, time, wrong};
use super::source::{CaseSource, ExpectSource, GivenSource};
use super::trial::{Trial, TrialError};
use super::{Document, DocumentError};
use crate::authz::access_set::{self, AccessSet, Narrowing};
use crate::authz::decision::{
    Decision, Effect, Presentation, ReasonCode, Requestable, Target, UnknownName,
};
use crate::authz::explain::{Explanation, explain};
use crate::authz::graph::{AccountGraph, GraphBuilder, GraphError};
use crate::authz::model::{Entity, EntityChange, Id, Timestamp};
use crate::authz::yaml::{At, Field, Form, Place, shown};

/// One case of a document.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub place: Place,
    pub question: Question,
    /// The decision time; the time of the run where absent.
    pub at: Option<Timestamp>,
    pub(super) given: Option<Box<Parts>>,
    /// What a user writes before the question is asked.
    pub(super) trial: Option<Box<Trial>>,
    pub expect: Expect,
}

/// What a case asks. Users and resources need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    Check {
        user: Id,
        resource_type: Id,
        action: Id,
        /// Tool level where absent.
        id: Option<Id>,
    },
    List {
        user: Id,
        resource_type: Id,
        action: Id,
    },
    Who {
        resource_type: Id,
        action: Id,
        id: Option<Id>,
    },
}

/// What a case expects; of a decision, any part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    Decision {
        decision: Option<Effect>,
        reason: Option<ReasonCode>,
        requestable: Option<Requestable>,
        presentation: Option<Presentation>,
    },
    Ids(BTreeSet<String>),
}

/// How a case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    pub name: String,
    /// Where the case stands in its file.
    pub place: Place,
    pub passed: bool,
    /// In the words of the document: `deny NOT_OWNER object blocked_page`, or `[c1, c4]`.
    pub expected: String,
    pub actual: String,
    /// Why the answer is what it is, a line an element; only where the case failed.
    pub explanation: Option<String>,
}

impl Reader<'_> {
    pub(super) fn case(self, source: &CaseSource) -> Result<Case, DocumentError> {
        let place = source.name.place;
        let asked = (&source.check, &source.list, &source.who);
        let question = match asked {
            (Some(check), None, None) => {
                let (resource_type, action, id) = self.question(check)?;
                Question::Check {
                    user: self.asker(source)?,
                    resource_type,
                    action,
                    id,
                }
            }
            (None, Some(list), None) => {
                let (resource_type, action, id) = self.question(list)?;
                if id.is_some() {
                    return wrong(
                        list.place,
                        "a list names a type and an action, and no resource",
                    );
                }
                Question::List {
                    user: self.asker(source)?,
                    resource_type,
                    action,
                }
            }
            (None, None, Some(who)) => {
                let (resource_type, action, id) = self.question(who)?;
                if let Some(user) = &source.user {
                    return wrong(user.place, "a `who` asks for users, so it takes no `user`");
                }
                Question::Who {
                    resource_type,
                    action,
                    id,
                }
            }
            _ => {
                return wrong(
                    place,
                    format!(
                        "the case `{}` must have exactly one of `check`, `list` and `who`",
                        shown(&source.name.value)
                    ),
                );
            }
        };
        Ok(Case {
            name: source.name.value.clone(),
            place,
            expect: expect(&source.expect, &question)?,
            question,
            at: source.at.as_ref().map(|at| time(at, "at")).transpose()?,
            given: source
                .given
                .as_ref()
                .map(|given| self.given(given).map(Box::new))
                .transpose()?,
            trial: self.trial(source)?.map(Box::new),
        })
    }

    fn asker(self, source: &CaseSource) -> Result<Id, DocumentError> {
        match &source.user {
            Some(user) => id(user, "user"),
            None => wrong(
                source.name.place,
                format!("the case `{}` has no `user`", shown(&source.name.value)),
            ),
        }
    }

    /// `TYPE.ACTION` and, behind the first space, an id.
    fn question(self, at: &At<String>) -> Result<(Id, Id, Option<Id>), DocumentError> {
        let (key, resource) = match at.value.split_once(' ') {
            Some((key, resource)) => (key, Some(resource)),
            None => (at.value.as_str(), None),
        };
        let part = |text: &str| At {
            value: text.to_owned(),
            place: at.place,
        };
        let (resource_type, action) = split_key(&part(key))?;
        if let Some(catalog) = self.catalog {
            catalog
                .resolve(resource_type.as_str(), action.as_str())
                .map_err(|error| DocumentError::at(at.place, shown(&error.to_string())))?;
        }
        let resource = resource
            .map(|resource| id(&part(resource), "resource id"))
            .transpose()?;
        Ok((resource_type, action, resource))
    }

    fn given(self, source: &GivenSource) -> Result<Parts, DocumentError> {
        let account = AccountPart {
            plan: source
                .plan
                .as_ref()
                .map(|plan| self.plan(plan))
                .transpose()?,
            partner_program: source.partner_program,
            payment_method_valid: source.payment_method_valid,
            settings: self.settings(source.settings.as_ref())?,
        };
        self.parts(
            account,
            &Lists {
                teams: &source.teams,
                permission_sets: &source.permission_sets,
                users: &source.users,
                access_groups: &source.access_groups,
                resources: &source.resources,
                segments: &Field::Absent,
            },
        )
    }
}

fn expect(
    at: &At<Form<ExpectSource, String>>,
    question: &Question,
) -> Result<Expect, DocumentError> {
    match (&at.value, question) {
        (Form::Map(source), Question::Check { .. }) => {
            let expect = Expect::Decision {
                decision: word(&source.decision, Effect::from_word, Effect::ALL)?,
                reason: word(&source.reason, ReasonCode::from_word, ReasonCode::ALL)?,
                requestable: word(
                    &source.requestable,
                    Requestable::from_word,
                    Requestable::ALL,
                )?,
                presentation: word(
                    &source.presentation,
                    Presentation::from_word,
                    Presentation::ALL,
                )?,
            };
            let nothing = Expect::Decision {
                decision: None,
                reason: None,
                requestable: None,
                presentation: None,
            };
            if expect == nothing {
                return wrong(
                    at.place,
                    "`expect` names nothing, so the case could not fail",
                );
            }
            Ok(expect)
        }
        (Form::List(ids), Question::List { .. } | Question::Who { .. }) => {
            Ok(Expect::Ids(ids.iter().map(|id| id.value.clone()).collect()))
        }
        (_, Question::Check { .. }) => wrong(
            at.place,
            "a check expects a map of decision, reason, requestable and presentation",
        ),
        (_, Question::List { .. } | Question::Who { .. }) => {
            wrong(at.place, "a list and a who expect a list of ids")
        }
    }
}

fn word<T: Copy + std::fmt::Display>(
    at: &Option<At<String>>,
    from_word: impl Fn(&str) -> Option<T>,
    all: &[T],
) -> Result<Option<T>, DocumentError> {
    let Some(At { value, place }) = at else {
        return Ok(None);
    };
    match from_word(value) {
        Some(known) => Ok(Some(known)),
        None => {
            let words: Vec<String> = all.iter().map(ToString::to_string).collect();
            wrong(
                *place,
                format!("`{}` is not one of {}", shown(value), words.join(", ")),
            )
        }
    }
}

/// Why a case could not be asked, though its document was found right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum CaseError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// The cases of one document, ready to run: its account is built once and shared by all of them.
#[derive(Debug)]
pub struct Cases<'d> {
    document: &'d Document,
    graph: AccountGraph,
}

impl<'d> Cases<'d> {
    /// # Errors
    /// As [`Document::to_account`].
    pub fn new(document: &'d Document) -> Result<Self, DocumentError> {
        let mut builder = GraphBuilder::default();
        for entity in document.to_account()? {
            builder.push(entity);
        }
        let graph = builder
            .finish()
            .map_err(|error| DocumentError::at(document.place(), error.to_string()))?;
        Ok(Self { document, graph })
    }

    /// Runs one case of the document; `now` is its decision time unless it names one.
    pub fn run(&self, case: &Case, now: Timestamp) -> CaseResult {
        self.try_run(case, now)
            .unwrap_or_else(|error| failed(case, &error.to_string()))
    }

    /// Runs all of them in the order of the file.
    pub fn run_all(&self, now: Timestamp) -> Vec<CaseResult> {
        self.document
            .cases()
            .iter()
            .map(|case| self.run(case, now))
            .collect()
    }

    fn try_run(&self, case: &Case, now: Timestamp) -> Result<CaseResult, CaseError> {
        let at = case.at.unwrap_or(now);
        let given = case.given.as_deref();
        let given = given.map(|given| self.graph.apply(&self.given_changes(given)));
        let given = given.transpose()?;
        let graph = given.as_ref().unwrap_or(&self.graph);
        let Some(trial) = case.trial.as_deref() else {
            return answer(graph, case, at);
        };
        let (graph, report) = trial.run(self.document, graph, at)?;
        let mut result = answer(&graph, case, at)?;
        trial.compare(&report, &mut result);
        Ok(result)
    }

    /// The given entities laid over those of the document, with defaults computed anew.
    fn given_changes(&self, given: &Parts) -> Vec<EntityChange> {
        let parts = &self.document.parts;
        let mut puts = Vec::new();
        let mut account = self.graph.account().clone();
        let AccountPart {
            plan,
            partner_program,
            payment_method_valid,
            settings,
        } = &given.account;
        if let Some(plan) = plan {
            account.plan = plan.clone();
        }
        account.partner_program = partner_program.unwrap_or(account.partner_program);
        account.payment_method_valid = payment_method_valid.unwrap_or(account.payment_method_valid);
        settings.apply_to(&mut account.settings);
        if account != *self.graph.account() {
            puts.push(Entity::Account(account));
        }
        for part in &given.teams {
            let mut merged = found(&parts.teams, part, |team| &team.id.value);
            merged.overlay(part);
            puts.push(Entity::Team(merged.entity()));
        }
        for part in &given.permission_sets {
            let mut merged = found(&parts.permission_sets, part, |set| &set.id.value);
            merged.overlay(part);
            puts.push(Entity::PermissionSet(merged.entity()));
        }
        for part in &given.users {
            let mut merged = found(&parts.users, part, |user| &user.id.value);
            merged.overlay(part);
            puts.push(Entity::User(merged.entity()));
        }
        for part in &given.access_groups {
            let mut merged = found(&parts.access_groups, part, |group| &group.id.value);
            merged.overlay(part);
            puts.push(Entity::AccessGroup(merged.entity()));
        }
        for part in &given.resources {
            let mut merged: ResourcePart = found(&parts.resources, part, |resource| &resource.key);
            merged.overlay(part);
            puts.push(Entity::Resource(merged.entity(), None));
        }
        puts.into_iter().map(EntityChange::Put).collect()
    }
}

/// The document's own entity of the given one's key, or the given one where it is new.
fn found<T: Clone, K: PartialEq>(own: &[T], given: &T, key: impl Fn(&T) -> &K) -> T {
    own.iter()
        .find(|part| key(part) == key(given))
        .unwrap_or(given)
        .clone()
}

/// Runs one case of a document. To run several, [`Cases`] builds the account once.
pub fn run_case(document: &Document, case: &Case, now: Timestamp) -> CaseResult {
    match Cases::new(document) {
        Ok(cases) => cases.run(case, now),
        Err(error) => failed(case, &error.to_string()),
    }
}

fn failed(case: &Case, error: &str) -> CaseResult {
    CaseResult {
        name: case.name.clone(),
        place: case.place,
        passed: false,
        expected: case.expect.to_string(),
        actual: format!("error: {error}"),
        explanation: None,
    }
}

fn answer(graph: &AccountGraph, case: &Case, at: Timestamp) -> Result<CaseResult, CaseError> {
    let result = |passed: bool, actual: String, explanation: Option<String>| CaseResult {
        name: case.name.clone(),
        place: case.place,
        passed,
        expected: case.expect.to_string(),
        actual,
        explanation,
    };
    match &case.question {
        Question::Check {
            user,
            resource_type,
            action,
            id,
        } => {
            let (user, resource_type) = (user.as_str(), resource_type.as_str());
            let (action, target) = (action.as_str(), target(id.as_ref()));
            let decision = access_set::check(graph, user, resource_type, action, target, at)?;
            let passed = case.expect.met_by(&decision);
            let explanation = if passed {
                None
            } else {
                let explanation = explain(graph, user, resource_type, action, target, at)?;
                Some(in_lines(&explanation))
            };
            Ok(result(passed, words(&decision), explanation))
        }
        Question::List {
            user,
            resource_type,
            action,
        } => {
            let (user, resource_type) = (user.as_str(), resource_type.as_str());
            let set = AccessSet::new(graph, user, resource_type, action.as_str(), at)?;
            let list = set.accessible(Narrowing::default());
            let ids: BTreeSet<String> = list.ids().map(str::to_owned).collect();
            let explanation = difference(&case.expect, &ids, |id| {
                let target = Target::Resource(id);
                explain(graph, user, resource_type, action.as_str(), target, at)
            })?;
            Ok(result(
                explanation.is_none(),
                set_in_words(&ids),
                explanation,
            ))
        }
        Question::Who {
            resource_type,
            action,
            id,
        } => {
            let (resource_type, action) = (resource_type.as_str(), action.as_str());
            let target = target(id.as_ref());
            let users = access_set::users_with_access(graph, resource_type, action, target, at)?;
            let ids: BTreeSet<String> = users.iter().map(|(user, _)| user.to_string()).collect();
            let explanation = difference(&case.expect, &ids, |user| {
                explain(graph, user, resource_type, action, target, at)
            })?;
            Ok(result(
                explanation.is_none(),
                set_in_words(&ids),
                explanation,
            ))
        }
    }
}

fn target(id: Option<&Id>) -> Target<'_> {
    id.map_or(Target::Tool, |id| Target::Resource(id.as_str()))
}

impl Expect {
    fn met_by(&self, actual: &Decision) -> bool {
        match self {
            Self::Decision {
                decision,
                reason,
                requestable,
                presentation,
            } => {
                decision.is_none_or(|decision| decision == actual.effect)
                    && reason.is_none_or(|reason| reason == actual.reason)
                    && requestable.is_none_or(|requestable| requestable == actual.requestable)
                    && presentation.is_none_or(|presentation| presentation == actual.presentation)
            }
            Self::Ids(_) => false,
        }
    }
}

impl std::fmt::Display for Expect {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Decision {
                decision,
                reason,
                requestable,
                presentation,
            } => {
                let words = [
                    decision.map(Effect::as_str),
                    reason.map(ReasonCode::as_str),
                    requestable.map(Requestable::as_str),
                    presentation.map(Presentation::as_str),
                ];
                let names = ["decision", "reason", "requestable", "presentation"];
                let listed: Vec<String> = names
                    .iter()
                    .zip(words)
                    .filter_map(|(name, word)| Some(format!("{name}: {}", word?)))
                    .collect();
                formatter.write_str(&listed.join(", "))
            }
            Self::Ids(ids) => formatter.write_str(&set_in_words(ids)),
        }
    }
}

fn words(decision: &Decision) -> String {
    Expect::Decision {
        decision: Some(decision.effect),
        reason: Some(decision.reason),
        requestable: Some(decision.requestable),
        presentation: Some(decision.presentation),
    }
    .to_string()
}

/// Ids that a message lists before it only counts them.
const IDS_SHOWN: usize = 50;

fn set_in_words(ids: &BTreeSet<String>) -> String {
    let listed: Vec<String> = ids.iter().take(IDS_SHOWN).map(|id| shown(id)).collect();
    let more = ids.len().saturating_sub(IDS_SHOWN);
    if more == 0 {
        format!("[{}]", listed.join(", "))
    } else {
        format!("[{}, and {more} more]", listed.join(", "))
    }
}

/// What is missing and what is too much, each with the reason of the first; `None` where the sets
/// are equal.
fn difference(
    expect: &Expect,
    actual: &BTreeSet<String>,
    explain: impl Fn(&str) -> Result<Explanation, UnknownName>,
) -> Result<Option<String>, UnknownName> {
    let Expect::Ids(expected) = expect else {
        return Ok(Some("the case expects a decision, not ids".to_owned()));
    };
    if expected == actual {
        return Ok(None);
    }
    let missing: BTreeSet<String> = expected.difference(actual).cloned().collect();
    let unexpected: BTreeSet<String> = actual.difference(expected).cloned().collect();
    let mut text = String::new();
    for (what, ids) in [("missing", &missing), ("unexpected", &unexpected)] {
        if let Some(first) = ids.first() {
            let reason = in_lines(&explain(first)?);
            let _ = writeln!(text, "{what}: {}", set_in_words(ids));
            let _ = writeln!(text, "{}: {reason}", shown(first));
        }
    }
    Ok(Some(text.trim_end().to_owned()))
}

fn in_lines(explanation: &Explanation) -> String {
    let mut text = explanation.summary.clone();
    for element in &explanation.path {
        let _ = write!(text, "\n  {}", element.text);
    }
    if let Some(remedy) = &explanation.remedy {
        let _ = write!(text, "\n  remedy: {remedy}");
    }
    text
}
