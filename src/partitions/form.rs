//! Forms: settings that say to whom what is submitted is assigned (P8).
//!
//! The authority is that of whoever set the form up, checked then: what is submitted names no
//! target and is judged by nobody's rights. A submission adds and never removes, and neither does a
//! form that is removed. A record of others that is open to everyone is closed only by a form whose
//! author may close any (P1); it is written without the target otherwise, which is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::Partitions;
use crate::authz::assignment::{AssignRefusal, Authority};
use crate::authz::change::{self, Change, ChangeError, ChangeProblem, ChangeSet, ResourcePatch};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{
    Attributes, Id, Principal, Provenance, Resource, ResourceKey, Timestamp,
};
use crate::directory::{
    DirectoryError, Idempotency, Planned, Planning, Precondition, WRITE_TRIES_MAX, WriteHeader,
    Written,
};
use crate::graph_cache::{Consistency, ReadError, ReadGraph};
use crate::revision::RevisionToken;
use crate::store::StoreError;
use crate::store::audit::Author;
use crate::store::forms::Form;

#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the account has no form `{0}`")]
    NoSuchForm(Id),
    #[error("the account's catalog has no resource type `{0}`")]
    UnknownType(Id),
    #[error("there is no {what} `{id}` in the account")]
    UnknownTarget {
        index: usize,
        what: &'static str,
        id: Id,
    },
    #[error("`{0}` is no active user of the account")]
    Actor(Id),
    #[error("the user may not assign such records to `{target}` (P1)")]
    TargetBeyond { index: usize, target: Principal },
    #[error(
        "the form is of another author: that takes a super admin or a holder of `partition.assign`"
    )]
    OtherAuthor,
}

impl From<StoreError> for FormError {
    fn from(error: StoreError) -> Self {
        Self::Directory(error.into())
    }
}

impl From<ReadError> for FormError {
    fn from(error: ReadError) -> Self {
        Self::Directory(error.into())
    }
}

/// What is said of a form at its set-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormSettings {
    pub id: Id,
    pub resource_type: Id,
    pub targets: BTreeSet<Principal>,
}

#[derive(Debug, Clone)]
pub struct Submission {
    pub account: Id,
    pub form: Id,
    pub resource: Id,
    /// Laid over what is stored.
    pub attributes: Option<Attributes>,
    pub idempotency: Option<Idempotency>,
    /// Who submits it, for the audit.
    pub author: Author,
}

/// A target that was not applied to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithheldTarget {
    pub target: Principal,
    /// A name of the closed list of reasons.
    pub reason: &'static str,
    pub message: String,
}

#[derive(Debug, Clone)]
pub struct Submitted {
    pub token: RevisionToken,
    pub created: bool,
    pub withheld: Vec<WithheldTarget>,
}

impl Partitions {
    /// Sets a form up in the name of an actor; `None`: an operator's.
    pub async fn put_form(
        &self,
        account: &Id,
        settings: FormSettings,
        actor: Option<Id>,
        author: &Author,
    ) -> Result<Form, FormError> {
        let graphs = self.directory.graphs();
        let read = graphs.read(account, &Consistency::FullyConsistent).await?;
        let before = self.forms.form(account, &settings.id).await?;
        let now = self.clock.now();
        let form = {
            let authority = Authority::of(&read.graph, actor.as_ref(), now);
            check_author(&authority, actor.as_ref(), before.as_ref())?;
            check_settings(&read.graph, &authority, &settings)?;
            Form {
                id: settings.id,
                resource_type: settings.resource_type,
                targets: settings.targets,
                may_close: authority.is_unlimited(),
                author: actor,
            }
        };
        match self.forms.put_form(account, &form, author).await? {
            true => Ok(form),
            false => Err(ReadError::UnknownAccount(account.clone()).into()),
        }
    }

    pub async fn delete_form(
        &self,
        account: &Id,
        id: &Id,
        actor: Option<&Id>,
        author: &Author,
    ) -> Result<(), FormError> {
        let graphs = self.directory.graphs();
        let read = graphs.read(account, &Consistency::FullyConsistent).await?;
        let Some(before) = self.forms.form(account, id).await? else {
            return Err(FormError::NoSuchForm(id.clone()));
        };
        let now = self.clock.now();
        check_author(
            &Authority::of(&read.graph, actor, now),
            actor,
            Some(&before),
        )?;
        match self.forms.delete_form(account, id, author).await? {
            true => Ok(()),
            false => Err(FormError::NoSuchForm(id.clone())),
        }
    }

    /// Forms after an id, in byte order of ids, at most `limit`.
    pub async fn forms(
        &self,
        account: &Id,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<Form>, FormError> {
        let graphs = self.directory.graphs();
        graphs.read(account, &Consistency::MinimizeLatency).await?;
        Ok(self.forms.forms(account, after, limit).await?)
    }

    /// Makes or updates a record with what was submitted.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, FormError> {
        let header = WriteHeader {
            account: &submission.account,
            precondition: Precondition::None,
            idempotency: submission.idempotency.as_ref(),
            tries_max: WRITE_TRIES_MAX,
            author: &submission.author,
        };
        let planning = PlanSubmission {
            partitions: self,
            submission: &submission,
        };
        let (head, told) = match self.directory.write_planned(&header, &planning).await? {
            Written::Made { head, told } => (head, told),
            Written::Replayed(before) => (Some(before.head), self.told_again(&submission).await?),
        };
        let head = head.ok_or_else(|| ReadError::UnknownAccount(submission.account.clone()))?;
        Ok(Submitted {
            token: self.directory.graphs().token(&submission.account, head),
            created: told.created,
            withheld: told.withheld,
        })
    }

    /// Of a submission that was carried out before: the targets that its record does not have.
    async fn told_again(&self, submission: &Submission) -> Result<SubmissionTold, FormError> {
        let account = &submission.account;
        let graphs = self.directory.graphs();
        let read = graphs.read(account, &Consistency::FullyConsistent).await?;
        let Some(form) = self.forms.form(account, &submission.form).await? else {
            return Ok(SubmissionTold::default());
        };
        let resource = read.graph.resource(&key_of(&form, submission));
        let missing = form.targets.iter().filter(|target| {
            !resource
                .as_ref()
                .is_some_and(|resource| has(resource, target, &form.id))
        });
        Ok(SubmissionTold {
            created: false,
            withheld: missing
                .map(|target| WithheldTarget {
                    target: target.clone(),
                    reason: "NO_ASSIGN_AUTHORITY",
                    message: "the form does not assign the record to it".to_owned(),
                })
                .collect(),
        })
    }
}

fn check_author(
    authority: &Authority<'_>,
    actor: Option<&Id>,
    before: Option<&Form>,
) -> Result<(), FormError> {
    if let Some(actor) = actor
        && !authority.is_somebody()
    {
        return Err(FormError::Actor(actor.clone()));
    }
    let is_theirs = before.is_none_or(|form| form.author.as_ref() == actor);
    match is_theirs || authority.is_unlimited() {
        true => Ok(()),
        false => Err(FormError::OtherAuthor),
    }
}

fn check_settings(
    graph: &AccountGraph,
    authority: &Authority<'_>,
    settings: &FormSettings,
) -> Result<(), FormError> {
    let resource_type = &settings.resource_type;
    if graph.catalog().type_ix(resource_type.as_str()).is_none() {
        return Err(FormError::UnknownType(resource_type.clone()));
    }
    for (index, target) in settings.targets.iter().enumerate() {
        if !is_there(graph, target) {
            return Err(FormError::UnknownTarget {
                index,
                what: what(target),
                id: target.id().clone(),
            });
        }
        authority
            .judge_new(resource_type, target)
            .map_err(|_refusal| FormError::TargetBeyond {
                index,
                target: target.clone(),
            })?;
    }
    Ok(())
}

fn what(principal: &Principal) -> &'static str {
    match principal {
        Principal::User(_) => "user",
        Principal::Team(_) => "team",
        Principal::Group(_) => "access group",
    }
}

fn is_there(graph: &AccountGraph, principal: &Principal) -> bool {
    match principal {
        Principal::User(id) => graph.user(id.as_str()).is_some(),
        Principal::Team(id) => graph.team(id.as_str()).is_some(),
        Principal::Group(id) => graph.access_group(id.as_str()).is_some(),
    }
}

fn key_of(form: &Form, submission: &Submission) -> ResourceKey {
    ResourceKey {
        resource_type: form.resource_type.clone(),
        id: submission.resource.clone(),
    }
}

fn has(resource: &Resource, target: &Principal, form: &Id) -> bool {
    resource.assignments.iter().any(|row| {
        row.principal == *target && matches!(&row.provenance, Provenance::Form(id) if id == form)
    })
}

struct PlanSubmission<'a> {
    partitions: &'a Partitions,
    submission: &'a Submission,
}

#[derive(Debug, Default)]
struct SubmissionTold {
    created: bool,
    withheld: Vec<WithheldTarget>,
}

#[async_trait]
impl Planning for PlanSubmission<'_> {
    type Told = SubmissionTold;
    type Error = FormError;

    async fn plan(
        &self,
        present: Option<Arc<ReadGraph>>,
    ) -> Result<Planned<SubmissionTold>, FormError> {
        let Self {
            partitions,
            submission,
        } = self;
        let account = &submission.account;
        let present = present.ok_or_else(|| ReadError::UnknownAccount(account.clone()))?;
        let Some(form) = partitions.forms.form(account, &submission.form).await? else {
            return Err(FormError::NoSuchForm(submission.form.clone()));
        };
        let key = key_of(&form, submission);
        // Where the account has moved on since, the store answers the write with a conflict.
        let keys = std::slice::from_ref(&key);
        let stored = match &submission.attributes {
            Some(_) => partitions.store.attributes(account, keys).await?,
            None => Vec::new(),
        };
        let attributes = submission.attributes.clone().map(|submitted| {
            let mut merged = stored
                .first()
                .map_or_else(Attributes::new, |(_, stored)| stored.clone());
            merged.extend(submitted);
            merged
        });
        let now = partitions.clock.now();
        let work = move || planned(&present.graph, &form, &key, attributes, now);
        let graphs = partitions.directory.graphs();
        let (mut set, told) = graphs.compute(account, work).await??;
        set.settle_attributes(stored);
        Ok(Planned {
            changes: set.changes,
            events: Vec::new(),
            answer: None,
            batch: None,
            remembered: true,
            stored: true,
            told,
        })
    }
}

fn planned(
    graph: &AccountGraph,
    form: &Form,
    key: &ResourceKey,
    attributes: Option<Attributes>,
    now: Timestamp,
) -> Result<(ChangeSet, SubmissionTold), DirectoryError> {
    let before = graph.resource(key);
    let put = Change::PutResource(ResourcePatch {
        key: key.clone(),
        owners: None,
        owning_team: None,
        partitioned: None,
        attributes,
        creator: None,
    });
    let assign = |target: &Principal| Change::PutAssignment {
        resource: key.clone(),
        principal: target.clone(),
        provenance: Provenance::Form(form.id.clone()),
        expires_at: None,
    };
    let account = &graph.account().id;
    let mut changes = vec![put.clone()];
    let mut withheld = Vec::new();
    for target in &form.targets {
        let alone = [put.clone(), assign(target)];
        let judged = judge(graph, form, before.as_ref(), target, now).and_then(|()| {
            change::plan(account, Some(graph), &alone)
                .map(drop)
                .map_err(|error| AssignRefusal::Change(error.problem))
        });
        match judged {
            Ok(()) => changes.push(assign(target)),
            Err(refusal) => withheld.push(WithheldTarget {
                target: target.clone(),
                reason: refusal.name(),
                message: refusal.to_string(),
            }),
        }
    }
    let set = change::plan(account, Some(graph), &changes).map_err(own)?;
    // What would be stored can be loaded again.
    graph
        .apply(&set.changes)
        .map_err(DirectoryError::Unusable)?;
    let told = SubmissionTold {
        created: before.is_none(),
        withheld,
    };
    Ok((set, told))
}

/// What is wrong with the record alone, which has no list of changes around it.
fn own(error: ChangeError) -> DirectoryError {
    match error.problem {
        ChangeProblem::NoAccount => ReadError::Internal.into(),
        _ => DirectoryError::Change(error),
    }
}

/// Whether a target applies to a record: by the authority that the form was set up with to all of
/// them, and else where its author may assign the record so (P1, P8).
fn judge(
    graph: &AccountGraph,
    form: &Form,
    before: Option<&Resource>,
    target: &Principal,
    now: Timestamp,
) -> Result<(), AssignRefusal> {
    let Some(resource) = before else {
        return Ok(());
    };
    if form.may_close || has(resource, target, &form.id) {
        return Ok(());
    }
    match &form.author {
        Some(author) => Authority::of(graph, Some(author), now).judge(resource, target),
        None => Err(AssignRefusal::FirstAssignment),
    }
}
