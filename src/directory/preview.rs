//! A look before the leap: what a list of changes would do, planned as a write is and never made.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::write::check;
use super::{Directory, DirectoryError, Supposed, plan};
use crate::authz::change::Change;
use crate::authz::difference::{Halted, Standpoint, Work};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Timestamp};
use crate::authz::preview::{self, Preview};
use crate::authz::visibility::{self, Question};
use crate::revision::RevisionToken;

/// Changes that are looked at.
#[derive(Debug, Clone)]
pub struct PreviewChanges {
    pub account: Id,
    pub changes: Vec<Change>,
    /// The user by whose rights they are judged; `None`: an operator's.
    pub actor: Option<Id>,
    /// Refused with [`DirectoryError::ExpectedRevision`] where the account stands elsewhere.
    pub expected: Option<RevisionToken>,
    /// The moment that both states are compared at; `None`: now.
    pub at: Option<Timestamp>,
}

/// What supposed changes do to access.
#[derive(Debug, Clone)]
pub struct Foreseen {
    pub preview: Preview,
    /// What the account would become.
    pub after: Arc<AccountGraph>,
}

/// What one user gains and loses by one action.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PreviewedAccess {
    pub gained: Ids,
    pub lost: Ids,
}

/// Ids in one piece of memory, in no order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ids {
    text: String,
    ends: Vec<usize>,
}

impl Directory {
    /// Plans changes on the account as it stands, with all that would refuse them, and holds what it
    /// would become.
    pub async fn suppose(&self, request: PreviewChanges) -> Result<Supposed, DirectoryError> {
        let account = request.account;
        let precondition = self.precondition(&account, request.expected.as_ref())?;
        let present = self.present(&account).await?;
        check(precondition, &account, present.as_deref())?;
        let at = request.at.unwrap_or_else(|| self.clock.now());
        let acting = plan::Acting::of(request.actor.as_ref(), self.clock.as_ref());
        let planned = plan::plan(
            self.store.as_ref(),
            &self.graphs,
            &account,
            (Arc::new(request.changes), acting),
            present.clone(),
            Arc::new,
        )
        .await?;
        let after = planned.made;
        let mut supposed = Supposed::new(account, present, Arc::clone(&after), at);
        supposed.become_of(&planned.set.changes, after);
        supposed.lines = planned.set.summary;
        supposed.ceiling = planned.ceiling;
        Ok(supposed)
    }

    /// What the changes do to access, once rules have followed them.
    pub async fn preview(
        &self,
        supposed: &mut Supposed,
    ) -> Result<Result<Foreseen, Halted>, DirectoryError> {
        self.settle(supposed).await?;
        let of = supposed.clone();
        let found = self.graphs.compute_paced(&supposed.account, move |pace| {
            let mut pause = || pace.pause();
            let mut work = of.work(&mut pause)?;
            let before = of.present.as_ref().map(|present| &present.graph);
            let preview = preview::preview(before, &of.after, of.at, &mut work)?;
            Ok(Foreseen {
                preview,
                after: of.after,
            })
        });
        Ok(found.await?)
    }

    /// All that one user gains and loses by one action.
    pub async fn previewed_access(
        &self,
        supposed: &mut Supposed,
        question: Question,
    ) -> Result<Result<PreviewedAccess, Halted>, DirectoryError> {
        self.settle(supposed).await?;
        let of = supposed.clone();
        let found = self.graphs.compute_paced(&supposed.account, move |pace| {
            let mut pause = || pace.pause();
            of.access(&question, &mut pause)
        });
        Ok(found.await?)
    }
}

impl Supposed {
    /// What is left of the work that a look may do.
    fn work<'p>(&self, pause: &'p mut dyn FnMut() -> ControlFlow<()>) -> Result<Work<'p>, Halted> {
        if let Some(halted) = &self.halted {
            return Err(halted.clone());
        }
        let mut work = Work::new(preview::WORK_MAX, pause);
        work.spend(self.checks)?;
        Ok(work)
    }

    fn standpoints(&self) -> (Standpoint<'_>, Standpoint<'_>) {
        let before = Standpoint {
            graph: self.present.as_ref().map(|present| &present.graph),
            at: self.at,
        };
        let after = Standpoint {
            graph: Some(&self.after),
            at: self.at,
        };
        (before, after)
    }

    fn access(
        &self,
        question: &Question,
        pause: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<PreviewedAccess, Halted> {
        let (before, after) = self.standpoints();
        let mut access = PreviewedAccess::default();
        let mut work = self.work(pause)?;
        visibility::compare(before, after, question, &mut work, &mut |change| {
            access.gained.extend(change.gained());
            access.lost.extend(change.lost());
            Ok(())
        })?;
        Ok(access)
    }

    /// Whether either state has the type and the action.
    pub fn resolve(&self, question: &Question) -> Result<(), crate::authz::decision::UnknownName> {
        let (before, after) = self.standpoints();
        match question.resolve(after) {
            Err(error) if before.graph.is_none() => Err(error),
            Err(_) => question.resolve(before),
            Ok(()) => Ok(()),
        }
    }
}

impl Ids {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> + Send {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let spans = starts.zip(&self.ends);
        spans.map(|(start, end)| self.text.get(start..*end).unwrap_or_default())
    }
}

impl<'a> Extend<&'a str> for Ids {
    fn extend<T: IntoIterator<Item = &'a str>>(&mut self, ids: T) {
        for id in ids {
            self.text.push_str(id);
            self.ends.push(self.text.len());
        }
    }
}
