//! Mail, in a real conversation with an SMTP server.

use ambit::links::Links;

use super::smtp::{Handed, SmtpServer};
use super::*;

fn by(server: &SmtpServer) -> NotificationSettings {
    settings(&[
        ("smtp_url", &format!("smtp://{}", server.address)),
        ("email_from", "access@example.com"),
    ])
}

fn of<'a>(mails: &'a [Handed], to: &str) -> &'a Handed {
    let address = format!("{to}@example.com");
    let mut found = mails.iter().filter(|mail| mail.to == [address.clone()]);
    let mail = found.next().unwrap_or_else(|| panic!("no mail to {to}"));
    assert!(found.next().is_none(), "one mail to {to}");
    mail
}

/// S1.4, S1.5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_4_each_approver_gets_a_mail_with_their_own_link_and_the_requester_the_outcome() {
    let world = World::new().await;
    let server = SmtpServer::start().await;
    let worker = world.worker(by(&server));
    let request = world.file("r-1", "view").await;
    let mails = server.until(2).await;
    let key = world.store().identity().token_key;
    let links = Links::new(key, CONSOLE, Duration::from_secs(3_600));
    for approver in ["owner", "sa"] {
        let mail = of(&mails, approver);
        assert_eq!(mail.from, "access@example.com");
        let (head, _) = mail.parts();
        assert!(
            head.contains("Subject: Access request: de1 asks for view on email"),
            "{head}"
        );
        let text = mail.text();
        for said in [
            "Who: de1\n",
            "Teams: sales, de\n",
            "What: view on email\n",
            "> I look after the spring campaign\n",
            "For how long: 7 days\n",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
        let page = "https://access.example.com/accounts/acme/users/de1/permissions?request=r-1";
        let (_, token) = text.split_once(&format!("{page}&token=")).unwrap();
        let token = token.split_whitespace().next().unwrap();
        let link = links.read(&id(ACCOUNT), &request.id, token, world.clock.now());
        assert_eq!(link.unwrap().approver, id(approver));
        assert!(mail.data.contains("text/html"), "both forms");
    }

    world.deny(&request, "ask your team lead").await;
    let mails = server.until(3).await;
    let mail = of(&mails, "de1");
    assert!(mail.parts().0.contains("Subject: Denied: view on email"));
    let text = mail.text();
    assert!(text.contains("By: owner\n") && text.contains("> ask your team lead\n"));
    assert!(!text.contains("token"), "{text}");
    world.until(DeliveryState::Delivered, 3).await;
    let sent = sample(&worker, "ambit_notifications_sent_total{channel=\"email\"}");
    assert_eq!(sent.as_deref(), Some("3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_is_not_taken_is_tried_again_and_one_without_mailbox_is_given_up() {
    let world = World::new().await;
    let server = SmtpServer::start().await;
    server.refuse(Some("451 4.7.1 come back later"));
    let _worker = world.worker(by(&server));
    world.file("r-1", "view").await;
    let failed = world.until_failed(1).await;
    assert_eq!(
        failed.last_problem.as_deref(),
        Some("the mail server answered 451")
    );
    assert!(server.handed().is_empty(), "the fault bites");
    server.refuse(None);
    world
        .pass_time_until(async || server.handed().len() == 2)
        .await;
    world.until(DeliveryState::Delivered, 2).await;

    server.refuse(Some("550 5.1.1 no such user"));
    world.file("r-2", "create").await;
    let dead = world.until(DeliveryState::Dead, 2).await;
    for dead in dead {
        assert_eq!(dead.attempts, 1);
        let problem = dead.last_problem.as_deref();
        assert_eq!(problem, Some("the mail server answered 550"));
    }
}

/// Approvers are judged when it is sent: nobody gets a link by a right that they have lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_the_right_meanwhile_gets_no_link() {
    let world = World::new().await;
    let server = SmtpServer::start().await;
    server.refuse(Some("451 4.7.1 come back later"));
    let _worker = world.worker(by(&server));
    world.file("r-1", "view").await;
    world.until_failed(1).await;
    demote(&world, "sa").await;
    server.refuse(None);
    world
        .pass_time_until(async || !world.deliveries(DeliveryState::Dead).await.is_empty())
        .await;
    let [dead] = world
        .deliveries(DeliveryState::Dead)
        .await
        .try_into()
        .unwrap();
    assert_eq!(dead.key.destination, "email:sa");
    assert_eq!(
        dead.last_problem.as_deref(),
        Some("the user may not decide this request (any more)")
    );
    world
        .pass_time_until(async || server.handed().len() == 1)
        .await;
    of(&server.handed(), "owner");
}

/// Nothing that a requester writes becomes a header, a recipient or a command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_written_breaks_out_of_the_mail() {
    let world = World::new().await;
    let server = SmtpServer::start().await;
    let _worker = world.worker(by(&server));
    let reason = "x\r\n.\r\nRCPT TO:<evil@example.com>\r\n\r\nBcc: evil@example.com\n.\n";
    world.file_as("r-1", "view", reason).await;
    let mails = server.until(2).await;
    world.until(DeliveryState::Delivered, 2).await;
    for mail in &mails {
        assert_eq!(mail.to.len(), 1, "{:?}", mail.to);
        assert!(!mail.parts().0.contains("evil"), "{}", mail.data);
        assert!(mail.text().contains("> RCPT TO:<evil@example.com>"));
    }
    assert_eq!(server.handed().len(), 2);
}
