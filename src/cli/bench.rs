//! `ambit bench`: a load client that measures checks, batches and lists, and beside each, in turn
//! and in the same run, the ceiling: a service that answers constants on the same stack. On a
//! shared machine figures drift; the ratio of two that were taken together does not.

use std::time::Duration;

use crate::authz::model::Id;
use crate::grpc::wire;
use crate::grpc::wire::decision_service_client::DecisionServiceClient;

use super::connection::{self, Link, parse_server};
use super::error::{CliError, Exit};
use super::output::{self, Format, FormatArgs, Output};
use super::question::TypeAction;

mod ceiling;
pub mod data_set;
mod load;
mod questions;
mod replicas;
mod report;
mod subject;
mod verify;

use ceiling::{Ceiling, ConstantList};
use load::{Outcome, Sample, drive};
use questions::Questions;
use report::{Measurement, Report};
use subject::Subject;

const EXAMPLES: &str = "Examples:
  ambit bench
  ambit bench --contacts 1000000 --seconds 2 --output json > figures.json
  ambit bench --database-url postgres://postgres@127.0.0.1/bench --contacts 1000000
  ambit bench --database-url postgres://postgres@127.0.0.1/crm --account northwind
  ambit bench --server http://127.0.0.1:50051 --account northwind --question contact.view
  ambit bench --server http://127.0.0.1:50052 --against http://127.0.0.1:50051 --account northwind --question contact.view

Without --server an account is made from the seed in a database of its own, which is removed at the
end. Measure with a release build on an idle machine.";

type Client = DecisionServiceClient<Link>;

/// Items of one measured batch.
const BATCH_ITEMS: usize = 100;
/// Batches under way at a time.
const BATCH_STREAMS: usize = 4;
/// Streams that share one connection.
const STREAMS_PER_CONNECTION: usize = 10;
/// Load before the first round, so that no round pays for the first touch of anything.
const WARM_UP: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Contacts of the generated account
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=100_000_000))]
    contacts: u32,
    /// Users of the generated account
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    users: u32,
    /// What the account and the questions are made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Length of each slice of load, in seconds
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Rounds, each of one slice for the server and one for the ceiling
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// Checks under way at a time; each number is a measurement
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,10,50", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    streams: Vec<u16>,
    /// Measure this server on an account that it has
    #[arg(long, value_name = "URL", value_parser = parse_server, requires = "account")]
    server: Option<String>,
    /// Compare it with this server, on the same account, in the place of the ceiling
    #[arg(long, value_name = "URL", value_parser = parse_server, requires = "server")]
    against: Option<String>,
    /// The account to ask about, with --server; with --database-url: only load this account, which is
    /// there, and write nothing
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<Id>,
    /// What to ask about, with --server; may be given several times
    #[arg(long, value_name = "TYPE.ACTION", requires = "server")]
    question: Vec<TypeAction>,
    /// Measure two replicas on this PostgreSQL, on an account that is made there and removed: an
    /// import, the load, the time until a commit is seen, checks while changes come in; psql is
    /// called with this URL
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    database_url: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds: &f64| (0.01..=3_600.0).contains(seconds))
        .ok_or_else(|| "must be a number from 0.01 to 3600".to_owned())
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::usage(format!("cannot start: {error}")))?;
    let format = arguments.format.format;
    let printed = match (&arguments.database_url, &arguments.account) {
        (None, Some(_)) if arguments.server.is_none() => Err(CliError::usage(
            "--account names an account of a server or a database: give --server or --database-url",
        )),
        (Some(url), Some(account)) => runtime
            .block_on(replicas::load_account(url, account))
            .and_then(|report| match format {
                Format::Human => report.print(output),
                Format::Json => output.json(&report),
            }),
        (Some(url), None) => runtime
            .block_on(replicas::measure(arguments, url))
            .and_then(|report| match format {
                Format::Human => report.print(output),
                Format::Json => output.json(&report),
            }),
        (None, _) => runtime
            .block_on(measure_all(arguments))
            .and_then(|report| match format {
                Format::Human => report.print(output),
                Format::Json => output.json(&report),
            }),
    };
    runtime.shutdown_background();
    printed.map(|()| Exit::Success)
}

async fn measure_all(arguments: &Arguments) -> Result<Report, CliError> {
    let (subject, questions, data_set) = match (&arguments.server, &arguments.account) {
        (Some(server), Some(account)) => {
            let subject = Subject::existing(server, account);
            let questions =
                Questions::of_existing(&subject, &arguments.question, arguments.seed).await?;
            (subject, questions, None)
        }
        _ => {
            let made = data_set::DataSet {
                users: arguments.users,
                contacts: arguments.contacts,
                seed: arguments.seed,
            };
            let (subject, report) = Subject::generated(&made).await?;
            (subject, Questions::of_generated(&made), Some(report))
        }
    };
    let mut client = subject.client().await?;
    let mut verified_answers = verify::verify(&mut client, &questions).await?;
    let against = match (&arguments.against, &arguments.account) {
        (Some(other), Some(account)) => {
            let other = Subject::existing(other, account);
            verified_answers += verify::verify(&mut other.client().await?, &questions).await?;
            Some(other)
        }
        _ => None,
    };
    let measurements = Run::new(arguments, &subject, against, &questions)
        .await?
        .measure()
        .await?;
    let report = Report {
        account_id: questions.account.clone(),
        data_set,
        against: arguments.against.clone(),
        verified_answers,
        seconds: arguments.seconds,
        rounds: usize::from(arguments.rounds),
        measurements,
    };
    subject.close().await?;
    Ok(report)
}

/// One kind of work that both sides do.
#[derive(Clone)]
enum Work {
    Check(Vec<wire::CheckRequest>),
    Batch(Vec<wire::BatchCheckRequest>),
    List(Box<wire::ListAccessibleRequest>),
}

/// Everything that the rounds need.
struct Run<'a> {
    arguments: &'a Arguments,
    questions: &'a Questions,
    server: Side,
    ceiling: Side,
    lists: Vec<(&'static str, wire::ListAccessibleRequest)>,
}

/// One of the two that are compared.
struct Side {
    clients: Vec<Client>,
}

impl Side {
    async fn connect(subject: &Subject, streams_max: usize) -> Result<Self, CliError> {
        let mut clients = Vec::new();
        for _ in 0..streams_max.div_ceil(STREAMS_PER_CONNECTION) {
            clients.push(subject.client().await?);
        }
        Ok(Self { clients })
    }

    async fn load(
        &self,
        work: &Work,
        streams: usize,
        length: Duration,
    ) -> Result<Sample, CliError> {
        let connections = streams.div_ceil(STREAMS_PER_CONNECTION);
        let clients: Vec<Client> = self.clients.iter().take(connections).cloned().collect();
        match work.clone() {
            Work::Check(requests) => {
                drive(streams, length, move |stream, turn| {
                    ask_check(
                        pick(&clients, stream),
                        pick(&requests, turn_of(stream, turn)),
                    )
                })
                .await
            }
            Work::Batch(requests) => {
                drive(streams, length, move |stream, turn| {
                    ask_batch(
                        pick(&clients, stream),
                        pick(&requests, turn_of(stream, turn)),
                    )
                })
                .await
            }
            Work::List(request) => {
                drive(streams, length, move |stream, _turn| {
                    ask_list(pick(&clients, stream), Some(request.as_ref().clone()))
                })
                .await
            }
        }
    }
}

/// Streams begin at different places of the same questions.
fn turn_of(stream: usize, turn: u64) -> usize {
    let turn = usize::try_from(turn).unwrap_or(0);
    stream.wrapping_mul(7_919).wrapping_add(turn)
}

fn pick<T: Clone>(items: &[T], at: usize) -> Option<T> {
    items.get(at.checked_rem(items.len())?).cloned()
}

impl<'a> Run<'a> {
    async fn new(
        arguments: &'a Arguments,
        subject: &'a Subject,
        against: Option<Subject>,
        questions: &'a Questions,
    ) -> Result<Self, CliError> {
        let mut client = subject.client().await?;
        let lists = questions.lists(&mut client).await?;
        let ceiling = match against {
            Some(other) => other,
            None => Subject::ceiling(constants(&mut client, questions, &lists).await?).await?,
        };
        let most = arguments.streams.iter().copied().max().unwrap_or(1);
        let streams_max = usize::from(most).max(BATCH_STREAMS);
        Ok(Self {
            arguments,
            questions,
            server: Side::connect(subject, streams_max).await?,
            ceiling: Side::connect(&ceiling, streams_max).await?,
            lists,
        })
    }

    async fn measure(&self) -> Result<Vec<Measurement>, CliError> {
        let mut works: Vec<(String, &'static str, usize, Work)> = Vec::new();
        for &streams in &self.arguments.streams {
            let work = Work::Check(self.questions.checks());
            works.push(("Check".to_owned(), "checks", usize::from(streams), work));
        }
        let batches = Work::Batch(self.questions.batches(BATCH_ITEMS));
        works.push((
            format!("BatchCheck({BATCH_ITEMS})"),
            "items",
            BATCH_STREAMS,
            batches,
        ));
        for (name, request) in &self.lists {
            let work = Work::List(Box::new(request.clone()));
            works.push((format!("ListAccessible {name}"), "ids", 1, work));
        }
        let rounds = u64::from(self.arguments.rounds);
        let bar = output::progress("measuring", Some(works.len() as u64 * rounds));
        let mut measurements = Vec::new();
        for (name, unit, streams, work) in works {
            let samples = self.rounds(&work, streams, &bar).await?;
            measurements.push(Measurement::new(name, streams, unit, &samples));
        }
        bar.finish_and_clear();
        Ok(measurements)
    }

    /// Server and ceiling in turn; every other round the other way about, so that a drift of the
    /// machine favours neither.
    async fn rounds(
        &self,
        work: &Work,
        streams: usize,
        bar: &indicatif::ProgressBar,
    ) -> Result<Vec<(Sample, Sample)>, CliError> {
        let length = Duration::from_secs_f64(self.arguments.seconds);
        self.server.load(work, streams, WARM_UP).await?;
        self.ceiling.load(work, streams, WARM_UP).await?;
        let mut samples = Vec::new();
        for round in 0..self.arguments.rounds {
            let pair = if round % 2 == 0 {
                let server = self.server.load(work, streams, length).await?;
                (server, self.ceiling.load(work, streams, length).await?)
            } else {
                let ceiling = self.ceiling.load(work, streams, length).await?;
                (self.server.load(work, streams, length).await?, ceiling)
            };
            samples.push(pair);
            bar.inc(1);
        }
        Ok(samples)
    }
}

/// Answers of the server's own sizes for the ceiling to give.
async fn constants(
    client: &mut Client,
    questions: &Questions,
    lists: &[(&'static str, wire::ListAccessibleRequest)],
) -> Result<Ceiling, CliError> {
    let nothing =
        || CliError::usage("there is nothing to ask about: the account has no user or no resource");
    let check = questions.checks().into_iter().next().ok_or_else(nothing)?;
    let check = client.check(check).await.map_err(refused)?.into_inner();
    let batch = questions.batches(BATCH_ITEMS).into_iter().next();
    let batch = client
        .batch_check(batch.ok_or_else(nothing)?)
        .await
        .map_err(refused)?
        .into_inner();
    let (_, list) = lists.first().ok_or_else(nothing)?;
    let mut chunks = client
        .list_accessible(list.clone())
        .await
        .map_err(refused)?
        .into_inner();
    let mut list = ConstantList::default();
    let mut count = 0;
    while let Some(chunk) = chunks.message().await.map_err(refused)? {
        match count {
            0 => list.first = chunk,
            1 => list.repeated = chunk,
            // The last one is shorter; to count it whole changes no rate.
            _ => {}
        }
        count += 1;
    }
    list.repetitions = count - usize::from(count > 0);
    Ok(Ceiling { check, batch, list })
}

async fn ask_check(
    client: Option<Client>,
    request: Option<wire::CheckRequest>,
) -> Result<Outcome, CliError> {
    let (Some(mut client), Some(request)) = (client, request) else {
        return Err(nothing_to_ask());
    };
    client.check(request).await.map_err(refused)?;
    Ok(Outcome {
        units: 1,
        first_after: None,
    })
}

async fn ask_batch(
    client: Option<Client>,
    request: Option<wire::BatchCheckRequest>,
) -> Result<Outcome, CliError> {
    let (Some(mut client), Some(request)) = (client, request) else {
        return Err(nothing_to_ask());
    };
    let response = client.batch_check(request).await.map_err(refused)?;
    Ok(Outcome {
        units: response.into_inner().results.len() as u64,
        first_after: None,
    })
}

async fn ask_list(
    client: Option<Client>,
    request: Option<wire::ListAccessibleRequest>,
) -> Result<Outcome, CliError> {
    let (Some(mut client), Some(request)) = (client, request) else {
        return Err(nothing_to_ask());
    };
    let asked_at = load::now();
    let response = client.list_accessible(request).await.map_err(refused)?;
    let mut chunks = response.into_inner();
    let mut outcome = Outcome {
        units: 0,
        first_after: None,
    };
    while let Some(chunk) = chunks.message().await.map_err(refused)? {
        outcome
            .first_after
            .get_or_insert_with(|| load::now() - asked_at);
        outcome.units += chunk.ids.len() as u64;
    }
    Ok(outcome)
}

fn nothing_to_ask() -> CliError {
    CliError::usage("there is nothing to ask")
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err asks for"
)]
fn refused(status: tonic::Status) -> CliError {
    connection::refused(&status)
}
