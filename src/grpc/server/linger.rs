//! The end of a connection that ended in good order.
//!
//! A socket that is closed while bytes of the peer lie unread is reset, and the reset overtakes what
//! was sent last: the peer would lose answers that it was given, and the word that its next calls
//! belong elsewhere. So the socket is read for a moment more, for nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// For a peer that has yet to read that it is over. Nothing worse than a reset comes of a shorter one.
const LINGER: Duration = Duration::from_secs(1);

/// A socket that goes back to its lender when whoever speaks on it is done.
pub struct Lent {
    /// Until this is dropped.
    stream: Option<TcpStream>,
    back: Option<oneshot::Sender<TcpStream>>,
}

/// Where the socket comes back.
pub struct Returned(oneshot::Receiver<TcpStream>);

pub fn lend(stream: TcpStream) -> (Lent, Returned) {
    let (back, returned) = oneshot::channel();
    let lent = Lent {
        stream: Some(stream),
        back: Some(back),
    };
    (lent, Returned(returned))
}

impl Returned {
    /// Waits until the peer has closed its side too, for as long as that is worth it.
    pub async fn linger(self) {
        let Ok(mut stream) = self.0.await else {
            return;
        };
        let mut unread = [0; 4_096];
        let drain = async {
            // To the end or to an error: both are the end.
            while let Ok(1..) = stream.read(&mut unread).await {}
        };
        // A peer that goes on sending is reset in the end.
        tokio::time::timeout(LINGER, drain).await.ok();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // Whoever does not linger has dropped the other end: the socket is closed here.
            back.send(stream).ok();
        }
    }
}

impl Lent {
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (connected, accepted) = tokio::join!(connecting, listener.accept());
        (connected.unwrap(), accepted.unwrap().0)
    }

    /// Case 18: what was sent last arrives, whatever the peer sent that nobody reads.
    #[tokio::test]
    async fn what_was_sent_last_arrives_though_the_peer_had_more_to_say() {
        for lingers in [true, false] {
            let (mut peer, ours) = pair().await;
            let (mut lent, returned) = lend(ours);
            peer.write_all(&[7; 10_000]).await.unwrap();
            // The bytes are here, unread, before the end.
            let stream = lent.stream.as_ref().unwrap();
            stream.readable().await.unwrap();
            lent.write_all(b"goodbye").await.unwrap();
            lent.shutdown().await.unwrap();
            let lingering = if lingers {
                Some(tokio::spawn(returned.linger()))
            } else {
                drop(returned);
                None
            };
            drop(lent);
            let mut read = Vec::new();
            if lingers {
                peer.read_to_end(&mut read).await.unwrap();
                assert_eq!(read, b"goodbye");
                drop(peer);
            } else {
                // The control: the socket is closed over unread bytes, and the peer is reset.
                let error = loop {
                    if let Err(error) = peer.write_all(&[7]).await {
                        break error;
                    }
                    tokio::task::yield_now().await;
                };
                let reset = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
                assert!(reset.contains(&error.kind()), "{error}");
            }
            if let Some(lingering) = lingering {
                lingering.await.unwrap();
            }
        }
    }
}
