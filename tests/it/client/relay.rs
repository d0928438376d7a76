//! A network between client and server that fails on demand: a TCP relay that resets its first
//! connections, or cuts one after the server has answered and before the answer arrives.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

#[derive(Default)]
struct State {
    /// Connections that are still to be reset at once.
    to_reset: AtomicU64,
    /// Whether what the server says is kept back, until the connection is cut.
    holds_back: AtomicBool,
    cut: Notify,
    opened: AtomicU64,
}

/// Ends with all its connections when it is dropped.
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Relay {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&state)));
        Self {
            address,
            state,
            accepting,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next connections are reset before anything passes.
    pub fn reset_next(&self, connections: u64) {
        self.state.to_reset.store(connections, Ordering::SeqCst);
    }

    /// Nothing of what the server says arrives any more; what it is told does.
    pub fn hold_back(&self) {
        self.state.holds_back.store(true, Ordering::SeqCst);
    }

    /// Resets the connections that are there, with what was kept back; later ones pass.
    pub fn cut(&self) {
        self.state.holds_back.store(false, Ordering::SeqCst);
        self.state.cut.notify_waiters();
    }

    /// Connections that were ever made.
    pub fn opened(&self) -> u64 {
        self.state.opened.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.state.cut.notify_waiters();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        state.opened.fetch_add(1, Ordering::SeqCst);
        let left = state.to_reset.load(Ordering::SeqCst);
        if left > 0 {
            state.to_reset.store(left - 1, Ordering::SeqCst);
            let _ = client.set_zero_linger();
            continue;
        }
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let cut = state.cut.notified();
            tokio::select! {
                () = carry(client, target, &state) => {}
                () = cut => {}
            }
        });
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, state: &State) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    // However it ends, both sides are told at once.
    let _ = client.set_zero_linger();
    let _ = server.set_zero_linger();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let down = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(size @ 1..) = from_server.read(&mut buffer).await {
            if state.holds_back.load(Ordering::SeqCst) {
                continue;
            }
            if to_client.write_all(&buffer[..size]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
