//! A part of the server: a task that is waited for, and whose end is noticed.

use std::future::Future;
use std::pin::pin;

use tokio::task::{JoinError, JoinHandle};

use super::AppError;

/// A part of the server that runs until it is told to end.
pub(super) struct Task {
    pub(super) part: &'static str,
    pub(super) handle: JoinHandle<Result<(), String>>,
    pub(super) has_ended: bool,
}

impl Task {
    pub(super) fn spawn<E: std::fmt::Display>(
        part: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        let work = async move { work.await.map_err(|error| error.to_string()) };
        Self {
            part,
            handle: tokio::spawn(work),
            has_ended: false,
        }
    }

    /// Answers when the part has ended though nobody told it to.
    pub(super) async fn died(&mut self) -> AppError {
        let problem = match self.join().await {
            Ok(Ok(())) => "it returned".to_owned(),
            Ok(Err(problem)) => problem,
            Err(panic) => panic.to_string(),
        };
        AppError::Died {
            part: self.part,
            problem,
        }
    }

    /// Waits for the end of a part that was told to end.
    pub(super) async fn ended(&mut self) {
        if self.has_ended {
            return;
        }
        match self.join().await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => tracing::warn!(part = self.part, problem, "ended with an error"),
            Err(panic) => tracing::error!(part = self.part, problem = %panic, "ended in a panic"),
        }
    }

    async fn join(&mut self) -> Result<Result<(), String>, JoinError> {
        let joined = pin!(&mut self.handle).await;
        self.has_ended = true;
        joined
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}
