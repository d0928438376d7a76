//! From a commit's acknowledgement to the other replica's snapshot, beside a bare NOTIFY.

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::{Bench, CliError, Duration, Following, load, millis, output};
use crate::authz::change::{Change, ResourcePatch};
use crate::authz::model::{Id, ResourceKey};
use crate::cli::bench::data_set::{Numbers, RESOURCE_TYPE};
use crate::cli::bench::load::percentile;
use crate::directory::{ApplyChanges, DirectoryError};
use crate::store::audit::Author;
use crate::store::{Heartbeat, Notification, Store};

/// Between two commits, and between two bare notifications.
const PACE: Duration = Duration::from_millis(10);

#[derive(Debug, Serialize)]
pub struct Visible {
    pub commits: usize,
    pub commits_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub notify_p50_ms: f64,
    pub notify_p99_ms: f64,
    pub ratio_p50: f64,
    pub ratio_p99: f64,
}

impl Bench<'_> {
    /// Commits and bare notifications in turn, in slices of the one and of the other.
    pub(super) async fn commit_to_visible(&self) -> Result<Visible, CliError> {
        let rounds = self.arguments.rounds;
        let slice = Duration::from_secs_f64(self.arguments.seconds);
        let bar = output::progress("committing", Some(u64::from(rounds)));
        let mut numbers = Numbers::from_seed(self.data_set.seed ^ 0x0b5e);
        let mut lags = Vec::new();
        let mut trips = Vec::new();
        let mut committing = Duration::ZERO;
        let store = self.open_store().await?;
        for round in 0..rounds {
            let following = Following::begin(self).await?;
            let begun = load::now();
            let mut acknowledged = Vec::new();
            let mut pace = tokio::time::interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while load::now() - begun < slice {
                pace.tick().await;
                let revision = self.change_contacts(&mut numbers, 1).await?;
                acknowledged.push((revision, load::now()));
            }
            committing += load::now() - begun;
            lags.extend(following.lags(self, &acknowledged).await?);
            trips.extend(round_trips(store.store(), u64::from(round), slice).await?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        store.close().await;
        lags.sort_unstable();
        trips.sort_unstable();
        let of = |values: &[Duration], share| millis(percentile(values, share));
        let (p50, p99) = (of(&lags, 0.5), of(&lags, 0.99));
        let (notify_p50, notify_p99) = (of(&trips, 0.5), of(&trips, 0.99));
        Ok(Visible {
            commits: lags.len(),
            commits_per_second: lags.len() as f64 / committing.as_secs_f64(),
            p50_ms: p50,
            p99_ms: p99,
            notify_p50_ms: notify_p50,
            notify_p99_ms: notify_p99,
            ratio_p50: p50 / notify_p50,
            ratio_p99: p99 / notify_p99,
        })
    }

    /// Gives so many contacts another owner in one commit; its revision.
    pub(super) async fn change_contacts(
        &self,
        numbers: &mut Numbers,
        count: u32,
    ) -> Result<u64, CliError> {
        let id = |text: &str| Id::parse(text).map_err(CliError::usage);
        let changes = (0..count)
            .map(|_| {
                let contact = self.data_set.contact(numbers.below(self.data_set.contacts));
                let owner = self.data_set.user(numbers.below(self.data_set.users));
                Ok(Change::PutResource(ResourcePatch {
                    key: ResourceKey {
                        resource_type: id(RESOURCE_TYPE)?,
                        id: id(&contact)?,
                    },
                    owners: Some([id(&owner)?].into()),
                    owning_team: None,
                    partitioned: None,
                    attributes: None,
                    creator: None,
                }))
            })
            .collect::<Result<Vec<Change>, CliError>>()?;
        let applied = self
            .writer
            .directory
            .apply_changes(ApplyChanges {
                account: self.account.clone(),
                changes,
                expected: None,
                idempotency: None,
                dry_run: false,
                actor: None,
                author: Author::named("ambit:bench", "ApplyChanges"),
            })
            .await
            .map_err(|error: DirectoryError| CliError::refused(error))?;
        Ok(applied.head.map_or(0, |head| head.revision))
    }
}

/// From the call that sends a notification to its arrival on another connection.
async fn round_trips(
    store: &dyn Store,
    round: u64,
    slice: Duration,
) -> Result<Vec<Duration>, CliError> {
    let channel = store.notifications().await.map_err(CliError::refused)?;
    let mut channel = channel
        .ok_or_else(|| CliError::usage("the database has no notifications to compare with"))?;
    let sender = round.to_be_bytes().map(|byte| byte ^ 0xa5);
    let mut trips = Vec::new();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = load::now();
    let mut sequence = 0;
    while load::now() - begun < slice {
        pace.tick().await;
        sequence += 1;
        let heartbeat = Heartbeat { sender, sequence };
        let sent = load::now();
        store
            .send_heartbeat(heartbeat)
            .await
            .map_err(CliError::refused)?;
        loop {
            let came = channel.next().await.map_err(CliError::refused)?;
            if came == Notification::Heartbeat(heartbeat) {
                break;
            }
        }
        trips.push(load::now() - sent);
    }
    Ok(trips)
}
