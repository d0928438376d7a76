//! `ambit explain`: the path of an allow by name, or the step that denied and what would mend it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::authz::model::Id;
use crate::grpc::wire;

use super::answer::Answer;
use super::connection::{self, ServerArgs};
use super::error::{CliError, Exit};
use super::output::{Colour, Format, FormatArgs, Output};
use super::question::{ReadArgs, TypeAction};

const EXAMPLES: &str = "Examples:
  ambit explain northwind pierre email.view spring-dach
  ambit explain northwind heike deal.edit bosch-2027
  ambit explain bonbon ines email_campaign.export_engagement --output json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The account
    account: Id,
    /// The user
    user: Id,
    /// What the user wants to do, as contact.view
    #[arg(value_name = "TYPE.ACTION")]
    question: TypeAction,
    /// The resource; without it the tool as a whole is asked about
    id: Option<Id>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct ExplainAnswer<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    revision: &'a str,
    explanation: Explanation,
}

#[derive(Serialize)]
struct Explanation {
    step: String,
    summary: String,
    path: Vec<PathElement>,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

#[derive(Serialize)]
struct PathElement {
    kind: String,
    text: String,
    fields: BTreeMap<String, String>,
}

impl From<wire::Explanation> for Explanation {
    fn from(explanation: wire::Explanation) -> Self {
        let path = explanation.path.into_iter().map(|element| PathElement {
            kind: element.kind,
            text: element.text,
            fields: element
                .fields
                .into_iter()
                .map(|field| (field.name, field.value))
                .collect(),
        });
        Self {
            step: explanation.step,
            summary: explanation.summary,
            path: path.collect(),
            remedy: explanation.remedy,
        }
    }
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let mut client = arguments.server.decisions().await?;
    let mut response = client
        .explain(wire::ExplainRequest {
            account_id: arguments.account.to_string(),
            user_id: arguments.user.to_string(),
            action: arguments.question.action.to_string(),
            resource_type: arguments.question.resource_type.to_string(),
            resource_id: arguments.id.as_ref().map(Id::to_string).unwrap_or_default(),
            resource_facts: None,
            at: arguments.read.at.map(connection::to_wire_time),
            consistency: connection::consistency(&arguments.read),
        })
        .await
        .map_err(|status| connection::refused(&status))?
        .into_inner();
    let explanation = Explanation::from(response.explanation.take().unwrap_or_default());
    let revision = response.revision.clone();
    let answer = Answer::of(response)?;
    match arguments.format.format {
        Format::Human => print(&answer, &explanation, output)?,
        Format::Json => output.json(&ExplainAnswer {
            answer: &answer,
            revision: &revision,
            explanation,
        })?,
    }
    Ok(Exit::Success)
}

fn print(answer: &Answer, explanation: &Explanation, output: &mut Output) -> Result<(), CliError> {
    output.line(&answer.in_words(output))?;
    output.line(&explanation.summary)?;
    for element in &explanation.path {
        let kind = output.painted(Colour::Dim, &element.kind);
        output.line(&format!("  {kind}: {}", element.text))?;
    }
    if !explanation.remedy.is_empty() {
        let heading = output.painted(Colour::Bold, "What would change it:");
        output.line(&format!("{heading} {}", explanation.remedy))?;
    }
    Ok(())
}
