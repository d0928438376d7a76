//! What becomes visible and what stops being visible in an account, followed without a gap.
//!
//! A watch holds the snapshot that it told of last, and compares it with the present one whenever that
//! is another, or a moment has come at which something ends or begins by itself. So what is told over
//! the first list is every later list, whoever wrote in between, and whether anybody did.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Directory, DirectoryError, Ids};
use crate::authz::decision::UnknownName;
use crate::authz::difference::{Halted, Standpoint, Work};
use crate::authz::model::{Entity, EntityChange, EntityKey, Id, Timestamp};
use crate::authz::preview::WORK_MAX;
use crate::authz::visibility::{self, Question};
use crate::graph_cache::{Consistency, Pace, ReadError, ReadGraph};
use crate::revision::RevisionToken;
use crate::store::{Changes, Head};

/// How often a quiet watch looks at the clock and at its account: one that was evicted is no longer
/// followed by the feed, and one that can't be followed ends the watch.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Resources that may have changed since a caller's revision and are still told one by one.
const RESTATED_MAX: usize = 10_000;

/// What a part of an event may have, in bytes of ids; the last one may reach over it.
const PART_BYTES: usize = 48 * 1_024;

/// Why a watch has ended.
#[derive(Debug, thiserror::Error)]
pub enum AccessWatchError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The catalog does not have the question, or not any more.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    #[error(transparent)]
    Halted(#[from] Halted),
}

impl From<ReadError> for AccessWatchError {
    fn from(error: ReadError) -> Self {
        Self::Directory(error.into())
    }
}

/// How one user's list differs, or a part of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibilityChange {
    pub user: Id,
    pub visible: Ids,
    pub hidden: Ids,
}

/// What a watch waits for.
#[derive(Debug)]
pub enum Due {
    Heartbeat,
    /// The list is to be told whole, and replaces what the caller holds.
    List(Moment),
    /// The list may differ from what was told.
    Change(Moment),
}

/// A snapshot at a moment.
#[derive(Debug, Clone)]
pub struct Moment {
    read: Arc<ReadGraph>,
    at: Timestamp,
}

/// Pulled by its reader, so a slow reader costs nothing but the snapshot that it was told of last.
pub struct AccessWatch {
    directory: Directory,
    account: Id,
    question: Question,
    heartbeat: Duration,
    told: Told,
}

/// What the caller holds.
enum Told {
    Nothing,
    /// The list of a snapshot.
    List {
        of: Moment,
        /// When it changes by itself, at the soonest.
        until: Option<Timestamp>,
    },
    /// The list of an earlier state which differs from this one in nothing but these resources.
    ListBefore {
        head: Head,
        of: Moment,
        ids: Vec<Id>,
    },
}

impl Directory {
    /// Follows the lists of a question: from the list that a caller holds, as of a revision and a
    /// moment, or from the beginning.
    pub async fn watch_access(
        &self,
        account: &Id,
        question: Question,
        held: Option<(RevisionToken, Timestamp)>,
        heartbeat: Duration,
    ) -> Result<AccessWatch, AccessWatchError> {
        let consistency = match &held {
            Some((token, _)) => Consistency::AtLeastAsFresh(*token),
            None => Consistency::FullyConsistent,
        };
        let read = self.graphs.read(account, &consistency).await?;
        question.resolve(standpoint(&read, Timestamp::MIN))?;
        let told = match held {
            None => Told::Nothing,
            Some((token, at)) => {
                let head = self
                    .head_of(&token, account)
                    .map_err(DirectoryError::from)?;
                self.held_list(account, &question, head, at).await?
            }
        };
        Ok(AccessWatch {
            directory: self.clone(),
            account: account.clone(),
            question,
            heartbeat,
            told,
        })
    }

    /// What is left of a list that a caller holds: the log names what was touched since, and the list
    /// is as good as new where that was resources alone and nothing has ended or begun by itself.
    async fn held_list(
        &self,
        account: &Id,
        question: &Question,
        head: Head,
        at: Timestamp,
    ) -> Result<Told, AccessWatchError> {
        let changes = self.store.changes_since(account, head).await;
        let (to, changes) = match changes.map_err(DirectoryError::Store)? {
            Changes::None => (head, Vec::new()),
            Changes::Delta { head, changes, .. } => (head, changes),
            Changes::Reload => return Ok(Told::Nothing),
            Changes::Gone => return Err(ReadError::UnknownAccount(account.clone()).into()),
        };
        let Some(ids) = touched(&changes, &question.resource_type) else {
            return Ok(Told::Nothing);
        };
        let consistency = Consistency::AtLeastAsFresh(self.graphs.token(account, to));
        let read = self.graphs.read(account, &consistency).await?;
        // Where somebody wrote meanwhile, what that touched is not among these.
        if read.head != to {
            return Ok(Told::Nothing);
        }
        let now = self.clock.now().max(at);
        let of = Moment {
            read: Arc::clone(&read),
            at: now,
        };
        let question = question.clone();
        let turn = self.graphs.compute_paced(account, move |pace| {
            let mut pause = || pace.pause();
            let mut work = Work::new(WORK_MAX, &mut pause);
            visibility::next_turn(&read.graph, &question, at, &mut work)
        });
        let until = turn.await??;
        if until.is_some_and(|until| until <= now) {
            return Ok(Told::Nothing);
        }
        Ok(match ids.is_empty() {
            true => Told::List { of, until },
            false => Told::ListBefore { head, of, ids },
        })
    }
}

impl AccessWatch {
    /// What the caller holds once everything that was told is applied; `None`: nothing yet.
    pub fn position(&self) -> Option<(Head, Timestamp)> {
        match &self.told {
            Told::Nothing => None,
            Told::List { of, .. } => Some((of.read.head, of.at)),
            Told::ListBefore { head, of, .. } => Some((*head, of.at)),
        }
    }

    /// Waits until there is something to tell. After an error the watch is at an end. Dropped before it
    /// is done, nothing is lost.
    pub async fn next(&mut self) -> Result<Due, AccessWatchError> {
        let heartbeat = tokio::time::sleep(self.heartbeat);
        tokio::pin!(heartbeat);
        loop {
            let graphs = &self.directory.graphs;
            let live = graphs.live(&self.account).await?;
            let mut heads = live.subscribe();
            heads.mark_unchanged();
            let read = graphs
                .read(&self.account, &Consistency::MinimizeLatency)
                .await?;
            let now = self.directory.clock.now();
            let nap = match &mut self.told {
                Told::Nothing => return Ok(Due::List(Moment { read, at: now })),
                Told::ListBefore { of, .. } => return Ok(Due::Change(of.clone())),
                Told::List { of, until } => {
                    // The clock of the machine may have been set back; what was told stays told.
                    let now = now.max(of.at);
                    let has_come = until.is_some_and(|until| until <= now);
                    if read.head != of.read.head || has_come {
                        return Ok(Due::Change(Moment { read, at: now }));
                    }
                    of.at = now;
                    nap(now, *until)
                }
            };
            tokio::select! {
                // An error would mean that the account left the cache; the next round finds it.
                _ = heads.changed() => {}
                () = tokio::time::sleep(nap) => {}
                () = &mut heartbeat => return Ok(Due::Heartbeat),
            }
        }
    }

    /// Tells the list of a moment, or how it differs from what was told, in parts. Until all of it is
    /// told the watch stands where it stood.
    pub async fn tell(
        &mut self,
        to: Moment,
        parts: mpsc::Sender<Vec<VisibilityChange>>,
    ) -> Result<(), AccessWatchError> {
        self.question.resolve(standpoint(&to.read, to.at))?;
        let job = Job {
            question: self.question.clone(),
            from: match &self.told {
                Told::Nothing => Held::Nothing,
                Told::ListBefore { ids, .. } => Held::Ids(ids.clone()),
                // Where nothing turns between the moments, only what was written can differ.
                Told::List { of, until } if until.is_none_or(|until| until > to.at) => {
                    Held::List(Moment {
                        at: to.at,
                        ..of.clone()
                    })
                }
                Told::List { of, .. } => Held::List(of.clone()),
            },
            to: to.clone(),
        };
        // It fails only where the semaphore is closed, which nobody does.
        let _permit = self.directory.telling.acquire().await;
        let graphs = &self.directory.graphs;
        let told = graphs.compute_paced(&self.account, move |pace| job.run(pace, &parts));
        let until = told.await??;
        self.told = Told::List { of: to, until };
        Ok(())
    }
}

/// One comparison, on a thread of its own.
struct Job {
    question: Question,
    from: Held,
    to: Moment,
}

enum Held {
    Nothing,
    Ids(Vec<Id>),
    List(Moment),
}

impl Job {
    /// Answers when the list that was told changes by itself.
    fn run(
        self,
        pace: &mut Pace,
        parts: &mpsc::Sender<Vec<VisibilityChange>>,
    ) -> Result<Option<Timestamp>, Halted> {
        let pace = RefCell::new(pace);
        let mut pause = || pace.borrow_mut().pause();
        let mut work = Work::new(WORK_MAX, &mut pause);
        let mut send = |part: Vec<VisibilityChange>| {
            // Whoever waits for a reader computes nothing.
            let sent = pace.borrow_mut().aside(|| parts.blocking_send(part));
            match sent {
                ControlFlow::Continue(Ok(())) => Ok(()),
                ControlFlow::Continue(Err(_)) | ControlFlow::Break(()) => Err(Halted::Stopped),
            }
        };
        let mut part = Part::default();
        let to = standpoint(&self.to.read, self.to.at);
        match &self.from {
            Held::Ids(ids) => {
                let graph = &self.to.read.graph;
                let at = self.to.at;
                let tell = &mut |user: &Id, id: &Id, is_visible| {
                    part.add(user, id.as_str(), is_visible, &mut send)
                };
                visibility::restate(graph, &self.question, at, ids, &mut work, tell)?;
            }
            Held::Nothing | Held::List(_) => {
                let from = match &self.from {
                    Held::List(of) => standpoint(&of.read, of.at),
                    Held::Nothing | Held::Ids(_) => Standpoint {
                        graph: None,
                        at: self.to.at,
                    },
                };
                visibility::compare(from, to, &self.question, &mut work, &mut |change| {
                    for id in change.gained() {
                        part.add(change.user, id, true, &mut send)?;
                    }
                    for id in change.lost() {
                        part.add(change.user, id, false, &mut send)?;
                    }
                    Ok(())
                })?;
            }
        }
        if !part.users.is_empty() {
            send(part.users)?;
        }
        visibility::next_turn(&self.to.read.graph, &self.question, self.to.at, &mut work)
    }
}

/// A part that is being filled.
#[derive(Default)]
struct Part {
    users: Vec<VisibilityChange>,
    bytes: usize,
}

impl Part {
    fn add(
        &mut self,
        user: &Id,
        id: &str,
        is_visible: bool,
        send: &mut dyn FnMut(Vec<VisibilityChange>) -> Result<(), Halted>,
    ) -> Result<(), Halted> {
        if self.users.last().is_none_or(|last| last.user != *user) {
            self.bytes += user.as_str().len();
            self.users.push(VisibilityChange {
                user: user.clone(),
                visible: Ids::default(),
                hidden: Ids::default(),
            });
        }
        if let Some(change) = self.users.last_mut() {
            let ids = match is_visible {
                true => &mut change.visible,
                false => &mut change.hidden,
            };
            ids.extend(std::iter::once(id));
            self.bytes += id.len() + 4;
        }
        if self.bytes < PART_BYTES {
            return Ok(());
        }
        self.bytes = 0;
        send(std::mem::take(&mut self.users))
    }
}

fn standpoint(read: &ReadGraph, at: Timestamp) -> Standpoint<'_> {
    Standpoint {
        graph: Some(&read.graph),
        at,
    }
}

/// How long until a moment, at most [`LOOK_INTERVAL`].
fn nap(now: Timestamp, until: Option<Timestamp>) -> Duration {
    let ahead = until.map(|until| until.unix_micros().saturating_sub(now.unix_micros()));
    let ahead = ahead.and_then(|micros| u64::try_from(micros).ok());
    ahead
        .map_or(LOOK_INTERVAL, Duration::from_micros)
        .min(LOOK_INTERVAL)
}

/// Ids of the resources of a type among changes; `None`: something else has changed that lists rest
/// on, or too many resources have.
fn touched(changes: &[EntityChange], resource_type: &Id) -> Option<Vec<Id>> {
    let mut ids = Vec::new();
    for change in changes {
        let key = match change {
            EntityChange::Put(entity) => match entity {
                Entity::Resource(resource, _) => EntityKey::Resource(resource.key.clone()),
                other => other.key(),
            },
            EntityChange::Delete(key) => key.clone(),
        };
        match key {
            EntityKey::Resource(key) if key.resource_type == *resource_type => ids.push(key.id),
            EntityKey::Resource(_) | EntityKey::Segment(_) | EntityKey::AccessRequest(_) => {}
            EntityKey::Account
            | EntityKey::Team(_)
            | EntityKey::PermissionSet(_)
            | EntityKey::User(_)
            | EntityKey::AccessGroup(_) => return None,
        }
    }
    (ids.len() <= RESTATED_MAX).then_some(ids)
}
