//! Server streams in chunks: made by a task of their own, pulled by the reader.
//!
//! Memory is flat: at most one chunk waits. A stream whose task did not say that it is complete
//! ends with an error, whatever befell the task, so that a list is never taken for whole that
//! isn't. A reader that takes nothing for a while loses the stream, and with it the snapshot that
//! the stream holds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::Status;
use tracing::Instrument as _;

use super::status::{Failure, Reason};

/// What a chunk may have, in bytes on the wire; the last element may reach over it.
pub const CHUNK_BYTES: usize = 64 * 1_024;

/// The reader's end: a stream of chunks.
#[derive(Debug)]
pub struct Chunks<T> {
    chunks: mpsc::Receiver<T>,
    /// `None` once the stream has ended.
    outcome: Option<oneshot::Receiver<Result<(), Status>>>,
}

/// The maker's end.
#[derive(Debug, Clone)]
pub struct ChunkSender<T> {
    chunks: mpsc::Sender<T>,
    stall_timeout: Duration,
}

/// Starts the task that makes the chunks. It ends early when the reader goes away, or leaves a chunk
/// waiting for longer than the timeout.
pub fn chunks<T, Making>(
    stall_timeout: Duration,
    make: impl FnOnce(ChunkSender<T>) -> Making,
) -> Chunks<T>
where
    T: Send + 'static,
    Making: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, chunks) = mpsc::channel(1);
    let (say, outcome) = oneshot::channel();
    let making = make(ChunkSender {
        chunks: sender,
        stall_timeout,
    });
    // Traced as a part of the call.
    let making = making.in_current_span();
    tokio::spawn(async move {
        let made = making.await;
        // The reader may be gone: then nobody is there to be told.
        let _ = say.send(made);
    });
    Chunks {
        chunks,
        outcome: Some(outcome),
    }
}

impl<T> ChunkSender<T> {
    /// Hands over a chunk once the one before is taken.
    pub async fn send(&self, chunk: T) -> Result<(), Status> {
        match tokio::time::timeout(self.stall_timeout, self.chunks.send(chunk)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(reader_gone()),
            Err(_elapsed) => Err(Failure::new(
                Reason::SlowReader,
                format!(
                    "the stream was not read for {} ms",
                    self.stall_timeout.as_millis()
                ),
            )
            .into()),
        }
    }

    /// Waits for something, and no longer than the reader is there.
    pub async fn unless_gone<A>(&self, awaited: impl Future<Output = A>) -> Result<A, Status> {
        tokio::select! {
            biased;
            gone = self.closed() => Err(gone),
            done = awaited => Ok(done),
        }
    }

    /// Ends when the reader goes away.
    pub async fn closed(&self) -> Status {
        self.chunks.closed().await;
        reader_gone()
    }
}

/// Nobody is told: it only ends the task.
fn reader_gone() -> Status {
    Status::cancelled("the reader went away")
}

impl<T> Stream for Chunks<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.chunks.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(chunk)) => return Poll::Ready(Some(Ok(chunk))),
            Poll::Ready(None) => {}
        }
        let Some(outcome) = self.outcome.as_mut() else {
            return Poll::Ready(None);
        };
        let Poll::Ready(outcome) = Pin::new(outcome).poll(context) else {
            return Poll::Pending;
        };
        self.outcome = None;
        match outcome {
            Ok(Ok(())) => Poll::Ready(None),
            Ok(Err(status)) => Poll::Ready(Some(Err(status))),
            // The task is gone without a word: it panicked, which the panic hook has logged.
            Err(_dropped) => Poll::Ready(Some(Err(Failure::internal().into()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_complete_stream_ends_in_silence() {
        let stream = chunks(PATIENCE, |sender| async move {
            for chunk in 0..3 {
                sender.send(chunk).await?;
            }
            Ok(())
        });
        let items: Vec<u32> = stream.map(Result::unwrap).collect().await;
        assert_eq!(items, [0, 1, 2]);
    }

    #[tokio::test]
    async fn a_stream_whose_task_panics_ends_with_an_error() {
        let mut stream = chunks(PATIENCE, |sender| async move {
            sender.send(1_u32).await?;
            panic!("on purpose");
        });
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(Reason::of(&status), Some(Reason::Internal));
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_loses_the_stream_and_is_told() {
        let (done, ended) = oneshot::channel();
        let mut stream = chunks(Duration::from_millis(20), |sender| async move {
            let mut sent = 0_u32;
            let failed = loop {
                if let Err(status) = sender.send(sent).await {
                    break status;
                }
                sent += 1;
            };
            done.send(sent).unwrap();
            Err(failed)
        });
        assert_eq!(ended.await.unwrap(), 1, "only one chunk ever waits");
        assert_eq!(stream.next().await.unwrap().unwrap(), 0);
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(Reason::of(&status), Some(Reason::SlowReader));
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_ends_the_task() {
        let (done, ended) = oneshot::channel();
        let stream = chunks(PATIENCE, |sender: ChunkSender<u32>| async move {
            let status = sender.closed().await;
            done.send(()).unwrap();
            Err(status)
        });
        drop(stream);
        ended.await.unwrap();
    }
}
