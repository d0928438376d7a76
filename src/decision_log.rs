//! The decision log: a JSON line for each decision, or for a share of them; to a collector the same as
//! log records of OTLP.
//!
//! Never in the way of an answer: a record is put together only where it is to be written, handed
//! over without waiting, and counted where it is lost. A thread of its own writes, since a disk or
//! a reader of the log may be stuck for as long as it likes.
//!
//! Never in a record: credentials, attributes of records, inline facts.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::authz::decision::Effect;
use crate::clock::Clock;
use crate::config::{DecisionLogSettings, Ratio};
use crate::metrics::DecisionLogMetrics;
use crate::randomness::{Lots, Randomness, RandomnessError};
use crate::telemetry::TelemetryError;

mod mask;
mod record;
mod writer;

pub use record::{Decided, Listed, Record, Subject, What};
pub use writer::OpenError;

use mask::Masks;
use writer::{Entry, Writer};

/// Between two attempts to hand the last entry over at the end.
const CLOSING_INTERVAL: Duration = Duration::from_millis(5);

#[derive(Debug, thiserror::Error)]
pub enum DecisionLogError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Collector(#[from] TelemetryError),
    #[error("no thread can be started for the decision log: {0}")]
    Thread(#[source] std::io::Error),
    #[error("no seed for the samples of the decision log: {0}")]
    Randomness(#[from] RandomnessError),
}

/// Cheap to clone; all clones write one log.
#[derive(Clone)]
pub struct DecisionLog(Option<Arc<Open>>);

struct Open {
    sampling: Sampling,
    masks: Masks,
    clock: Arc<dyn Clock>,
    queue: SyncSender<Entry>,
    metrics: DecisionLogMetrics,
}

/// What was drawn for one call before it was decided, and when it began.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    lot: u64,
    began: Duration,
}

impl DecisionLog {
    /// No decision is written down.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the destination and starts the thread that writes to it.
    ///
    /// # Errors
    /// A destination that can't be opened: then the server must not start, as it would decide
    /// without the log that it was told to keep.
    pub fn open(
        settings: &DecisionLogSettings,
        clock: Arc<dyn Clock>,
        randomness: &dyn Randomness,
        metrics: DecisionLogMetrics,
    ) -> Result<Self, DecisionLogError> {
        let Some(destination) = &settings.destination else {
            return Ok(Self::off());
        };
        let (queue, entries) = sync_channel(settings.queue_records_max);
        let writer = Writer::open(destination.clone(), Arc::clone(&clock), metrics.clone())?;
        std::thread::Builder::new()
            .name("ambit-decision-log".to_owned())
            .spawn(move || writer.run(&entries))
            .map_err(DecisionLogError::Thread)?;
        Ok(Self(Some(Arc::new(Open {
            sampling: Sampling::new(settings, randomness)?,
            masks: Masks::new(settings),
            clock,
            queue,
            metrics,
        }))))
    }

    /// Draws for one decision before it is made; `None` where no outcome of it would be written.
    pub fn draw(&self) -> Option<Draw> {
        let open = self.0.as_ref()?;
        let lot = open.sampling.lots.draw();
        open.sampling.may_take(lot).then(|| Draw {
            lot,
            began: open.clock.monotonic(),
        })
    }

    /// Writes a record down if its outcome was drawn. `record` is called only then.
    pub fn write<'a>(
        &self,
        draw: Option<Draw>,
        effect: Effect,
        record: impl FnOnce() -> Record<'a>,
    ) {
        let (Some(open), Some(draw)) = (&self.0, draw) else {
            return;
        };
        if !open.sampling.takes(draw.lot, effect) {
            return;
        }
        let took = open.clock.monotonic().saturating_sub(draw.began);
        let Some(line) = record().into_line(&open.masks, open.clock.now(), took) else {
            // Only a map with keys that are no text fails, and a record has none.
            open.metrics.write_failed(1);
            return;
        };
        match open.queue.try_send(Entry::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => open.metrics.queue_full(),
            Err(TrySendError::Disconnected(_)) => open.metrics.write_failed(1),
        }
    }

    /// Waits until all that was handed over is written; the caller bounds that.
    pub async fn close(&self) {
        let Some(open) = &self.0 else {
            return;
        };
        let (say, written) = tokio::sync::oneshot::channel();
        let mut last = Entry::Last(say);
        while let Err(TrySendError::Full(entry)) = open.queue.try_send(last) {
            last = entry;
            tokio::time::sleep(CLOSING_INTERVAL).await;
        }
        // The thread may be gone: then nothing is left to wait for.
        let _gone = written.await;
    }
}

/// Which decisions are taken: a share of each outcome, drawn evenly.
struct Sampling {
    allow: Ratio,
    deny: Ratio,
    lots: Lots,
}

impl Sampling {
    fn new(
        settings: &DecisionLogSettings,
        randomness: &dyn Randomness,
    ) -> Result<Self, RandomnessError> {
        Ok(Self {
            allow: settings.allow_ratio,
            deny: settings.deny_ratio,
            lots: Lots::new(randomness)?,
        })
    }

    fn may_take(&self, lot: u64) -> bool {
        self.allow.takes(lot) || self.deny.takes(lot)
    }

    fn takes(&self, lot: u64, effect: Effect) -> bool {
        match effect {
            Effect::Allow => self.allow,
            Effect::Deny => self.deny,
        }
        .takes(lot)
    }
}

#[cfg(test)]
mod tests;
