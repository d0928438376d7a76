//! Questions for all that there is: which resources, which users, which actions.

use super::question::Question;
use super::{DecisionHandlers, REQUEST, number};
use crate::authz::access_set::{Narrowing, actions_allowed, users_with_access};
use crate::authz::decision::Effect;
use crate::authz::model::{ID_BYTES_MAX, Timestamp};
use crate::decision_log::{Listed, Subject, What};
use crate::grpc::asker::Asker;
use crate::grpc::chunks::{CHUNK_BYTES, Chunks};
use crate::grpc::convert::{self, Asked};
use crate::grpc::packed::PackedIds;
use crate::grpc::page_token::Binding;
use crate::grpc::status::Failure;
use crate::grpc::wire;

/// Most ids of a page of a list.
pub const PAGE_IDS_MAX: usize = 100_000;

impl DecisionHandlers {
    pub(super) async fn list_accessible(
        &self,
        asker: Asker,
        request: wire::ListAccessibleRequest,
    ) -> Result<Chunks<wire::ListAccessibleResponse>, Failure> {
        let draw = self.log.draw();
        let account = asker.account(&request.account_id)?;
        let mut question = Question::new(
            &request.user_id,
            &request.action,
            &request.resource_type,
            Timestamp::MIN,
        )?;
        for (text, field) in [
            (&request.owner_id, "owner_id"),
            (&request.team_id, "team_id"),
            (&request.access_group_id, "access_group_id"),
        ] {
            convert::optional_id(text, field)?;
        }
        let binding = list_binding(&request);
        let place = self.reading.place(&binding, &request.page_token)?;
        question.at = self.reading.at(request.at.as_ref())?;
        let read = self
            .reading
            .page(&account, request.consistency.as_ref(), place.as_ref())
            .await?;
        question.resolve(&read)?;
        let (reading, log) = (self.reading.clone(), self.log.clone());
        Ok(self.reading.chunks(move |sender| async move {
            let mut turn = sender.unless_gone(reading.turn(&account)).await?;
            let set = question.access_set(&read)?;
            let accessible = set.accessible(narrowing(&request));
            let total = accessible.total();
            let revision = reading.revision(&account, read.head);
            log.write(draw, Effect::Allow, || {
                let subject = question.subject();
                asker.record(
                    "ListAccessible",
                    &account,
                    subject,
                    &revision,
                    listed(total),
                )
            });
            let mut chunk = wire::ListAccessibleResponse {
                total: Some(total),
                revision,
                ..wire::ListAccessibleResponse::default()
            };
            let size = page_size(request.page_size);
            let paged = (place.is_some() || size.is_some()).then(|| {
                accessible.page(
                    place.as_ref().map(|place| place.after.as_str()),
                    size.unwrap_or(PAGE_IDS_MAX),
                )
            });
            let (mut ids, next_page_token): (Box<dyn Iterator<Item = &str> + Send>, String) =
                match paged {
                    None => (accessible.ids(), String::new()),
                    Some((ids, more)) => {
                        let next = match ids.last() {
                            Some(last) if more => reading.page_token(&binding, last, read.head),
                            Some(_) | None => String::new(),
                        };
                        (Box::new(ids.into_iter()), next)
                    }
                };
            loop {
                let full = fill(&mut chunk.packed_ids, &mut *ids);
                // Whoever waits for the reader computes nothing.
                drop(turn);
                if !full {
                    chunk.next_page_token = next_page_token;
                    return sender.send(chunk).await;
                }
                sender.send(std::mem::take(&mut chunk)).await?;
                turn = sender.unless_gone(reading.turn(&account)).await?;
                chunk.packed_ids.reserve(CHUNK_BYTES + ID_BYTES_MAX);
            }
        }))
    }

    pub(super) async fn list_users_with_access(
        &self,
        asker: &Asker,
        request: wire::ListUsersWithAccessRequest,
    ) -> Result<Chunks<wire::ListUsersWithAccessResponse>, Failure> {
        let draw = self.log.draw();
        let account = asker.account(&request.account_id)?;
        convert::id_text(&request.action, "action")?;
        convert::id_text(&request.resource_type, "resource_type")?;
        Asked::new(
            &account,
            &request.resource_id,
            request.resource_facts.as_ref(),
            &REQUEST,
        )?;
        let at = self.reading.at(request.at.as_ref())?;
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        let revision = self.reading.revision(&account, read.head);
        let turn_of = account.clone();
        let work = move || {
            let asked = Asked::new(
                &account,
                &request.resource_id,
                request.resource_facts.as_ref(),
                &REQUEST,
            )?;
            let users = users_with_access(
                &read.graph,
                &request.resource_type,
                &request.action,
                asked.target(),
                at,
            )
            .map_err(|error| Failure::unknown_name(&error))?;
            Ok::<_, Failure>((users, account, request))
        };
        let (users, account, request) = self.reading.compute(&turn_of, work).await??;
        self.log.write(draw, Effect::Allow, || {
            let subject = Subject {
                user: None,
                action: Some(&request.action),
                resource_type: &request.resource_type,
                resource_id: &request.resource_id,
                at,
            };
            let what = listed(number(users.len()));
            asker.record("ListUsersWithAccess", &account, subject, &revision, what)
        });
        Ok(self.reading.chunks(move |sender| async move {
            let mut chunk = wire::ListUsersWithAccessResponse {
                total: Some(number(users.len())),
                users: Vec::new(),
                revision,
            };
            let mut bytes = 0;
            for (user, decision) in &users {
                // An id, a reason and four small fields.
                bytes += user.as_str().len() + decision.reason.as_str().len() + 24;
                chunk.users.push(convert::user_access(user, decision));
                if bytes >= CHUNK_BYTES {
                    bytes = 0;
                    sender.send(std::mem::take(&mut chunk)).await?;
                }
            }
            sender.send(chunk).await
        }))
    }

    pub(super) async fn list_actions(
        &self,
        asker: &Asker,
        request: &wire::ListActionsRequest,
    ) -> Result<wire::ListActionsResponse, Failure> {
        let draw = self.log.draw();
        let account = asker.account(&request.account_id)?;
        let user = convert::id_text(&request.user_id, "user_id")?;
        let resource_type = convert::id_text(&request.resource_type, "resource_type")?;
        let asked = Asked::new(
            &account,
            &request.resource_id,
            request.resource_facts.as_ref(),
            &REQUEST,
        )?;
        let at = self.reading.at(request.at.as_ref())?;
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        let allowed = actions_allowed(&read.graph, user, resource_type, asked.target(), at)
            .map_err(|error| Failure::unknown_name(&error))?;
        let revision = self.reading.revision(&account, read.head);
        self.log.write(draw, Effect::Allow, || {
            let subject = Subject {
                user: Some(user),
                action: None,
                resource_type,
                resource_id: &request.resource_id,
                at,
            };
            let what = listed(number(allowed.len()));
            asker.record("ListActions", &account, subject, &revision, what)
        });
        Ok(wire::ListActionsResponse {
            actions: allowed
                .iter()
                .map(|(action, decision)| convert::allowed_action(action, decision))
                .collect(),
            revision,
        })
    }
}

/// What is listed; page size and freshness aside, a page token is good for nothing else.
fn list_binding(request: &wire::ListAccessibleRequest) -> Binding {
    let at = request
        .at
        .as_ref()
        .map(|at| format!("{}.{}", at.seconds, at.nanos))
        .unwrap_or_default();
    Binding::new(
        "ListAccessible",
        &[
            &request.account_id,
            &request.user_id,
            &request.action,
            &request.resource_type,
            &request.owner_id,
            &request.team_id,
            &request.access_group_id,
            &at,
        ],
    )
}

/// `None`: not paged.
fn page_size(asked: u32) -> Option<usize> {
    match usize::try_from(asked) {
        Ok(0) => None,
        Ok(asked) => Some(asked.min(PAGE_IDS_MAX)),
        Err(_) => Some(PAGE_IDS_MAX),
    }
}

/// The outcome of a list, as the decision log says it.
fn listed(accessible: u64) -> What<'static> {
    What::Listed(Listed {
        asked: None,
        accessible,
    })
}

fn narrowing(request: &wire::ListAccessibleRequest) -> Narrowing<'_> {
    Narrowing {
        owner: named(&request.owner_id),
        team: named(&request.team_id),
        group: named(&request.access_group_id),
    }
}

fn named(id: &str) -> Option<&str> {
    (!id.is_empty()).then_some(id)
}

/// Fills a chunk; false when there is no more to fill it with.
fn fill(chunk: &mut PackedIds, ids: &mut (dyn Iterator<Item = &str> + Send)) -> bool {
    for id in ids {
        chunk.push(id);
        if chunk.bytes() >= CHUNK_BYTES {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn a_page_token_is_bound_to_everything_that_says_what_is_listed() {
        let base = wire::ListAccessibleRequest {
            account_id: "acme".to_owned(),
            user_id: "de1".to_owned(),
            action: "view".to_owned(),
            resource_type: "contact".to_owned(),
            ..wire::ListAccessibleRequest::default()
        };
        let same = wire::ListAccessibleRequest {
            page_size: 7,
            page_token: "x".to_owned(),
            ..base.clone()
        };
        assert_eq!(list_binding(&base), list_binding(&same));
        let others = [
            wire::ListAccessibleRequest {
                account_id: "b".to_owned(),
                ..base.clone()
            },
            wire::ListAccessibleRequest {
                user_id: "b".to_owned(),
                ..base.clone()
            },
            wire::ListAccessibleRequest {
                action: "b".to_owned(),
                ..base.clone()
            },
            wire::ListAccessibleRequest {
                resource_type: "b".to_owned(),
                ..base.clone()
            },
            wire::ListAccessibleRequest {
                owner_id: "b".to_owned(),
                ..base.clone()
            },
            wire::ListAccessibleRequest {
                team_id: "b".to_owned(),
                ..base.clone()
            },
            wire::ListAccessibleRequest {
                access_group_id: "b".to_owned(),
                ..base.clone()
            },
            wire::ListAccessibleRequest {
                at: Some(prost_types::Timestamp::default()),
                ..base.clone()
            },
        ];
        for other in others {
            assert_ne!(list_binding(&base), list_binding(&other), "{other:?}");
        }
    }

    #[test]
    fn a_chunk_is_bounded_by_bytes() {
        let names: Vec<String> = (0..10_000)
            .map(|number| format!("contact-{number:06}"))
            .collect();
        let mut ids = names.iter().map(String::as_str);
        let mut listed = Vec::new();
        loop {
            let mut chunk = wire::ListAccessibleResponse::default();
            let full = fill(&mut chunk.packed_ids, &mut ids);
            let bytes = chunk.encode_to_vec();
            assert!(bytes.len() < CHUNK_BYTES + 256, "{}", bytes.len());
            let read = wire::ListAccessibleResponse::decode(&*bytes).unwrap();
            listed.extend(read.ids);
            if !full {
                break;
            }
        }
        assert_eq!(listed, names);
    }
}
