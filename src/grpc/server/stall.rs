//! Ends answers that nobody reads.
//!
//! hyper asks the body of an answer for more once there is room at the client. While there is none,
//! nothing runs that could end the answer, whatever its body would say: so a body notes what it has
//! handed out, and the task of its call looks whether more was asked for since. A task that is
//! dropped resets its stream, which lets go of all that waits to be sent.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

use crate::metrics::TransportMetrics;

/// How far an answer is taken: odd while something that was handed out waits for room. Written and
/// read by the one task of the call.
#[derive(Debug, Clone, Default)]
pub struct Taken(Arc<AtomicU64>);

impl Taken {
    fn hand_out(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn ask(&self) {
        let steps = self.0.load(Ordering::Relaxed);
        self.0.store(steps.next_multiple_of(2), Ordering::Relaxed);
    }

    /// `None` where nothing waits.
    fn waiting(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|steps| !steps.is_multiple_of(2))
    }
}

/// The body of an answer, which notes how far it is taken.
pub struct Noted {
    body: Body,
    taken: Taken,
}

impl Noted {
    pub fn new(body: Body, taken: Taken) -> Self {
        Self { body, taken }
    }
}

impl http_body::Body for Noted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.taken.ask();
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && frame.is_data()
        {
            self.taken.hand_out();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs the calls of one connection, each of which is ended when its answer is not taken.
#[derive(Clone)]
pub struct Calls(Arc<Shared>);

struct Shared {
    timeout: Duration,
    metrics: TransportMetrics,
    /// Of the call that is about to be run: hyper calls the service, and then runs what it answered,
    /// before it looks at the next call.
    next: Mutex<Option<Taken>>,
}

impl Calls {
    /// Each may leave an answer untaken for so long.
    pub fn new(timeout: Duration, metrics: TransportMetrics) -> Self {
        Self(Arc::new(Shared {
            timeout,
            metrics,
            next: Mutex::default(),
        }))
    }

    /// What the next call notes in.
    pub fn begin(&self) -> Taken {
        let taken = Taken::default();
        *self.next() = Some(taken.clone());
        taken
    }

    fn next(&self) -> MutexGuard<'_, Option<Taken>> {
        self.0.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Executor<F> for Calls
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, call: F) {
        let taken = self.next().take();
        match taken {
            Some(taken) => drop(tokio::spawn(Attended {
                call: Box::pin(call),
                taken,
                calls: Arc::clone(&self.0),
                silence: None,
            })),
            None => drop(tokio::spawn(call)),
        }
    }
}

/// A call until its answer is sent, or not taken for too long.
struct Attended<F> {
    call: Pin<Box<F>>,
    taken: Taken,
    calls: Arc<Shared>,
    /// Since when, by the note, and until when.
    silence: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F: Future> Future for Attended<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.call.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = this.taken.waiting() else {
            return Poll::Pending;
        };
        let timeout = this.calls.timeout;
        let (noted, until) = this
            .silence
            .get_or_insert_with(|| (since, Box::pin(tokio::time::sleep(timeout))));
        if *noted != since {
            *noted = since;
            until.set(tokio::time::sleep(timeout));
        }
        if until.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.calls.metrics.stalled();
        tracing::debug!(
            ?timeout,
            "an answer was cut off: its client did not read it"
        );
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attended<F: Future>(call: F, taken: &Taken, millis: u64) -> Attended<F> {
        Attended {
            call: Box::pin(call),
            taken: taken.clone(),
            calls: Calls::new(Duration::from_millis(millis), TransportMetrics::unseen()).0,
            silence: None,
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_ends_and_one_that_is_made_slowly_does_not() {
        let taken = Taken::default();
        // Nothing was handed out: its maker has all the time.
        let slow = attended(std::future::pending::<()>(), &taken, 30);
        let waited = tokio::time::timeout(Duration::from_millis(300), slow).await;
        assert!(waited.is_err(), "it was cut off");
        taken.hand_out();
        attended(std::future::pending::<()>(), &taken, 30).await;
    }

    #[tokio::test]
    async fn each_step_has_the_whole_time() {
        let taken = Taken::default();
        let steps = taken.clone();
        let (done, ended) = tokio::sync::oneshot::channel();
        let reader = async move {
            for _ in 0..4 {
                steps.ask();
                steps.hand_out();
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            done.send(()).unwrap();
        };
        attended(reader, &taken, 1_000).await;
        ended.await.expect("it was cut off between two steps");
    }
}
