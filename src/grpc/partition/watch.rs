//! `WatchAccess`: what becomes visible and what stops being visible, as it happens.

use std::time::Duration;

use tokio::sync::mpsc;
use tonic::Status;

use super::PartitionHandlers;
use crate::authz::decision::Effect;
use crate::authz::model::{Id, Timestamp};
use crate::authz::visibility::Question;
use crate::decision_log::{Draw, Listed, Subject, What};
use crate::directory::{AccessWatch, AccessWatchError, Due, VisibilityChange};
use crate::grpc::admission::AdmittedAccount;
use crate::grpc::asker::Asker;
use crate::grpc::chunks::{ChunkSender, Chunks};
use crate::grpc::convert;
use crate::grpc::reading::{blamed_on_revision, revision_token};
use crate::grpc::status::{Failure, Reason};
use crate::grpc::wire;
use crate::store::Head;
use wire::watch_access_response::Event;

/// Between two signs of life of a quiet watch.
const HEARTBEAT: Duration = Duration::from_secs(10);

const AFTER: &str = "after_revision";

type Sender = ChunkSender<wire::WatchAccessResponse>;

/// What the log says of a watch: who asked, and for what.
struct Asked {
    asker: Asker,
    account: AdmittedAccount,
    question: Question,
    draw: Option<Draw>,
}

impl PartitionHandlers {
    pub(super) async fn watch_access(
        &self,
        asker: Asker,
        request: wire::WatchAccessRequest,
    ) -> Result<Chunks<wire::WatchAccessResponse>, Failure> {
        let draw = self.log.draw();
        let account = asker.account(&request.account_id)?;
        let question = Question {
            user: convert::optional_id(&request.user_id, "user_id")?,
            resource_type: convert::id(&request.resource_type, "resource_type")?,
            action: convert::id(&request.action, "action")?,
        };
        let held = held(&request)?;
        let watch = self
            .directory
            .watch_access(&account, question.clone(), held, HEARTBEAT)
            .await
            .map_err(|error| blamed_on_revision(error.into(), AFTER))?;
        let asked = Asked {
            asker,
            account,
            question,
            draw,
        };
        let handlers = self.clone();
        Ok(self
            .reading
            .chunks(move |sender| async move { handlers.follow(asked, watch, sender).await }))
    }

    async fn follow(
        &self,
        asked: Asked,
        mut watch: AccessWatch,
        sender: Sender,
    ) -> Result<(), Status> {
        if let Some(position) = watch.position() {
            self.heartbeat(&asked.account, position, &sender).await?;
        }
        loop {
            let due = tokio::select! {
                due = watch.next() => due.map_err(Failure::from)?,
                status = sender.closed() => return Err(status),
                () = self.shutdown.soft().cancelled() => {
                    return Err(Failure::new(
                        Reason::ShuttingDown,
                        "the server is shutting down: watch on after the last revision at another one",
                    )
                    .into());
                }
            };
            let (to, is_list) = match due {
                Due::Heartbeat => {
                    if let Some(position) = watch.position() {
                        self.heartbeat(&asked.account, position, &sender).await?;
                    }
                    continue;
                }
                Due::List(to) => (to, true),
                Due::Change(to) => (to, false),
            };
            let from = watch.position();
            let (parts, mut told) = mpsc::channel(1);
            let telling = async {
                let told = watch.tell(to, parts).await;
                told.map_err(|error| Status::from(Failure::from(error)))
            };
            let passing_on = async {
                let mut last: Option<Vec<VisibilityChange>> = None;
                let mut total = 0;
                while let Some(part) = told.recv().await {
                    total += visible(&part);
                    // The last part is told with where it leads to, so each waits for the next one.
                    if let Some(part) = last.replace(part) {
                        let position = self.position(&asked.account, from);
                        sender
                            .send(response(position, &part, is_list, true))
                            .await?;
                    }
                }
                Ok::<_, Status>((last, total))
            };
            let ((), (last, total)) = tokio::try_join!(telling, passing_on)?;
            let position = self.position(&asked.account, watch.position());
            if is_list {
                self.record(&asked, watch.position(), &position.0, total);
            }
            // A list is told though it be empty; of a change that is none the next heartbeat tells.
            if is_list || last.is_some() {
                let last = last.unwrap_or_default();
                sender
                    .send(response(position, &last, is_list, false))
                    .await?;
            }
        }
    }

    async fn heartbeat(
        &self,
        account: &Id,
        position: (Head, Timestamp),
        sender: &Sender,
    ) -> Result<(), Status> {
        let (revision, at) = self.position(account, Some(position));
        let event = Event::Heartbeat(wire::AccessHeartbeat {});
        sender
            .send(wire::WatchAccessResponse {
                revision,
                at,
                event: Some(event),
            })
            .await
    }

    fn position(
        &self,
        account: &Id,
        position: Option<(Head, Timestamp)>,
    ) -> (String, Option<prost_types::Timestamp>) {
        match position {
            Some((head, at)) => {
                let at = convert::timestamp_to_wire(at);
                (self.reading.revision(account, head), Some(at))
            }
            None => (String::new(), None),
        }
    }

    /// A list that is told is a decision like any other list.
    fn record(
        &self,
        asked: &Asked,
        position: Option<(Head, Timestamp)>,
        revision: &str,
        accessible: u64,
    ) {
        let question = &asked.question;
        self.log.write(asked.draw, Effect::Allow, || {
            let subject = Subject {
                user: question.user.as_ref().map(Id::as_str),
                action: Some(question.action.as_str()),
                resource_type: question.resource_type.as_str(),
                resource_id: "",
                at: position.map_or(Timestamp::MIN, |(_, at)| at),
            };
            let what = What::Listed(Listed {
                asked: None,
                accessible,
            });
            let asker = &asked.asker;
            asker.record("WatchAccess", &asked.account, subject, revision, what)
        });
    }
}

/// The list that the caller holds, by its revision and its moment.
fn held(
    request: &wire::WatchAccessRequest,
) -> Result<Option<(crate::revision::RevisionToken, Timestamp)>, Failure> {
    let token = revision_token(&request.after_revision, AFTER)?;
    let at = request.at.as_ref();
    let at = at.map(|at| convert::moment(at, "at")).transpose()?;
    match (token, at) {
        (None, None) => Ok(None),
        (Some(token), Some(at)) => Ok(Some((token, at))),
        (Some(_), None) => Err(Failure::invalid(
            "at",
            "give the moment of the list that `after_revision` is of: what has ended since is told after it",
        )),
        (None, Some(_)) => Err(Failure::invalid(
            "at",
            "a moment goes with `after_revision`; without a revision the watch begins with the list as it is now",
        )),
    }
}

fn visible(part: &[VisibilityChange]) -> u64 {
    let ids = part.iter().map(|user| user.visible.len());
    u64::try_from(ids.sum::<usize>()).unwrap_or(u64::MAX)
}

fn response(
    (revision, at): (String, Option<prost_types::Timestamp>),
    part: &[VisibilityChange],
    is_list: bool,
    more_follow: bool,
) -> wire::WatchAccessResponse {
    let ids = |ids: &crate::directory::Ids| ids.iter().map(str::to_owned).collect();
    let users = part.iter();
    let event = match is_list {
        true => Event::Listed(wire::ListedAccess {
            users: users
                .map(|user| wire::VisibleResources {
                    user_id: user.user.to_string(),
                    resource_ids: ids(&user.visible),
                })
                .collect(),
            more_follow,
        }),
        false => Event::Changed(wire::ChangedAccess {
            users: users
                .map(|user| wire::VisibilityChange {
                    user_id: user.user.to_string(),
                    visible_ids: ids(&user.visible),
                    hidden_ids: ids(&user.hidden),
                })
                .collect(),
        }),
    };
    wire::WatchAccessResponse {
        revision,
        at,
        event: Some(event),
    }
}

impl From<AccessWatchError> for Failure {
    fn from(error: AccessWatchError) -> Self {
        match error {
            AccessWatchError::Directory(error) => error.into(),
            AccessWatchError::Unknown(error) => Self::unknown_name(&error),
            AccessWatchError::Halted(error) => error.into(),
        }
    }
}
