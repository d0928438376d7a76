//! Clients that ask for lists and do not read them (case 24), or leave in the middle (case 28).

use std::time::Duration;

use ambit::grpc::wire;
use ambit::grpc::wire::decision_service_client::DecisionServiceClient;
use ambit::grpc::wire::directory_service_client::DirectoryServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use super::by_soak;
use super::replica::until;
use crate::grpc::server::{built_in, change, check, grant, list, put_contact, put_user};
use crate::transport::floods::{HEADERS, RESET, SETTINGS, WINDOW_UPDATE, frame};
use crate::transport::lives::metric;
use crate::transport::processes::Process;

fn stall() -> Duration {
    by_soak(Duration::from_millis(500), Duration::from_secs(10))
}

/// Some ten chunks of ids.
const CONTACTS: usize = 3_000;

/// What one list may take while nobody reads it: what waits to be sent, and three chunks.
const STREAM_BYTES_MAX: u64 = 409_600 + 3 * 65_536;

/// So that a hang fails, and a machine that does other things too does not.
const PATIENCE: Duration = Duration::from_secs(60);

async fn serving(more: &[&str]) -> Process {
    let process = Process::start(None, more);
    let account = change(wire::change::Change::PutAccount(wire::AccountPatch {
        catalog: Some(built_in("hubspot")),
        plan: Some("enterprise".to_owned()),
        ..wire::AccountPatch::default()
    }));
    let mut changes = vec![
        account,
        put_user("sa", Some(true)),
        put_user("u", None),
        grant("u", "contact", "view", wire::Level::Everything),
    ];
    let long = "x".repeat(200);
    changes.extend((0..CONTACTS).map(|number| put_contact(&format!("{number:05}{long}"))));
    let mut messages: Vec<_> = changes
        .chunks(1_000)
        .map(|changes| wire::ApplyChangesRequest {
            changes: changes.to_vec(),
            ..wire::ApplyChangesRequest::default()
        })
        .collect();
    "acme".clone_into(&mut messages[0].account_id);
    DirectoryServiceClient::new(process.channel().await)
        .apply_changes(tokio_stream::iter(messages))
        .await
        .unwrap();
    process
}

type List = Streaming<wire::ListAccessibleResponse>;

async fn lists(process: &Process, count: usize) -> Vec<List> {
    let mut open = Vec::new();
    while open.len() < count {
        // No more on a connection than a client may have, and none of them has its list whole.
        let endpoint = Channel::from_shared(format!("http://{}", process.grpc)).unwrap();
        let channel = endpoint
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(64 << 20)
            .connect()
            .await
            .unwrap();
        let client = DecisionServiceClient::new(channel);
        let mut asked = JoinSet::new();
        for _ in 0..(count - open.len()).min(500) {
            let mut client = client.clone();
            asked.spawn(async move { client.list_accessible(list("acme")).await });
        }
        while let Some(answer) = asked.join_next().await {
            open.push(answer.unwrap().unwrap().into_inner());
        }
    }
    open
}

async fn read(mut list: List) -> usize {
    let mut ids = 0;
    while let Some(chunk) = list.message().await.unwrap() {
        ids += chunk.ids.len();
    }
    ids
}

/// reliability.md case 24: who does not read loses the stream and nothing else, and takes little
/// memory until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_24_lists_that_nobody_reads_end_and_cost_others_nothing() {
    let count = by_soak(100, 1_000);
    let stall = stall().as_millis().to_string();
    let share = ["--account-share-percent", "1000"];
    let server = serving(&[&["--stream-stall-timeout-ms", &stall], &share[..]].concat()).await;
    let open = || metric(server.http, "ambit_streams_open");
    let before = server.memory();
    let unread = lists(&server, count).await;
    let most = server.memory();
    let each = most.saturating_sub(before) / u64::try_from(count).unwrap();
    println!("{count} lists that nobody reads take {each} bytes each");
    assert!(each <= STREAM_BYTES_MAX, "{each} bytes a stream");
    // Meanwhile whoever reads gets everything.
    let mut decisions = DecisionServiceClient::new(server.channel().await);
    let whole = decisions.list_accessible(list("acme")).await.unwrap();
    assert_eq!(read(whole.into_inner()).await, CONTACTS);
    until("the lists end", async || open().await == 0.0).await;
    let stalled = metric(server.http, "ambit_answers_stalled_total").await;
    assert!(
        stalled >= f64::from(u32::try_from(count).unwrap()),
        "{stalled}"
    );
    drop(unread);
    decisions.check(check("acme", "absent")).await.unwrap();
    drop(server);

    // The control: it is the timeout that ends them.
    let patient = serving(&share).await;
    let unread = lists(&patient, 10).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(metric(patient.http, "ambit_streams_open").await >= 10.0);
    for list in unread {
        assert_eq!(read(list).await, CONTACTS);
    }
}

/// A field of a header that is never indexed: its name and value as they are.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0x10];
    for text in [name, value] {
        field.push(u8::try_from(text.len()).unwrap());
        field.extend(text.as_bytes());
    }
    field
}

/// The same for a reader that takes a byte now and then: it is not taking what matters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_24_a_byte_now_and_then_is_not_reading() {
    use prost::Message as _;
    let stall = stall().as_millis().to_string();
    let server = serving(&["--stream-stall-timeout-ms", &stall]).await;
    let mut stream = TcpStream::connect(server.grpc).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE: a stream may send nothing before it is told how much.
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    // `:method POST`, `:scheme http`, and the path.
    let mut headers = vec![0x83, 0x86];
    headers.extend(field(":path", "/ambit.v1.DecisionService/ListAccessible"));
    headers.extend(field("content-type", "application/grpc"));
    headers.extend(field("te", "trailers"));
    bytes.extend(frame(HEADERS, 4, 1, &headers));
    let message = list("acme").encode_to_vec();
    let mut data = vec![0];
    data.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    data.extend(message);
    bytes.extend(frame(0, 1, 1, &data));
    stream.write_all(&bytes).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let one = frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
        while writing.write_all(&one).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let reset = async {
        let mut taken = 0;
        loop {
            let mut head = [0; 9];
            reading
                .read_exact(&mut head)
                .await
                .expect("its connection goes on");
            let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
            let mut payload = vec![0; length.unwrap()];
            reading.read_exact(&mut payload).await.unwrap();
            match head[3] {
                0 => taken += payload.len(),
                RESET => return taken,
                _ => {}
            }
        }
    };
    let taken = tokio::time::timeout(PATIENCE, reset)
        .await
        .expect("the list goes on");
    assert!((1..1_000).contains(&taken), "{taken} bytes were taken");
    dripping.abort();
}

/// The longest of a hundred milliseconds of computing in a second that counts as idle.
const IDLE: u64 = 20;

/// Computing in one second, in hundredths of it.
async fn busy(server: &Process) -> u64 {
    let before = server.ticks();
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.ticks() - before
}

/// reliability.md case 28: nothing is done for who has left, or does not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_28_work_for_who_has_left_stops() {
    let server = serving(&["--account-share-percent", "1000"]).await;
    let rounds = by_soak(3, 200);
    let mut memory = Vec::new();
    for _ in 0..rounds {
        // Of its own: over a thousand answers left in the middle the client's library gives a
        // connection up.
        let channel = server.channel().await;
        let mut calls = JoinSet::new();
        for _ in 0..500 {
            let mut client = DecisionServiceClient::new(channel.clone());
            calls.spawn(async move {
                // Read a little, and leave in the middle.
                let answer = client.list_accessible(list("acme")).await.unwrap();
                let first = answer.into_inner().message().await.unwrap().unwrap();
                assert_eq!(first.total, Some(u64::try_from(CONTACTS).unwrap()));
            });
        }
        // One after the other: many at once that are given up before the server has looked at them
        // are a rapid reset, and end their connection.
        let mut hurrying = DecisionServiceClient::new(server.channel().await);
        for _ in 0..50 {
            let mut hurried = Request::new(list("acme"));
            hurried.set_timeout(Duration::from_millis(1));
            // Whether it comes in time is nobody's business.
            let _ = hurrying.list_accessible(hurried).await;
        }
        while let Some(ended) = calls.join_next().await {
            ended.unwrap();
        }
        memory.push(server.memory());
    }
    until("all of them end", async || {
        metric(server.http, "ambit_streams_open").await == 0.0
            && metric(server.http, "ambit_calls_in_flight").await == 0.0
    })
    .await;
    let after = busy(&server).await;
    assert!(after <= IDLE, "{after} hundredths of a second for nobody");
    let (first, last) = (memory[0], server.memory());
    println!("memory after the first round {first}, at the end {last}");
    // The allocator keeps tens of megabytes for a while, now more and now less; a kilobyte of each of
    // the lists of the long form would be a hundred.
    assert!(last <= first + first / 10 + (64 << 20), "{first} {last}");
    // The control: lists that are read do cost something.
    let before = server.ticks();
    for whole in lists(&server, 100).await {
        assert_eq!(read(whole).await, CONTACTS);
    }
    assert!(server.ticks() - before > IDLE);
}
