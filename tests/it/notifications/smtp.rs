//! An SMTP server that keeps the mail it is handed, as far as RFC 5321 asks it of a receiver.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::PATIENCE;

#[derive(Debug, Clone)]
pub struct Handed {
    pub from: String,
    pub to: Vec<String>,
    /// With dots unstuffed.
    pub data: String,
}

impl Handed {
    /// Header and body, with folded header lines joined.
    pub fn parts(&self) -> (String, String) {
        let (head, body) = self.data.split_once("\r\n\r\n").unwrap();
        (head.replace("\r\n ", " "), body.to_owned())
    }

    /// The body with the soft line ends of quoted-printable taken out.
    pub fn text(&self) -> String {
        let joined = self.parts().1.replace("=\r\n", "");
        joined.replace("=3D", "=").replace("\r\n", "\n")
    }
}

pub struct SmtpServer {
    pub address: SocketAddr,
    handed: Arc<Mutex<Vec<Handed>>>,
    /// What recipients are answered, where they are not taken.
    refusal: Arc<Mutex<Option<&'static str>>>,
    server: JoinHandle<()>,
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl SmtpServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (handed, refusal) = (Arc::default(), Arc::default());
        let (keep, refuse) = (Arc::clone(&handed), Arc::clone(&refusal));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (keep, refuse) = (Arc::clone(&keep), Arc::clone(&refuse));
                tokio::spawn(async move {
                    // A client that breaks off ends the conversation, which is no failure here.
                    let _ = converse(stream, &keep, &refuse).await;
                });
            }
        });
        Self {
            address,
            handed,
            refusal,
            server,
        }
    }

    pub fn refuse(&self, answer: Option<&'static str>) {
        *self.refusal.lock().unwrap() = answer;
    }

    pub fn handed(&self) -> Vec<Handed> {
        self.handed.lock().unwrap().clone()
    }

    pub async fn until(&self, count: usize) -> Vec<Handed> {
        let begun = SystemClock::new();
        loop {
            let handed = self.handed();
            if handed.len() >= count {
                return handed;
            }
            assert!(begun.monotonic() < PATIENCE, "{handed:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn converse(
    stream: TcpStream,
    keep: &Mutex<Vec<Handed>>,
    refuse: &Mutex<Option<&'static str>>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 mail.test ready\r\n").await?;
    let mut mail = Handed {
        from: String::new(),
        to: Vec::new(),
        data: String::new(),
    };
    while let Some(line) = lines.next_line().await? {
        let upper = line.to_ascii_uppercase();
        let answer = if upper.starts_with("EHLO") {
            "250-mail.test\r\n250 8BITMIME"
        } else if upper.starts_with("MAIL FROM:") {
            mail.from = address_of(&line);
            mail.to.clear();
            mail.data.clear();
            "250 ok"
        } else if upper.starts_with("RCPT TO:") {
            let refusal = *refuse.lock().unwrap();
            match refusal {
                Some(refusal) => refusal,
                None => {
                    mail.to.push(address_of(&line));
                    "250 ok"
                }
            }
        } else if upper == "DATA" {
            write.write_all(b"354 go on\r\n").await?;
            while let Some(line) = lines.next_line().await? {
                if line == "." {
                    break;
                }
                mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                mail.data.push_str("\r\n");
            }
            keep.lock().unwrap().push(mail.clone());
            "250 taken"
        } else if upper == "QUIT" {
            write.write_all(b"221 bye\r\n").await?;
            return Ok(());
        } else {
            "250 ok"
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

fn address_of(line: &str) -> String {
    let (_, rest) = line.split_once('<').unwrap();
    rest.split_once('>').unwrap().0.to_owned()
}
