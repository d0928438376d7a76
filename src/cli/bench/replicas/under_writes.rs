//! Checks on the other replica while changes are committed, beside the ceiling under the same load.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::{Bench, CliError, Duration, Measurement, Questions, Run, load, output};
use crate::cli::bench::Work;
use crate::cli::bench::data_set::Numbers;

/// Between two commits.
const PACE: Duration = Duration::from_millis(100);
/// Contacts that one commit changes.
const CHANGES: u32 = 100;

/// Both beside the ceiling: what the one loses of the other is what the changes cost.
#[derive(Debug, Serialize)]
pub struct UnderWrites {
    pub at_rest: Measurement,
    pub beside_commits: Measurement,
    pub commits_per_second: f64,
}

impl Bench<'_> {
    /// Checks at rest and beside commits, and the commits a second that came to pass.
    pub(super) async fn checks_under_writes(&self) -> Result<UnderWrites, CliError> {
        let questions = Questions::of_generated(&self.data_set);
        let run = Run::new(self.arguments, &self.follower.subject, None, &questions).await?;
        let streams = usize::from(self.arguments.streams.iter().copied().max().unwrap_or(1));
        let bar = output::progress("checking", Some(u64::from(self.arguments.rounds)));
        let work = Work::Check(questions.checks());
        let at_rest = run.rounds(&work, streams, &bar).await?;
        bar.reset();
        let done = AtomicBool::new(false);
        let (samples, commits) = tokio::join!(
            async {
                let samples = run.rounds(&work, streams, &bar).await;
                done.store(true, Ordering::SeqCst);
                samples
            },
            self.keep_committing(&done)
        );
        bar.finish_and_clear();
        let measured = |samples| Measurement::new("Check".to_owned(), streams, "checks", samples);
        Ok(UnderWrites {
            at_rest: measured(&at_rest),
            beside_commits: measured(&samples?),
            commits_per_second: commits?,
        })
    }

    async fn keep_committing(&self, done: &AtomicBool) -> Result<f64, CliError> {
        let mut numbers = Numbers::from_seed(self.data_set.seed ^ 0x7e57);
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = load::now();
        let mut commits = 0_u32;
        while !done.load(Ordering::SeqCst) {
            pace.tick().await;
            self.change_contacts(&mut numbers, CHANGES).await?;
            commits += 1;
        }
        Ok(f64::from(commits) / (load::now() - begun).as_secs_f64())
    }
}
