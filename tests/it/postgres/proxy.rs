//! A network between server and database that fails on demand: a TCP proxy which passes, drops,
//! delays, mutes or cuts connections, all of them or only those that listen for notifications.
//!
//! It reads along just far enough to know a connection that sent LISTEN, and to leave out
//! notifications of the database as a pooler in transaction mode does.

mod modes;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Pass,
    /// Both sides stay connected, and nothing arrives any more on that connection, whatever is set
    /// later: packets that are lost for good.
    Blackhole,
    /// Everything passes but notifications.
    Mute,
    /// Each piece of data arrives so much later, in both directions.
    Delay(Duration),
}

/// Which connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    All,
    /// Those that have sent LISTEN.
    Listening,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// In good order, as when a backend is terminated.
    Fin,
    /// With a reset, as when a router forgot the connection.
    Rst,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    target: u16,
    refuses: bool,
    all: Flow,
    listening: Flow,
}

struct Connection {
    listens: AtomicBool,
    is_black: AtomicBool,
    ends: watch::Sender<Option<End>>,
}

#[derive(Default)]
struct Counters {
    opened: AtomicU64,
    muted: AtomicU64,
    swallowed: AtomicU64,
}

/// Ends with all its connections when it is dropped.
pub struct Proxy {
    port: u16,
    rules: watch::Sender<Rules>,
    connections: Connections,
    counters: Arc<Counters>,
    accepting: JoinHandle<()>,
}

type Connections = Arc<Mutex<HashMap<u64, Arc<Connection>>>>;

impl Proxy {
    /// In front of a server on a port of this machine.
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rules = watch::Sender::new(Rules {
            target,
            refuses: false,
            all: Flow::Pass,
            listening: Flow::Pass,
        });
        let connections = Connections::default();
        let counters = Arc::new(Counters::default());
        let accepting = tokio::spawn(accept(
            listener,
            rules.subscribe(),
            Arc::clone(&connections),
            Arc::clone(&counters),
        ));
        Self {
            port,
            rules,
            connections,
            counters,
            accepting,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where new connections lead.
    pub fn switch_to(&self, target: u16) {
        self.rules.send_modify(|rules| rules.target = target);
    }

    /// Whether new connections are reset at once.
    pub fn refuse(&self, refuses: bool) {
        self.rules.send_modify(|rules| rules.refuses = refuses);
    }

    /// For connections that are there, and for those to come.
    pub fn set(&self, which: Which, flow: Flow) {
        self.rules.send_modify(|rules| match which {
            Which::All => rules.all = flow,
            Which::Listening => rules.listening = flow,
        });
    }

    /// Cuts connections with a reset; answers how many.
    pub fn reset(&self, which: Which) -> usize {
        self.end(which, End::Rst)
    }

    /// Ends connections in good order; answers how many.
    pub fn close(&self, which: Which) -> usize {
        self.end(which, End::Fin)
    }

    fn end(&self, which: Which, end: End) -> usize {
        let those = self.those(which);
        for connection in &those {
            connection.ends.send_replace(Some(end));
        }
        those.len()
    }

    /// Connections that are there.
    pub fn count(&self, which: Which) -> usize {
        self.those(which).len()
    }

    fn those(&self, which: Which) -> Vec<Arc<Connection>> {
        let connections = self.connections.lock().unwrap();
        connections
            .values()
            .filter(|connection| which == Which::All || connection.listens())
            .cloned()
            .collect()
    }

    /// Connections that were ever taken.
    pub fn opened(&self) -> u64 {
        self.counters.opened.load(Ordering::SeqCst)
    }

    /// Notifications that were left out.
    pub fn muted(&self) -> u64 {
        self.counters.muted.load(Ordering::SeqCst)
    }

    /// Bytes that were swallowed.
    pub fn swallowed(&self) -> u64 {
        self.counters.swallowed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.end(Which::All, End::Rst);
    }
}

impl Connection {
    fn listens(&self) -> bool {
        self.listens.load(Ordering::SeqCst)
    }

    /// What becomes of what is sent now.
    fn flow(&self, rules: Rules) -> Flow {
        let flow = match (self.listens(), rules.listening) {
            (false, _) | (true, Flow::Pass) => rules.all,
            (true, flow) => flow,
        };
        if flow == Flow::Blackhole {
            self.is_black.store(true, Ordering::SeqCst);
        }
        if self.is_black.load(Ordering::SeqCst) {
            Flow::Blackhole
        } else {
            flow
        }
    }
}

async fn accept(
    listener: TcpListener,
    rules: watch::Receiver<Rules>,
    connections: Connections,
    counters: Arc<Counters>,
) {
    for number in 0.. {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        let now = *rules.borrow();
        counters.opened.fetch_add(1, Ordering::SeqCst);
        if now.refuses {
            reset(&client);
            continue;
        }
        let connection = Arc::new(Connection {
            listens: AtomicBool::new(false),
            is_black: AtomicBool::new(false),
            ends: watch::Sender::new(None),
        });
        connections
            .lock()
            .unwrap()
            .insert(number, Arc::clone(&connection));
        let (rules, counters) = (rules.clone(), Arc::clone(&counters));
        let connections = Arc::clone(&connections);
        tokio::spawn(async move {
            carry(client, &rules, &connection, &counters).await;
            connections.lock().unwrap().remove(&number);
        });
    }
}

async fn carry(
    mut client: TcpStream,
    rules: &watch::Receiver<Rules>,
    connection: &Connection,
    counters: &Counters,
) {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, rules.borrow().target));
    let Ok(mut server) = TcpStream::connect(target).await else {
        return reset(&client);
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let mut ends = connection.ends.subscribe();
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            () = upward(from_client, to_server, rules, connection, counters) => End::Fin,
            () = downward(from_server, to_client, rules, connection, counters) => End::Fin,
            end = ends.wait_for(Option::is_some) => match end {
                Ok(end) => end.unwrap(),
                Err(_) => End::Fin,
            },
        }
    };
    match end {
        End::Rst => {
            reset(&client);
            reset(&server);
        }
        End::Fin => {
            let _ = client.shutdown().await;
            let _ = server.shutdown().await;
        }
    }
}

/// The next close of the socket sends a reset.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// From the client to the server; ends with either.
async fn upward(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    rules: &watch::Receiver<Rules>,
    connection: &Connection,
    counters: &Counters,
) {
    const LISTEN: &[u8] = b"LISTEN \"";
    let mut buffer = vec![0; 1 << 16];
    let mut tail = Vec::new();
    loop {
        let Ok(size @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let piece = &buffer[..size];
        // A statement may be cut in two pieces.
        tail.extend_from_slice(piece);
        if tail.windows(LISTEN.len()).any(|window| window == LISTEN) {
            connection.listens.store(true, Ordering::SeqCst);
        }
        tail.drain(..tail.len().saturating_sub(LISTEN.len() - 1));
        let now = *rules.borrow();
        match connection.flow(now) {
            Flow::Blackhole => {
                swallow(counters, size);
                continue;
            }
            Flow::Delay(delay) => tokio::time::sleep(delay).await,
            Flow::Pass | Flow::Mute => {}
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

/// From the server to the client, message by message.
async fn downward(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    rules: &watch::Receiver<Rules>,
    connection: &Connection,
    counters: &Counters,
) {
    let mut buffer = vec![0; 1 << 16];
    let mut pending = Vec::new();
    let mut has_begun = false;
    loop {
        let Ok(size @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        pending.extend_from_slice(&buffer[..size]);
        let now = *rules.borrow();
        let flow = connection.flow(now);
        let whole = whole_messages(&mut pending, &mut has_begun);
        let passed: Vec<u8> = match flow {
            Flow::Blackhole => {
                swallow(counters, size);
                continue;
            }
            Flow::Mute => {
                let notifies = |message: &&Vec<u8>| message.first() == Some(&b'A');
                let muted = whole.iter().filter(notifies).count();
                counters
                    .muted
                    .fetch_add(u64::try_from(muted).unwrap(), Ordering::SeqCst);
                whole
                    .into_iter()
                    .filter(|message| message.first() != Some(&b'A'))
                    .flatten()
                    .collect()
            }
            Flow::Delay(delay) => {
                tokio::time::sleep(delay).await;
                whole.concat()
            }
            Flow::Pass => whole.concat(),
        };
        if to.write_all(&passed).await.is_err() {
            return;
        }
    }
}

fn swallow(counters: &Counters, size: usize) {
    counters
        .swallowed
        .fetch_add(u64::try_from(size).unwrap(), Ordering::SeqCst);
}

/// Takes what is complete: a type, a length that counts itself, and the rest.
fn whole_messages(pending: &mut Vec<u8>, has_begun: &mut bool) -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    // The answer to a client's wish for TLS is a single byte: `N`, since these servers have none.
    if !*has_begun && pending.first() == Some(&b'N') {
        whole.push(vec![pending.remove(0)]);
        return whole;
    }
    while let Some(length) = pending.get(1..5) {
        *has_begun = true;
        let length = u32::from_be_bytes(length.try_into().unwrap());
        let size = 1 + usize::try_from(length).unwrap();
        if pending.len() < size {
            break;
        }
        let rest = pending.split_off(size);
        whole.push(std::mem::replace(pending, rest));
    }
    whole
}
