//! Frames that no honest client sends (case 25): one connection is lost, and nobody else's, and
//! memory stays where it was.

use std::time::Duration;

use ambit::grpc::wire::decision_service_client::DecisionServiceClient;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::processes::Process;
use crate::grpc::server::check;

/// More memory than a flood may cost.
const MEMORY: u64 = 50 << 20;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:method POST`, `:scheme http`, `:path /` of the static table.
const CALL: &[u8] = &[0x83, 0x86, 0x84];

/// One frame of HTTP/2.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn opening() -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// Kinds of the frames that were said until the end, or until the time was up.
async fn said_until_closed<IO: AsyncRead + AsyncWrite + Unpin>(
    stream: IO,
    flood: Vec<u8>,
    time: Duration,
) -> (Vec<u8>, bool) {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut said = Vec::new();
    let talk = async {
        let write = async {
            // The server may have had enough before the end.
            let _ = writing.write_all(&flood).await;
            let _ = writing.flush().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = write => {}
            // A reset is an end too.
            _ = reading.read_to_end(&mut said) => {}
        }
    };
    let closed = tokio::time::timeout(time, talk).await.is_ok();
    let mut kinds = Vec::new();
    let mut rest = said.as_slice();
    while let [a, b, c, kind, ..] = rest {
        kinds.push(*kind);
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    (kinds, closed)
}

/// Begins HTTP/2 and waits for the answer to a ping.
pub async fn ping<IO: AsyncRead + AsyncWrite + Unpin>(mut stream: IO) -> Result<(), String> {
    let mut bytes = opening();
    bytes.extend(frame(PING, 0, 0, b"are you?"));
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(&bytes).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.map_err(failed)?;
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.map_err(failed)?;
        if head[3] == PING && head[4] & ACK == ACK {
            return Ok(());
        }
    }
}

fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_25_a_flood_costs_its_own_connection_and_no_other() {
    let server = Process::start(None, &[]);
    server.make_account().await;
    let mut decisions = DecisionServiceClient::new(server.channel().await);
    decisions.check(check("acme", "c1")).await.unwrap();
    let before = server.memory();
    let begun = |stream| frame(HEADERS, END_HEADERS, stream, CALL);
    let rapid_reset: Vec<u8> = streams(100_000)
        .flat_map(|stream| {
            let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, CALL);
            bytes.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
            bytes
        })
        .collect();
    // Each is answered with a reset by the server itself: a window may not grow by nothing.
    let internal_resets: Vec<u8> = streams(20_000)
        .flat_map(|stream| {
            let mut bytes = begun(stream);
            bytes.extend(frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes()));
            bytes
        })
        .collect();
    let mut continuations = frame(HEADERS, 0, 1, CALL);
    for _ in 0..20_000 {
        // A literal field that is never indexed: `a: b`.
        continuations.extend(frame(CONTINUATION, 0, 1, &[0x10, 1, b'a', 1, b'b']));
    }
    let mut empty_data = begun(1);
    for _ in 0..100_000 {
        empty_data.extend(frame(DATA, 0, 1, &[]));
    }
    // Sixteen megabytes of headers in frames of the usual size.
    let mut large_headers = frame(HEADERS, 0, 1, CALL);
    for _ in 0..1_024 {
        // A name of one byte, a value of 16,000: their length as HPACK has it, 127 + 15,873.
        let mut field = vec![0x10, 1, b'a', 0x7f, 0x81, 0x7c];
        field.extend(std::iter::repeat_n(b'x', 16_000));
        large_headers.extend(frame(CONTINUATION, 0, 1, &field));
    }
    for (what, flood) in [
        ("rapid reset", rapid_reset),
        ("internal resets", internal_resets),
        ("CONTINUATION", continuations),
        ("empty DATA", empty_data),
        ("large headers", large_headers),
    ] {
        let mut bytes = opening();
        bytes.extend(flood);
        let stream = TcpStream::connect(server.grpc).await.unwrap();
        let (said, closed) = said_until_closed(stream, bytes, Duration::from_secs(10)).await;
        assert!(closed, "{what}: the connection goes on: {said:?}");
        decisions.check(check("acme", "c1")).await.expect(what);
        let more = server.memory().saturating_sub(before);
        println!("{what}: {more} bytes more");
        assert!(more < MEMORY, "{what}: {more} bytes more");
    }
    // What is answered as far as the flood reads: it may go on, and takes nothing from others.
    for (what, one) in [
        ("PING", frame(PING, 0, 0, b"12345678")),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
    ] {
        let mut bytes = opening();
        bytes.extend(one.repeat(50_000));
        let stream = TcpStream::connect(server.grpc).await.unwrap();
        let _ = said_until_closed(stream, bytes.clone(), Duration::from_millis(500)).await;
        decisions.check(check("acme", "c1")).await.expect(what);
        // And from one that does not read what it is answered.
        let mut deaf = TcpStream::connect(server.grpc).await.unwrap();
        let writing = deaf.write_all(&bytes);
        let _ = tokio::time::timeout(Duration::from_millis(500), writing).await;
        decisions.check(check("acme", "c1")).await.expect(what);
        let more = server.memory().saturating_sub(before);
        println!("{what}: {more} bytes more");
        assert!(more < MEMORY, "{what}: {more} bytes more");
    }
    // The control: the same frames in the numbers of an honest client are answered.
    let mut bytes = opening();
    for stream in streams(10) {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, CALL));
    }
    let stream = TcpStream::connect(server.grpc).await.unwrap();
    let (said, closed) = said_until_closed(stream, bytes, Duration::from_millis(500)).await;
    assert!(!closed && !said.contains(&GOAWAY), "{said:?}");
    assert_eq!(said.iter().filter(|kind| **kind == HEADERS).count(), 10);
}
