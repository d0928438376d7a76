//! The thread that writes the decision log, and where it writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::sync::oneshot;

use super::DecisionLogError;
use crate::clock::Clock;
use crate::config::DecisionLogDestination;
use crate::metrics::DecisionLogMetrics;
use crate::telemetry::LogsExport;

/// What is written at once at most, in bytes; one record may reach over it.
const BATCH_BYTES: usize = 64 * 1_024;

/// How often is looked whether the file is still the one of that name.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A message to the collector is sent once nothing more has come for so long.
const MESSAGE_PATIENCE: Duration = Duration::from_millis(200);

/// Who decides, and on whom, is nobody's business but the owner's and their group's.
const FILE_MODE: u32 = 0o640;

#[derive(Debug, thiserror::Error)]
#[error("the decision log `{}` can't be opened: {source}", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

pub enum Entry {
    Line(Vec<u8>),
    /// Nothing follows; says so once all before it is written.
    Last(oneshot::Sender<()>),
}

pub struct Writer {
    output: Output,
    metrics: DecisionLogMetrics,
    /// The last write failed, so that a part of a line may stand at the end.
    is_torn: bool,
}

enum Output {
    Stdout,
    File(Followed),
    Collector(Box<LogsExport>, Arc<dyn Clock>),
}

/// A file that is found again by its name after it was moved away, as tools that rotate logs do.
struct Followed {
    path: PathBuf,
    file: Option<File>,
    clock: Arc<dyn Clock>,
    looked: Duration,
}

impl Writer {
    pub fn open(
        destination: DecisionLogDestination,
        clock: Arc<dyn Clock>,
        metrics: DecisionLogMetrics,
    ) -> Result<Self, DecisionLogError> {
        let output = match destination {
            DecisionLogDestination::Stdout => Output::Stdout,
            DecisionLogDestination::File(path) => Output::File(Followed::open(path, clock)?),
            DecisionLogDestination::Collector(endpoint) => {
                Output::Collector(Box::new(LogsExport::start(&endpoint)?), clock)
            }
        };
        Ok(Self {
            output,
            metrics,
            is_torn: false,
        })
    }

    /// Writes until the last entry, or until nobody is left to send one.
    pub fn run(mut self, entries: &Receiver<Entry>) {
        let mut batch = Vec::with_capacity(BATCH_BYTES);
        while let Ok(first) = entries.recv() {
            let mut next = Some(first);
            let mut records = 0;
            let mut last = None;
            while let Some(entry) = next {
                match entry {
                    Entry::Line(line) => {
                        batch.extend_from_slice(&line);
                        records += 1;
                    }
                    Entry::Last(say) => {
                        last = Some(say);
                        break;
                    }
                }
                next = (batch.len() < BATCH_BYTES)
                    .then(|| entries.recv_timeout(self.output.patience()).ok())
                    .flatten();
            }
            self.write(&batch, records);
            batch.clear();
            if let Some(say) = last {
                // Whoever waited may have given up.
                let _gone = say.send(());
                return;
            }
        }
    }

    fn write(&mut self, batch: &[u8], records: u64) {
        if batch.is_empty() {
            return;
        }
        match self.output.write(batch, self.is_torn) {
            Ok(()) => {
                if self.is_torn {
                    tracing::info!("the decision log is written again");
                }
                self.is_torn = false;
                self.metrics.written(records);
            }
            Err(error) => {
                if !self.is_torn {
                    tracing::error!(error = %error, "the decision log can't be written; records are lost");
                }
                self.is_torn = true;
                self.metrics.write_failed(records);
            }
        }
    }
}

impl Output {
    /// How long a record waits for others to be written with.
    fn patience(&self) -> Duration {
        match self {
            Self::Stdout | Self::File(_) => Duration::ZERO,
            Self::Collector(..) => MESSAGE_PATIENCE,
        }
    }

    /// A batch on a line of its own, whatever stands before it.
    fn write(&mut self, batch: &[u8], after_a_tear: bool) -> io::Result<()> {
        match self {
            Self::Stdout => whole(&mut io::stdout().lock(), batch, after_a_tear),
            Self::Collector(export, clock) => {
                let sent = export.send(batch, clock.now());
                sent.map_err(io::Error::other)
            }
            Self::File(followed) => {
                let written = whole(followed.file()?, batch, after_a_tear);
                if written.is_err() {
                    followed.file = None;
                }
                written
            }
        }
    }
}

fn whole(output: &mut impl Write, batch: &[u8], after_a_tear: bool) -> io::Result<()> {
    if after_a_tear {
        output.write_all(b"\n")?;
    }
    output.write_all(batch)?;
    output.flush()
}

impl Followed {
    fn open(path: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        // A pipe is opened by the thread that writes, since that waits for its reader.
        let is_pipe = std::fs::metadata(&path).is_ok_and(|found| found.file_type().is_fifo());
        let file = if is_pipe {
            None
        } else {
            match append(&path) {
                Ok(file) => Some(file),
                Err(source) => return Err(OpenError { path, source }),
            }
        };
        Ok(Self {
            path,
            file,
            looked: clock.monotonic(),
            clock,
        })
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let now = self.clock.monotonic();
        if now.saturating_sub(self.looked) >= LOOK_INTERVAL {
            self.looked = now;
            if !self.is_in_place() {
                self.file = None;
            }
        }
        match &mut self.file {
            Some(file) => Ok(file),
            empty => Ok(empty.insert(append(&self.path)?)),
        }
    }

    fn is_in_place(&self) -> bool {
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        match (open, std::fs::metadata(&self.path)) {
            (Some(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(path)
}
