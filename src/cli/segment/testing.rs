//! `ambit segment test`: an expression asked of a record that is written out, or of all records of a
//! type that a server has.

use serde::Serialize;

use crate::authz::model::{Attributes, Id, Principal};
use crate::authz::segment::Expression;
use crate::cli::connection::ServerArgs;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Colour, Format, FormatArgs, Output};
use crate::grpc::convert::principal_to_wire;
use crate::grpc::wire;

use super::shown::ShownTrial;
use super::{given, refused};

const EXAMPLES: &str = "Examples:
  ambit segment test '\"gold\" in resource.tags' --record '{\"tags\": [\"gold\"]}'
  ambit segment test 'resource.score > 20' --account lumen --type contact
  ambit segment test 'resource.score > 20' --account lumen --type contact --to group:newsletter

Exit status with --record: 0 a match, 1 none.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The expression, of CEL over resource.ATTRIBUTE
    expression: String,
    /// A record's attributes as a JSON object; needs no server
    #[arg(
        long,
        value_name = "JSON",
        required_unless_present = "account",
        conflicts_with = "account"
    )]
    record: Option<String>,
    /// Ask it of the records of this account
    #[arg(long, value_name = "ACCOUNT", requires = "resource_type")]
    account: Option<Id>,
    /// The type of the records
    #[arg(long = "type", value_name = "TYPE", requires = "account")]
    resource_type: Option<Id>,
    /// Whom the matching records would be assigned to, as group:newsletter
    #[arg(long, value_name = "PRINCIPAL", requires = "account")]
    to: Vec<Principal>,
    /// The segment that the rule would be of; its assignments are what it is compared with
    #[arg(
        long,
        value_name = "SEGMENT",
        default_value = "test",
        requires = "account"
    )]
    segment: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// What an expression says of one record.
#[derive(Serialize)]
struct Asked {
    matches: bool,
    /// Why it says nothing, which is no match.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let expression = Expression::parse(&arguments.expression)
        .map_err(|error| CliError::usage(format!("the expression: {error}")))?;
    match (
        &arguments.record,
        &arguments.account,
        &arguments.resource_type,
    ) {
        (None, Some(account), Some(resource_type)) => {
            of_a_server(&arguments, account, resource_type, output).await
        }
        (Some(record), ..) => of_a_record(&expression, record, arguments.format.format, output),
        (None, ..) => Err(CliError::usage(
            "name the records: --record JSON, or --account and --type",
        )),
    }
}

fn of_a_record(
    expression: &Expression,
    record: &str,
    format: Format,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let attributes: Attributes = serde_json::from_str(record)
        .map_err(|error| CliError::usage(format!("--record is no JSON object: {error}")))?;
    let answer = expression.ask(&attributes);
    let asked = Asked {
        matches: answer == Ok(true),
        problem: answer.err().map(|problem| problem.to_string()),
    };
    match format {
        Format::Human if asked.matches => {
            output.line(&output.painted(Colour::Green, "match"))?;
        }
        Format::Human => {
            let problem = asked.problem.iter().map(|problem| format!("  {problem}"));
            let line = output.painted(Colour::Red, "no match") + &problem.collect::<String>();
            output.line(&line)?;
        }
        Format::Json => output.json(&asked)?,
    }
    Ok(if asked.matches {
        Exit::Success
    } else {
        Exit::No
    })
}

async fn of_a_server(
    arguments: &Arguments,
    account: &Id,
    resource_type: &Id,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = arguments.server.partitions().await?;
    let answer = client
        .recalculate_segment(wire::RecalculateSegmentRequest {
            account_id: account.to_string(),
            segment_id: arguments.segment.to_string(),
            dry_run: true,
            instead: Some(wire::Segment {
                id: arguments.segment.to_string(),
                resource_type: resource_type.to_string(),
                when: arguments.expression.clone(),
                assign_to: arguments.to.iter().map(principal_to_wire).collect(),
                enabled: true,
                may_partition: None,
            }),
        })
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    let trial = ShownTrial::from(given(answer.trial)?);
    trial.print(arguments.format.format, output)?;
    Ok(Exit::Success)
}
