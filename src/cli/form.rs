//! `ambit form`: to whom what is submitted with a form is assigned.

use clap::Subcommand;
use serde::Serialize;

use crate::authz::model::{Attributes, Id, Principal};
use crate::grpc::convert::principal_to_wire;
use crate::grpc::wire;

use super::connection::{self, ServerArgs};
use super::error::{CliError, Exit, one_line};
use super::output::{Colour, Format, FormatArgs, Output};

const EXAMPLES: &str = "Examples:
  ambit form put lumen footer --type contact --to group:newsletter --as agata
  ambit form list lumen
  ambit form submit lumen footer karol --attributes '{\"category\": \"lead\"}'
  ambit form delete lumen footer --as agata";

const LIST_EXAMPLES: &str = "Example:
  ambit form list lumen --output json";

const SHOW_EXAMPLES: &str = "Example:
  ambit form show lumen footer";

const PUT_EXAMPLES: &str = "Examples:
  ambit form put lumen footer --type contact --to group:newsletter --as agata
  ambit form put lumen fair --type contact --to group:press --to team:sales";

const DELETE_EXAMPLES: &str = "Example:
  ambit form delete lumen footer --as agata

What the form has assigned stays.";

const SUBMIT_EXAMPLES: &str = "Examples:
  ambit form submit lumen footer karol --attributes '{\"category\": \"lead\"}'
  ambit form submit lumen footer karol --key visit-7301";

/// Forms of one call.
const PAGE_SIZE: u32 = 1_000;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the forms of an account
    List(ListArguments),
    /// Show one form
    Show(ShowArguments),
    /// Set a form up, or set it anew
    Put(PutArguments),
    /// Remove a form; what it has assigned stays
    Delete(DeleteArguments),
    /// Make or update a record as a submission does
    Submit(SubmitArguments),
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArguments {
    /// The account
    account: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct ShowArguments {
    /// The account
    account: Id,
    /// The form
    form: Id,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = PUT_EXAMPLES)]
struct PutArguments {
    /// The account
    account: Id,
    /// The form
    form: Id,
    /// The type of the records
    #[arg(long = "type", value_name = "TYPE")]
    resource_type: Id,
    /// To whom each record is assigned, as team:ID, user:ID or group:ID; may be given several times
    #[arg(long, value_name = "PRINCIPAL", required = true)]
    to: Vec<Principal>,
    /// Its author, whose authority over the targets is checked; without one the caller must have the
    /// role `admin`
    #[arg(long = "as", value_name = "USER")]
    actor: Option<Id>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = DELETE_EXAMPLES)]
struct DeleteArguments {
    /// The account
    account: Id,
    /// The form
    form: Id,
    /// The user who removes it; without one the caller must have the role `admin`
    #[arg(long = "as", value_name = "USER")]
    actor: Option<Id>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = SUBMIT_EXAMPLES)]
struct SubmitArguments {
    /// The account
    account: Id,
    /// The form
    form: Id,
    /// The record, of the form's type
    resource: Id,
    /// The submitted fields, a JSON object that is laid over what is stored
    #[arg(long, value_name = "JSON", value_parser = parse_attributes)]
    attributes: Option<String>,
    /// A name for the submission, kept for 24 hours: repeated with it, it is made once
    #[arg(long, value_name = "KEY")]
    key: Option<Id>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Serialize)]
struct Listed {
    forms: Vec<ShownForm>,
}

#[derive(Serialize)]
struct ShownForm {
    id: String,
    resource_type: String,
    targets: Vec<String>,
    /// Absent: an operator.
    #[serde(skip_serializing_if = "String::is_empty")]
    author_user_id: String,
    may_close: bool,
}

#[derive(Serialize)]
struct Submitted {
    created: bool,
    withheld: Vec<ShownWithheld>,
    revision: String,
}

#[derive(Serialize)]
struct ShownWithheld {
    target: String,
    reason: String,
    message: String,
}

pub async fn run(arguments: Arguments, output: &mut Output) -> Result<Exit, CliError> {
    match arguments.command {
        Command::List(arguments) => list(arguments, output).await,
        Command::Show(arguments) => show(arguments, output).await,
        Command::Put(arguments) => put(arguments, output).await,
        Command::Delete(arguments) => delete(arguments, output).await,
        Command::Submit(arguments) => submit(arguments, output).await,
    }
}

async fn list(arguments: ListArguments, output: &mut Output) -> Result<Exit, CliError> {
    let forms = forms(&arguments.server, &arguments.account).await?;
    match arguments.format.format {
        Format::Human => {
            for form in &forms {
                output.line(&form.in_a_line(output))?;
            }
        }
        Format::Json => output.json(&Listed { forms })?,
    }
    Ok(Exit::Success)
}

async fn show(arguments: ShowArguments, output: &mut Output) -> Result<Exit, CliError> {
    let ShowArguments { account, form, .. } = &arguments;
    let forms = forms(&arguments.server, account).await?;
    let Some(found) = forms.into_iter().find(|one| one.id == form.as_str()) else {
        return Err(CliError::refused(format!(
            "there is no form `{form}` in account `{account}`"
        )));
    };
    found.print(arguments.format.format, output)?;
    Ok(Exit::Success)
}

async fn put(arguments: PutArguments, output: &mut Output) -> Result<Exit, CliError> {
    let request = wire::PutFormRequest {
        account_id: arguments.account.to_string(),
        form: Some(wire::Form {
            id: arguments.form.to_string(),
            resource_type: arguments.resource_type.to_string(),
            targets: arguments.to.iter().map(principal_to_wire).collect(),
            ..wire::Form::default()
        }),
        actor_user_id: text(arguments.actor.as_ref()),
    };
    let answer = arguments.server.partitions().await?.put_form(request).await;
    let answer = answer.map_err(|status| connection::refused(&status))?;
    let form = answer.into_inner().form.unwrap_or_default();
    ShownForm::of(form).print(arguments.format.format, output)?;
    Ok(Exit::Success)
}

async fn delete(arguments: DeleteArguments, output: &mut Output) -> Result<Exit, CliError> {
    let request = wire::DeleteFormRequest {
        account_id: arguments.account.to_string(),
        form_id: arguments.form.to_string(),
        actor_user_id: text(arguments.actor.as_ref()),
    };
    let mut client = arguments.server.partitions().await?;
    let deleted = client.delete_form(request).await;
    deleted.map_err(|status| connection::refused(&status))?;
    output.line(&format!(
        "removed {}, what it has assigned stays",
        arguments.form
    ))?;
    Ok(Exit::Success)
}

/// A target that was not applied makes the command end with 1; the record is written all the same.
async fn submit(arguments: SubmitArguments, output: &mut Output) -> Result<Exit, CliError> {
    let request = wire::SubmitFormRequest {
        account_id: arguments.account.to_string(),
        form_id: arguments.form.to_string(),
        resource_id: arguments.resource.to_string(),
        attributes_json: arguments.attributes.unwrap_or_default(),
        idempotency_key: text(arguments.key.as_ref()),
    };
    let answer = arguments
        .server
        .partitions()
        .await?
        .submit_form(request)
        .await;
    let answer = answer.map_err(|status| connection::refused(&status))?;
    let answer = answer.into_inner();
    let withheld: Vec<ShownWithheld> = answer
        .withheld
        .into_iter()
        .map(|withheld| ShownWithheld {
            target: withheld.target.map(principal).unwrap_or_default(),
            reason: withheld.reason,
            message: withheld.message,
        })
        .collect();
    let exit = match withheld.is_empty() {
        true => Exit::Success,
        false => Exit::No,
    };
    match arguments.format.format {
        Format::Human => {
            for one in &withheld {
                let reason = output.painted(Colour::Red, &one.reason);
                let message = one_line(&one.message);
                let target = one_line(&one.target);
                output.line(&format!("not assigned to {target}: {reason}: {message}"))?;
            }
            let verb = if answer.created { "made" } else { "updated" };
            let resource = &arguments.resource;
            output.line(&format!("{verb} {resource}, revision {}", answer.revision))?;
        }
        Format::Json => output.json(&Submitted {
            created: answer.created,
            withheld,
            revision: answer.revision,
        })?,
    }
    Ok(exit)
}

/// All forms of an account, in byte order of ids.
async fn forms(server: &ServerArgs, account: &Id) -> Result<Vec<ShownForm>, CliError> {
    let mut client = server.partitions().await?;
    let mut forms: Vec<ShownForm> = Vec::new();
    loop {
        let request = wire::ListFormsRequest {
            account_id: account.to_string(),
            page_size: PAGE_SIZE,
            after_form_id: forms.last().map(|form| form.id.clone()).unwrap_or_default(),
        };
        let page = client.list_forms(request).await;
        let page = page.map_err(|status| connection::refused(&status))?;
        let page = page.into_inner().forms;
        if page.is_empty() {
            return Ok(forms);
        }
        forms.extend(page.into_iter().map(ShownForm::of));
    }
}

impl ShownForm {
    fn of(form: wire::Form) -> Self {
        Self {
            id: form.id,
            resource_type: form.resource_type,
            targets: form.targets.into_iter().map(principal).collect(),
            author_user_id: form.author_user_id,
            may_close: form.may_close,
        }
    }

    fn print(&self, format: Format, output: &mut Output) -> Result<(), CliError> {
        match format {
            Format::Human => output.line(&self.in_a_line(output)),
            Format::Json => output.json(self),
        }
    }

    /// As `footer  contact -> group:newsletter  by agata, closes open records`.
    fn in_a_line(&self, output: &Output) -> String {
        let id = output.painted(Colour::Bold, &one_line(&self.id));
        let author = match self.author_user_id.as_str() {
            "" => "an operator",
            author => author,
        };
        let closes = match self.may_close {
            true => "closes open records",
            false => "leaves open records of others open",
        };
        let targets = self.targets.join(", ");
        format!(
            "{id}  {} -> {}  by {}, {closes}",
            one_line(&self.resource_type),
            one_line(&targets),
            one_line(author)
        )
    }
}

fn principal(principal: wire::Principal) -> String {
    use wire::principal::Principal;
    match principal.principal {
        Some(Principal::UserId(id)) => format!("user:{id}"),
        Some(Principal::TeamId(id)) => format!("team:{id}"),
        Some(Principal::AccessGroupId(id)) => format!("group:{id}"),
        None => "unknown".to_owned(),
    }
}

fn text(id: Option<&Id>) -> String {
    id.map(Id::to_string).unwrap_or_default()
}

fn parse_attributes(text: &str) -> Result<String, String> {
    match serde_json::from_str::<Attributes>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("no JSON object: {error}")),
    }
}
