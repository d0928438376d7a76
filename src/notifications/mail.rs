//! Mail, handed in to one SMTP server.
//!
//! A letter says nothing in its header but what was composed here, encoded by the library: an id in
//! a subject can't become a header of its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{Address, AsyncTransport as _, Message, Tokio1Executor};

use super::letter::{Letter, Words};
use super::{Attempt, NotificationsError};
use crate::authz::model::Timestamp;
use crate::config::MailSettings;

/// Of one command of the conversation; a whole attempt may take three times as long.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Machines don't answer each other's mail (RFC 3834).
const AUTO_SUBMITTED: &str = "Auto-Submitted";

/// Answers by which a server says that there is no such mailbox, now or later.
const NO_MAILBOX: [u16; 3] = [550, 551, 553];

pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    pub words: Words,
}

impl Mail {
    pub fn new(settings: &MailSettings) -> Result<Self, NotificationsError> {
        // What is wrong with it may name the password.
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(settings.smtp_url.reveal())
            .map_err(|_hidden| NotificationsError::SmtpUrl)?;
        let from: Address = settings
            .from
            .parse()
            .map_err(|_no_more| NotificationsError::Sender(settings.from.clone()))?;
        Ok(Self {
            transport: builder.timeout(Some(COMMAND_TIMEOUT)).build(),
            from: Mailbox::new(None, from),
            words: Words::load(settings.language)?,
        })
    }

    /// Hands in one letter to one recipient, under the id that it has at each attempt.
    pub async fn send(&self, to: &str, letter: &Letter, id: &str, now: Timestamp) -> Attempt {
        let message = match self.message(to, letter, id, now) {
            Ok(message) => message,
            Err(problem) => return Attempt::GivenUp { problem },
        };
        match tokio::time::timeout(TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(_taken)) => Attempt::Delivered,
            Ok(Err(error)) => judge(&error),
            Err(_elapsed) => Attempt::failed("the mail server did not answer in time".to_owned()),
        }
    }

    fn message(
        &self,
        to: &str,
        letter: &Letter,
        id: &str,
        now: Timestamp,
    ) -> Result<Message, String> {
        let to: Address = to
            .parse()
            .map_err(|_no_more| "the user's email is no address that mail can go to".to_owned())?;
        let id = format!("<{id}@{}>", self.from.email.domain());
        let auto_submitted = HeaderValue::new(
            HeaderName::new_from_ascii_str(AUTO_SUBMITTED),
            "auto-generated".to_owned(),
        );
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject.clone())
            .date(wall(now))
            .message_id(Some(id))
            .raw_header(auto_submitted)
            .multipart(MultiPart::alternative_plain_html(
                letter.text.clone(),
                letter.html.clone(),
            ))
            .map_err(|error| format!("the mail can't be written: {error}"))
    }
}

/// The server's own words stay out: they may name people, and are not ours to show.
fn judge(error: &smtp::Error) -> Attempt {
    tracing::debug!(cause = %error, "a mail was not taken");
    let Some(code) = error.status() else {
        let problem = if error.is_timeout() {
            "the mail server did not answer in time"
        } else if error.is_tls() {
            "no encrypted connection to the mail server can be made"
        } else {
            "no connection to the mail server can be made, or it broke off"
        };
        return Attempt::failed(problem.to_owned());
    };
    let code: u16 = code.into();
    let problem = format!("the mail server answered {code}");
    if NO_MAILBOX.contains(&code) {
        Attempt::GivenUp { problem }
    } else {
        Attempt::failed(problem)
    }
}

fn wall(now: Timestamp) -> SystemTime {
    let micros = u64::try_from(now.unix_micros()).unwrap_or(0);
    UNIX_EPOCH + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NotificationSettings;

    fn mail() -> Mail {
        let settings = settings();
        Mail::new(&settings.mail.unwrap()).unwrap()
    }

    fn settings() -> NotificationSettings {
        let flags = [
            ("smtp_url", "smtp://127.0.0.1:2525"),
            ("email_from", "access@example.com"),
        ];
        let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let none: [(String, String); 0] = [];
        crate::config::Config::load(&flags.into(), none, None)
            .unwrap()
            .notifications
    }

    fn headers(subject: &str) -> Vec<String> {
        let letter = Letter {
            subject: subject.to_owned(),
            text: "text\n".to_owned(),
            html: "<p>html</p>\n".to_owned(),
        };
        let now = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
        let message = mail().message("de1@example.com", &letter, "msg_1", now);
        let written = String::from_utf8(message.unwrap().formatted()).unwrap();
        let (head, _) = written.split_once("\r\n\r\n").unwrap();
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        unfolded.split("\r\n").map(str::to_owned).collect()
    }

    fn names(headers: &[String]) -> Vec<&str> {
        headers
            .iter()
            .map(|header| header.split_once(':').unwrap().0)
            .collect()
    }

    #[test]
    fn a_mail_has_the_headers_that_are_ours_and_the_moment_it_was_told_at() {
        let headers = headers("Access request");
        for header in [
            "From: access@example.com",
            "To: de1@example.com",
            "Subject: Access request",
            "Date: Sun, 22 Nov 2026 12:00:00 +0000",
            "Message-ID: <msg_1@example.com>",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(headers.iter().any(|found| found == header), "{headers:?}");
        }
    }

    #[test]
    fn nothing_in_a_subject_becomes_a_header() {
        let plain = headers("x");
        for odd in [
            "x\r\nBcc: evil@example.com",
            "x\nBcc: evil@example.com\n\nbody",
            "x\r Bcc: evil@example.com",
            "ü\r\nBcc: evil@example.com",
            "\u{2028}Bcc: evil@example.com",
            &format!("{}\r\nBcc: evil@example.com", "long ".repeat(200)),
        ] {
            assert_eq!(names(&headers(odd)), names(&plain), "{odd:?}");
        }
    }

    #[test]
    fn an_address_is_one_address() {
        let letter = Letter {
            subject: "x".to_owned(),
            text: String::new(),
            html: String::new(),
        };
        for odd in [
            "a@b.example\r\nBcc: c@d.example",
            "a@b.example, c@d.example",
            "Name <a@b.example>",
            "a b@c.example",
            "",
        ] {
            let now = Timestamp::from_unix_micros(0).unwrap();
            assert!(mail().message(odd, &letter, "msg_1", now).is_err(), "{odd}");
        }
    }

    #[test]
    fn settings_that_no_mail_can_be_sent_with_are_refused_at_the_start() {
        let mut settings = settings().mail.unwrap();
        settings.from = "a@".to_owned();
        assert!(matches!(
            Mail::new(&settings),
            Err(NotificationsError::Sender(_))
        ));
    }
}
