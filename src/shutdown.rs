//! The end of the process, in two steps: soft, then hard.
//!
//! *Soft* (the first SIGTERM or SIGINT): readiness turns off, nothing new is accepted, running
//! calls end, streams that would go on for ever are ended. *Hard* (the grace is over): what still
//! runs is dropped. A second signal ends the process at once.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Cheap to clone; all clones are of the same shutdown.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the end; a second time changes nothing.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// The grace is over.
    pub fn force(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    pub fn has_begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// For whatever ends by itself once it is told.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// For whatever must be cut off.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Runs `work` until it is done, or until `grace` after the soft step; then the hard step is
    /// taken and the answer is `None`.
    pub async fn bounded<T>(&self, grace: Duration, work: impl Future<Output = T>) -> Option<T> {
        let deadline = async {
            self.soft.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            done = work => Some(done),
            () = deadline => {
                self.force();
                None
            }
        }
    }

    /// Begins the shutdown at the first SIGTERM or SIGINT, and exits the process at the second
    /// with the status that a shell gives to a process that a signal ended.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => ("SIGTERM", 128 + 15),
                    _ = interrupt.recv() => ("SIGINT", 128 + 2),
                }
            };
            let (name, _) = next().await;
            tracing::info!(
                signal = name,
                "shutting down; a second signal exits at once"
            );
            shutdown.begin();
            let (name, status) = next().await;
            tracing::warn!(signal = name, "exiting at once");
            exit(status);
        });
        Ok(())
    }
}

#[expect(
    clippy::exit,
    reason = "whoever signals twice does not want to wait for anything"
)]
fn exit(status: i32) {
    std::process::exit(status);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn work_that_ends_in_the_grace_is_not_cut_off() {
        let shutdown = Shutdown::new();
        shutdown.begin();
        let done = shutdown.bounded(LONG, async { 7 }).await;
        assert_eq!(done, Some(7));
        assert!(!shutdown.hard().is_cancelled());
    }

    #[tokio::test]
    async fn the_grace_begins_with_the_soft_step() {
        let shutdown = Shutdown::new();
        // Without a soft step a grace of nothing cuts nothing off.
        let work = tokio::time::sleep(Duration::from_millis(20));
        assert_eq!(shutdown.bounded(Duration::ZERO, work).await, Some(()));
    }

    #[tokio::test]
    async fn work_that_does_not_end_is_cut_off_after_the_grace() {
        let shutdown = Shutdown::new();
        shutdown.begin();
        let done = shutdown
            .bounded(Duration::from_millis(20), std::future::pending::<()>())
            .await;
        assert_eq!(done, None);
        assert!(shutdown.hard().is_cancelled());
    }
}
