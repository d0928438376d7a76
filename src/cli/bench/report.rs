//! The figures of a measurement: medians over the rounds, beside those of the ceiling.

use std::time::Duration;

use serde::Serialize;

use crate::cli::error::CliError;
use crate::cli::output::{Colour, Output};

use super::load::{Sample, percentile};

/// One run of `ambit bench`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub account_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_set: Option<DataSetReport>,
    /// The server whose figures stand where else those of the ceiling do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    pub verified_answers: u64,
    pub seconds: f64,
    pub rounds: usize,
    pub measurements: Vec<Measurement>,
}

/// What the generated account cost.
#[derive(Debug, Clone, Serialize)]
pub struct DataSetReport {
    pub contacts: u32,
    pub users: u32,
    pub seed: u64,
    /// Writing it to the store.
    pub write_seconds: f64,
    /// From the store to the first answer.
    pub load_seconds: f64,
    pub graph_bytes: u64,
    pub graph_bytes_per_contact: f64,
    /// What the process grew by during the load, by contact; the load's own garbage included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes_per_contact: Option<f64>,
    pub allocator: &'static str,
}

/// One kind of work: the server and the ceiling, interleaved, and their ratio.
#[derive(Debug, Serialize)]
pub struct Measurement {
    pub work: String,
    pub streams: usize,
    /// What is counted: checks, items or ids.
    pub unit: &'static str,
    pub server: Figures,
    pub ceiling: Figures,
    /// Median of the rounds' ratios of throughput, server to ceiling.
    pub ratio: f64,
}

/// Medians over the rounds.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    /// CPU of client and server together, for each request.
    pub cpu_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_chunk_p50_us: Option<f64>,
}

impl Measurement {
    pub fn new(
        work: String,
        streams: usize,
        unit: &'static str,
        rounds: &[(Sample, Sample)],
    ) -> Self {
        let servers: Vec<&Sample> = rounds.iter().map(|(server, _)| server).collect();
        let ceilings: Vec<&Sample> = rounds.iter().map(|(_, ceiling)| ceiling).collect();
        Self {
            work,
            streams,
            unit,
            server: Figures::of(&servers),
            ceiling: Figures::of(&ceilings),
            ratio: median(rounds.iter().map(|(server, ceiling)| {
                server.units_per_second() / ceiling.units_per_second().max(f64::EPSILON)
            })),
        }
    }
}

impl Figures {
    fn of(samples: &[&Sample]) -> Self {
        let latency = |share: f64| {
            median(
                samples
                    .iter()
                    .map(|sample| micros(percentile(&sample.latencies, share))),
            )
        };
        let streamed = samples.iter().any(|sample| !sample.first_after.is_empty());
        Self {
            per_second: median(samples.iter().map(|sample| sample.units_per_second())),
            p50_us: latency(0.5),
            p99_us: latency(0.99),
            p99_9_us: latency(0.999),
            cpu_us: median(
                samples
                    .iter()
                    .map(|sample| micros(sample.cpu_per_request())),
            ),
            first_chunk_p50_us: streamed.then(|| {
                median(
                    samples
                        .iter()
                        .map(|sample| micros(percentile(&sample.first_after, 0.5))),
                )
            }),
        }
    }
}

impl Report {
    pub fn print(&self, output: &mut Output) -> Result<(), CliError> {
        if let Some(data_set) = &self.data_set {
            data_set.print(output)?;
        }
        output.line(&format!(
            "{} answers verified; {} rounds of {} s, server and {} in turn, medians",
            self.verified_answers,
            self.rounds,
            self.seconds,
            self.beside()
        ))?;
        let heading = format!(
            "{:<22}{:>8}  {:<8}{:>13}{:>10}{:>10}{:>10}{:>10}",
            "work", "streams", "", "per second", "p50 us", "p99 us", "p99.9 us", "cpu us"
        );
        output.line(&output.painted(Colour::Bold, &heading))?;
        for measurement in &self.measurements {
            measurement.print(output, self.beside())?;
        }
        Ok(())
    }

    /// What the server is measured beside.
    fn beside(&self) -> &'static str {
        match self.against {
            Some(_) => "other",
            None => "ceiling",
        }
    }
}

impl DataSetReport {
    fn print(&self, output: &mut Output) -> Result<(), CliError> {
        output.line(&format!(
            "{} contacts, {} users, seed {}: written in {:.2} s, loaded in {:.2} s",
            self.contacts, self.users, self.seed, self.write_seconds, self.load_seconds
        ))?;
        let resident = self
            .resident_bytes_per_contact
            .map(|bytes| format!(", resident {bytes:.1} with {}", self.allocator))
            .unwrap_or_default();
        output.line(&format!(
            "bytes a contact: graph {:.1}{resident}",
            self.graph_bytes_per_contact
        ))
    }
}

impl Measurement {
    fn print(&self, output: &mut Output, beside: &str) -> Result<(), CliError> {
        let row = |who: &str, figures: &Figures| {
            format!(
                "{:<22}{:>8}  {who:<8}{:>13.0}{:>10.0}{:>10.0}{:>10.0}{:>10.1}",
                self.work,
                self.streams,
                figures.per_second,
                figures.p50_us,
                figures.p99_us,
                figures.p99_9_us,
                figures.cpu_us
            )
        };
        output.line(&row("server", &self.server))?;
        output.line(&row(beside, &self.ceiling))?;
        let first = match (
            self.server.first_chunk_p50_us,
            self.ceiling.first_chunk_p50_us,
        ) {
            (Some(server), Some(ceiling)) => {
                format!("; first chunk p50 {server:.0} us, {beside} {ceiling:.0} us")
            }
            _ => String::new(),
        };
        let ratio = format!(
            "{:>32}{:.3} of the {beside}'s {}{first}",
            "", self.ratio, self.unit
        );
        output.line(&output.painted(Colour::Dim, &ratio))
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The middle value, or the mean of the middle two; zero of no values.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(units: u64) -> Sample {
        Sample {
            requests: units,
            units,
            elapsed: Duration::from_secs(1),
            cpu: Duration::from_millis(units),
            latencies: vec![Duration::from_micros(units)],
            first_after: Vec::new(),
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds() {
        let rounds = [
            (sample(90), sample(100)),
            (sample(80), sample(100)),
            (sample(10), sample(100)),
        ];
        let measurement = Measurement::new("check".to_owned(), 1, "checks", &rounds);
        assert!((measurement.ratio - 0.8).abs() < 1e-9);
        assert!((measurement.server.per_second - 80.0).abs() < 1e-9);
        assert!((measurement.server.cpu_us - 1_000.0).abs() < 1e-9);
    }

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle() {
        assert!((median([1.0, 4.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!(median([].into_iter()).abs() < 1e-9);
    }
}
