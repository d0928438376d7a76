//! A part of the server: a task that is waited for, and whose end is noticed.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

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
        poll_fn(|context| self.poll_died(context)).await
    }

    /// Waits for the end of a part that was told to end.
    pub(super) async fn ended(&mut self) {
        if self.has_ended {
            return;
        }
        match poll_fn(|context| self.poll_joined(context)).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => tracing::warn!(part = self.part, problem, "ended with an error"),
            Err(panic) => tracing::error!(part = self.part, problem = %panic, "ended in a panic"),
        }
    }

    fn poll_died(&mut self, context: &mut Context<'_>) -> Poll<AppError> {
        self.poll_joined(context).map(|joined| AppError::Died {
            part: self.part,
            problem: match joined {
                Ok(Ok(())) => "it returned".to_owned(),
                Ok(Err(problem)) => problem,
                Err(panic) => panic.to_string(),
            },
        })
    }

    fn poll_joined(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Result<(), String>, JoinError>> {
        let joined = Pin::new(&mut self.handle).poll(context);
        self.has_ended |= joined.is_ready();
        joined
    }
}

/// Parts of the server that end one after the other.
pub(super) struct Tasks(Vec<Task>);

impl<const N: usize> From<[Task; N]> for Tasks {
    fn from(tasks: [Task; N]) -> Self {
        Self(tasks.into())
    }
}

impl Tasks {
    pub(super) fn extend(&mut self, tasks: impl IntoIterator<Item = Task>) {
        self.0.extend(tasks);
    }

    /// Answers when one of them has ended though nobody told it to.
    pub(super) async fn died(&mut self) -> AppError {
        poll_fn(|context| {
            let polled = self.0.iter_mut().map(|task| task.poll_died(context));
            let mut died = polled.filter(Poll::is_ready);
            died.next().unwrap_or(Poll::Pending)
        })
        .await
    }

    /// Waits for the end of each, having been told to end.
    pub(super) async fn ended(&mut self) {
        for task in &mut self.0 {
            task.ended().await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}
