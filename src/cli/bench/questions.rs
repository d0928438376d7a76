//! What is asked in a measurement: varied, and the same from the same seed.

use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::question::TypeAction;
use crate::grpc::wire;

use super::Client;
use super::data_set::{ACCOUNT, ACTIONS, DataSet, Numbers, RESOURCE_TYPE};
use super::subject::Subject;

/// Different checks of one measurement; far more than any processor caches.
const CHECKS: u32 = 65_536;
/// Different batches.
const BATCHES: u32 = 512;
/// Users among whom the widest is looked for.
const USERS_TRIED: usize = 50;
/// Users and resources of an existing account that are asked about.
const SAMPLED_MAX: usize = 10_000;
const PAGE: u32 = 1_000;

/// Users, resources and actions to ask about.
#[derive(Debug, Clone)]
pub struct Questions {
    pub account: String,
    pub users: Vec<String>,
    /// Type and action, each with the resources of the type.
    pub subjects: Vec<Asked>,
    seed: u64,
}

/// An action on resources of one type.
#[derive(Debug, Clone)]
pub struct Asked {
    pub resource_type: String,
    pub action: String,
    pub resources: Resources,
}

#[derive(Debug, Clone)]
pub enum Resources {
    Named(Vec<String>),
    /// All of a data set, whose ids follow from their numbers.
    Generated(DataSet),
}

impl Resources {
    pub fn count(&self) -> usize {
        match self {
            Self::Named(ids) => ids.len(),
            Self::Generated(data_set) => usize::try_from(data_set.contacts).unwrap_or(usize::MAX),
        }
    }

    pub fn draw(&self, numbers: &mut Numbers) -> Option<String> {
        match self {
            Self::Named(ids) => {
                let bound = u32::try_from(ids.len()).ok().filter(|&bound| bound > 0)?;
                ids.get(usize::try_from(numbers.below(bound)).ok()?)
                    .cloned()
            }
            Self::Generated(data_set) => Some(data_set.contact(numbers.below(data_set.contacts))),
        }
    }
}

impl Questions {
    pub fn of_generated(data_set: &DataSet) -> Self {
        Self {
            account: ACCOUNT.to_owned(),
            users: (0..data_set.users)
                .map(|index| data_set.user(index))
                .collect(),
            subjects: ACTIONS
                .iter()
                .map(|&action| Asked {
                    resource_type: RESOURCE_TYPE.to_owned(),
                    action: action.to_owned(),
                    resources: Resources::Generated(*data_set),
                })
                .collect(),
            seed: data_set.seed,
        }
    }

    /// Reads users and resources of an account, up to [`SAMPLED_MAX`] of each.
    pub async fn of_existing(
        subject: &Subject,
        asked: &[TypeAction],
        seed: u64,
    ) -> Result<Self, CliError> {
        if asked.is_empty() {
            return Err(CliError::usage(
                "say what to ask about with --question, as --question contact.view",
            ));
        }
        let mut subjects = Vec::new();
        for question in asked {
            let ids = resources(subject, question.resource_type.as_str()).await?;
            if ids.is_empty() {
                return Err(CliError::usage(format!(
                    "the account has no resource of the type `{}`; ask about another with --question",
                    question.resource_type
                )));
            }
            subjects.push(Asked {
                resource_type: question.resource_type.to_string(),
                action: question.action.to_string(),
                resources: Resources::Named(ids),
            });
        }
        let users = users(subject).await?;
        if users.is_empty() {
            return Err(CliError::usage("the account has no users to ask about"));
        }
        Ok(Self {
            account: subject.account().to_owned(),
            users,
            subjects,
            seed,
        })
    }

    pub fn numbers(&self) -> Numbers {
        Numbers::from_seed(self.seed)
    }

    pub fn checks(&self) -> Vec<wire::CheckRequest> {
        let mut numbers = self.numbers();
        (0..CHECKS)
            .filter_map(|_| self.item(&mut numbers))
            .map(|item| wire::CheckRequest {
                account_id: self.account.clone(),
                user_id: item.user_id,
                action: item.action,
                resource_type: item.resource_type,
                resource_id: item.resource_id,
                ..Default::default()
            })
            .collect()
    }

    pub fn batches(&self, items: usize) -> Vec<wire::BatchCheckRequest> {
        let mut numbers = self.numbers();
        (0..BATCHES)
            .map(|_| wire::BatchCheckRequest {
                account_id: self.account.clone(),
                items: (0..items).filter_map(|_| self.item(&mut numbers)).collect(),
                ..Default::default()
            })
            .collect()
    }

    fn item(&self, numbers: &mut Numbers) -> Option<wire::BatchCheckItem> {
        let asked = drawn(&self.subjects, numbers)?;
        Some(wire::BatchCheckItem {
            user_id: drawn(&self.users, numbers)?.clone(),
            action: asked.action.clone(),
            resource_type: asked.resource_type.clone(),
            resource_id: asked.resources.draw(numbers)?,
            ..Default::default()
        })
    }

    pub fn list(&self, user: &str, asked: &Asked) -> wire::ListAccessibleRequest {
        wire::ListAccessibleRequest {
            account_id: self.account.clone(),
            user_id: user.to_owned(),
            action: asked.action.clone(),
            resource_type: asked.resource_type.clone(),
            ..Default::default()
        }
    }

    /// The longest list, and the longest that is not of the whole type.
    pub async fn lists(
        &self,
        client: &mut Client,
    ) -> Result<Vec<(&'static str, wire::ListAccessibleRequest)>, CliError> {
        let Some(asked) = self.subjects.first() else {
            return Ok(Vec::new());
        };
        let mut totals = Vec::new();
        for user in self.users.iter().take(USERS_TRIED) {
            let mut request = self.list(user, asked);
            request.page_size = 1;
            let mut chunks = client
                .list_accessible(request)
                .await
                .map_err(|status| connection::refused(&status))?
                .into_inner();
            let first = chunks
                .message()
                .await
                .map_err(|status| connection::refused(&status))?;
            totals.push((first.and_then(|chunk| chunk.total).unwrap_or(0), user));
        }
        totals.sort_by_key(|&(total, _)| std::cmp::Reverse(total));
        let widest = totals.first().copied();
        let partial = totals
            .iter()
            .copied()
            .find(|(total, _)| widest.is_some_and(|(most, _)| *total < most));
        Ok([("all", widest), ("part", partial)]
            .into_iter()
            .filter_map(|(name, found)| Some((name, self.list(found?.1, asked))))
            .collect())
    }
}

fn drawn<'a, T>(items: &'a [T], numbers: &mut Numbers) -> Option<&'a T> {
    let bound = u32::try_from(items.len()).ok().filter(|&bound| bound > 0)?;
    items.get(usize::try_from(numbers.below(bound)).ok()?)
}

async fn users(subject: &Subject) -> Result<Vec<String>, CliError> {
    let mut client = subject.directory().await?;
    let mut users = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client
            .list_users(wire::ListUsersRequest {
                account_id: subject.account().to_owned(),
                page_size: PAGE,
                page_token,
                consistency: None,
            })
            .await
            .map_err(|status| connection::refused(&status))?
            .into_inner();
        users.extend(page.users.into_iter().map(|user| user.id));
        page_token = page.next_page_token;
        if page_token.is_empty() || users.len() >= SAMPLED_MAX {
            return Ok(users);
        }
    }
}

async fn resources(subject: &Subject, resource_type: &str) -> Result<Vec<String>, CliError> {
    let mut client = subject.directory().await?;
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client
            .list_resources(wire::ListResourcesRequest {
                account_id: subject.account().to_owned(),
                resource_type: resource_type.to_owned(),
                page_size: PAGE,
                page_token,
                ..Default::default()
            })
            .await
            .map_err(|status| connection::refused(&status))?
            .into_inner();
        ids.extend(page.resources.into_iter().map(|resource| resource.id));
        page_token = page.next_page_token;
        if page_token.is_empty() || ids.len() >= SAMPLED_MAX {
            return Ok(ids);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_varied_and_the_same_from_the_same_seed() {
        let data_set = DataSet {
            users: 20,
            contacts: 500,
            seed: 3,
        };
        let questions = Questions::of_generated(&data_set);
        let checks = questions.checks();
        assert_eq!(checks.len() as u64, u64::from(CHECKS));
        assert_eq!(checks[..100], questions.checks()[..100]);
        let users: std::collections::BTreeSet<_> =
            checks.iter().map(|check| &check.user_id).collect();
        assert_eq!(users.len(), 20);
        assert!(checks.iter().any(|check| check.action == "edit"));
        assert!(
            questions
                .batches(100)
                .iter()
                .all(|batch| batch.items.len() == 100)
        );
    }
}
