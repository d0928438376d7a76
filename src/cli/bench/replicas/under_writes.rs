//! Checks on the other replica while changes are committed, beside the ceiling under the same load.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::MissedTickBehavior;

use super::{Bench, CliError, Duration, Measurement, Questions, Run, load, output};
use crate::cli::bench::Work;
use crate::cli::bench::data_set::Numbers;

/// Between two commits.
const PACE: Duration = Duration::from_millis(100);
/// Contacts that one commit changes.
const CHANGES: u32 = 100;

impl Bench<'_> {
    /// The checks, and the commits a second that came to pass.
    pub(super) async fn checks_under_writes(&self) -> Result<(Measurement, f64), CliError> {
        let questions = Questions::of_generated(&self.data_set);
        let run = Run::new(self.arguments, &self.follower.subject, &questions).await?;
        let streams = usize::from(self.arguments.streams.iter().copied().max().unwrap_or(1));
        let bar = output::progress("checking", Some(u64::from(self.arguments.rounds)));
        let work = Work::Check(questions.checks());
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
        let measurement = Measurement::new("Check".to_owned(), streams, "checks", &samples?);
        Ok((measurement, commits?))
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
