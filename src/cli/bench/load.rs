//! Load in a closed loop: so many requests under way at a time, for so long, each timed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::error::CliError;

/// What one request brought.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Answers in it: 1 for a check, the items of a batch, the ids of a list.
    pub units: u64,
    /// When the first part of a streamed answer was there.
    pub first_after: Option<Duration>,
}

/// What one run of load brought.
#[derive(Debug, Clone)]
pub struct Sample {
    pub requests: u64,
    pub units: u64,
    pub elapsed: Duration,
    /// CPU time of this process, client and servers together.
    pub cpu: Duration,
    /// Of each request, ascending.
    pub latencies: Vec<Duration>,
    /// Of each streamed answer's first part, ascending.
    pub first_after: Vec<Duration>,
}

impl Sample {
    pub fn units_per_second(&self) -> f64 {
        self.units as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    pub fn cpu_per_request(&self) -> Duration {
        let requests = u32::try_from(self.requests).unwrap_or(u32::MAX).max(1);
        self.cpu / requests
    }
}

/// The smallest value that so much of the values (0 to 1) is not above; zero of no values.
pub fn percentile(ascending: &[Duration], share: f64) -> Duration {
    let count = ascending.len();
    let rank = (0..count)
        .find(|rank| (rank + 1) as f64 >= share * count as f64)
        .unwrap_or(count);
    ascending
        .get(rank)
        .or(ascending.last())
        .copied()
        .unwrap_or_default()
}

/// Keeps `streams` requests under way for `length`. `ask` is given the number of the stream and of
/// its turn; the first failure ends it all.
pub async fn drive<A, F>(streams: usize, length: Duration, ask: A) -> Result<Sample, CliError>
where
    A: Fn(usize, u64) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Outcome, CliError>> + Send + 'static,
{
    let ask = Arc::new(ask);
    let cpu_before = process_cpu();
    let begun = now();
    let until = begun + length;
    let tasks: Vec<_> = (0..streams)
        .map(|stream| tokio::spawn(one_stream(stream, until, Arc::clone(&ask))))
        .collect();
    let mut sample = Sample {
        requests: 0,
        units: 0,
        elapsed: Duration::ZERO,
        cpu: Duration::ZERO,
        latencies: Vec::new(),
        first_after: Vec::new(),
    };
    for task in tasks {
        let part = task
            .await
            .map_err(|error| CliError::refused(format!("the load stopped: {error}")))??;
        sample.requests += part.requests;
        sample.units += part.units;
        sample.latencies.extend(part.latencies);
        sample.first_after.extend(part.first_after);
    }
    sample.elapsed = now() - begun;
    sample.cpu = process_cpu().saturating_sub(cpu_before);
    sample.latencies.sort_unstable();
    sample.first_after.sort_unstable();
    Ok(sample)
}

struct Part {
    requests: u64,
    units: u64,
    latencies: Vec<Duration>,
    first_after: Vec<Duration>,
}

async fn one_stream<A, F>(stream: usize, until: Instant, ask: Arc<A>) -> Result<Part, CliError>
where
    A: Fn(usize, u64) -> F,
    F: Future<Output = Result<Outcome, CliError>>,
{
    let mut part = Part {
        requests: 0,
        units: 0,
        latencies: Vec::with_capacity(64 * 1024),
        first_after: Vec::new(),
    };
    let mut before = now();
    // At least one each, however short the time and busy the machine.
    while before < until || part.requests == 0 {
        let outcome = ask(stream, part.requests).await?;
        let after = now();
        part.requests += 1;
        part.units += outcome.units;
        part.latencies.push(after - before);
        part.first_after.extend(outcome.first_after);
        before = after;
    }
    Ok(part)
}

#[expect(
    clippy::disallowed_methods,
    reason = "measuring time is what this module is for"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// CPU time that this process has used, as far as the system tells.
fn process_cpu() -> Duration {
    let Ok(text) = std::fs::read_to_string("/proc/self/stat") else {
        return Duration::ZERO;
    };
    // The name of the process, in parentheses, may hold anything; fields count from behind it.
    let Some((_, fields)) = text.rsplit_once(')') else {
        return Duration::ZERO;
    };
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // Linux counts these in hundredths of a second on every platform that this runs on.
    Duration::from_millis(ticks * 10)
}

/// Memory of this process that is in RAM, in bytes, as far as the system tells.
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let values: Vec<Duration> = (1..=1_000).map(Duration::from_micros).collect();
        assert_eq!(percentile(&values, 0.5), Duration::from_micros(500));
        assert_eq!(percentile(&values, 0.99), Duration::from_micros(990));
        assert_eq!(percentile(&values, 0.999), Duration::from_micros(999));
        assert_eq!(percentile(&values[..1], 0.999), Duration::from_micros(1));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_stream_asks_in_turn_until_the_time_is_over() {
        let sample = drive(3, Duration::from_millis(20), |_, _| async {
            tokio::task::yield_now().await;
            Ok(Outcome {
                units: 2,
                first_after: None,
            })
        })
        .await
        .unwrap();
        assert!(sample.requests >= 3);
        assert_eq!(sample.units, 2 * sample.requests);
        assert_eq!(sample.latencies.len() as u64, sample.requests);
        assert!(sample.elapsed >= Duration::from_millis(20));
    }

    #[tokio::test]
    async fn a_failure_ends_the_run() {
        let failed = drive(2, Duration::from_secs(600), |_, turn| async move {
            match turn {
                3 => Err(CliError::refused("no")),
                _ => Ok(Outcome {
                    units: 1,
                    first_after: None,
                }),
            }
        })
        .await;
        assert!(failed.is_err());
    }
}
