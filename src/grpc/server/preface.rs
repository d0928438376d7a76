//! The first bytes of a connection, for which HTTP/2 has no timeout.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::shutdown::Shutdown;

/// Bytes that a client of HTTP/2 begins with.
const PREFACE_BYTES: usize = 24;

/// A connection whose client owes its first bytes. After them hyper's pings tell whether it is
/// still there, and a shutdown reaches it; before them nothing would.
pub struct Prefaced<IO> {
    stream: IO,
    /// While the client has not begun to speak.
    awaited: Option<Awaited>,
}

struct Awaited {
    bytes_missing: usize,
    over: Pin<Box<dyn Future<Output = &'static str> + Send>>,
}

impl<IO> Prefaced<IO> {
    pub fn new(stream: IO, timeout: Duration, shutdown: &Shutdown) -> Self {
        let ending = shutdown.soft().clone().cancelled_owned();
        Self {
            stream,
            awaited: Some(Awaited {
                bytes_missing: PREFACE_BYTES,
                over: Box::pin(async move {
                    tokio::select! {
                        () = ending => "the server is shutting down",
                        () = tokio::time::sleep(timeout) => "the client did not begin to speak",
                    }
                }),
            }),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Prefaced<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled_before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(awaited) = &mut self.awaited else {
            return read;
        };
        let bytes = buffer.filled().len() - filled_before;
        awaited.bytes_missing = awaited.bytes_missing.saturating_sub(bytes);
        if awaited.bytes_missing == 0 {
            self.awaited = None;
        } else if read.is_pending()
            && let Poll::Ready(why) = awaited.over.as_mut().poll(context)
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Prefaced<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
