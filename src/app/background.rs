//! What runs beside the answering of requests.

use std::future::Future;

use tokio::runtime::{self, Handle, Runtime};

use super::AppError;
use super::task::Task;

/// A thread beside those that answer requests: however busy they are, the feed gets its turn, and
/// whoever is past the staleness bound is so because of the database.
pub(super) struct Background {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Background {
    pub(super) fn start() -> Result<Self, AppError> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ambit-feed")
            .enable_all()
            .build()
            .map_err(AppError::Thread)?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    pub(super) fn spawn(
        &self,
        part: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Task {
        let work = async move {
            work.await;
            Ok(())
        };
        Task {
            part,
            handle: self.handle.spawn(work),
            has_ended: false,
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Not by its own drop, which waits and so must not happen where requests are answered.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
