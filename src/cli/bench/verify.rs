//! Before anything is timed: the answers must be right, since a fast wrong answer is worth nothing.

use std::collections::HashSet;

use crate::cli::connection;
use crate::cli::error::CliError;
use crate::grpc::wire;

use super::Client;
use super::questions::{Asked, Questions};

/// Users whose lists are compared with checks.
const USERS: usize = 10;
/// Resources that are checked for each of them.
const RESOURCES: usize = 2_000;
/// Checks that are asked one by one too.
const SINGLE: usize = 50;

/// The list of each user must hold exactly those resources whose checks allow. Answers how many
/// answers were compared.
pub async fn verify(client: &mut Client, questions: &Questions) -> Result<u64, CliError> {
    let mut compared = 0;
    let step = (questions.users.len() / USERS).max(1);
    for asked in &questions.subjects {
        for user in questions.users.iter().step_by(step).take(USERS) {
            compared += verify_user(client, questions, user, asked).await?;
        }
    }
    Ok(compared)
}

async fn verify_user(
    client: &mut Client,
    questions: &Questions,
    user: &str,
    asked: &Asked,
) -> Result<u64, CliError> {
    let listed = listed(client, questions.list(user, asked)).await?;
    let mut numbers = questions.numbers();
    let items: Vec<wire::BatchCheckItem> = (0..RESOURCES.min(asked.resources.count()))
        .filter_map(|_| asked.resources.draw(&mut numbers))
        .map(|resource_id| wire::BatchCheckItem {
            user_id: user.to_owned(),
            action: asked.action.clone(),
            resource_type: asked.resource_type.clone(),
            resource_id,
            ..Default::default()
        })
        .collect();
    let answers = client
        .batch_check(wire::BatchCheckRequest {
            account_id: questions.account.clone(),
            items: items.clone(),
            ..Default::default()
        })
        .await
        .map_err(|status| connection::refused(&status))?
        .into_inner();
    if answers.results.len() != items.len() {
        return Err(CliError::refused("a batch was not answered in full"));
    }
    for (at, (item, answer)) in items.iter().zip(&answers.results).enumerate() {
        let allowed = answer.decision() == wire::Decision::Allow;
        if allowed != listed.contains(&item.resource_id) {
            return Err(disagreement("the list", item));
        }
        if at < SINGLE && single(client, &questions.account, item).await? != allowed {
            return Err(disagreement("a single check", item));
        }
    }
    Ok((items.len() + SINGLE.min(items.len())) as u64)
}

async fn listed(
    client: &mut Client,
    request: wire::ListAccessibleRequest,
) -> Result<HashSet<String>, CliError> {
    let mut chunks = client
        .list_accessible(request)
        .await
        .map_err(|status| connection::refused(&status))?
        .into_inner();
    let mut listed = HashSet::new();
    let mut total = 0;
    let mut received = 0;
    while let Some(chunk) = chunks
        .message()
        .await
        .map_err(|status| connection::refused(&status))?
    {
        total = chunk.total.unwrap_or(total);
        received += chunk.ids.len() as u64;
        listed.extend(chunk.ids);
    }
    if received == total && listed.len() as u64 == total {
        Ok(listed)
    } else {
        Err(CliError::refused(format!(
            "a wrong answer: a list said {total} resources and had {received}, {} of them different",
            listed.len()
        )))
    }
}

async fn single(
    client: &mut Client,
    account: &str,
    item: &wire::BatchCheckItem,
) -> Result<bool, CliError> {
    let answer = client
        .check(wire::CheckRequest {
            account_id: account.to_owned(),
            user_id: item.user_id.clone(),
            action: item.action.clone(),
            resource_type: item.resource_type.clone(),
            resource_id: item.resource_id.clone(),
            ..Default::default()
        })
        .await
        .map_err(|status| connection::refused(&status))?
        .into_inner();
    Ok(answer.decision() == wire::Decision::Allow)
}

fn disagreement(with: &str, item: &wire::BatchCheckItem) -> CliError {
    CliError::refused(format!(
        "a wrong answer: {with} and a batch disagree on {} {}.{} {}; nothing was measured",
        item.user_id, item.resource_type, item.action, item.resource_id
    ))
}
