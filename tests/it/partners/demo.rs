//! The walk of `docs/partners.md`, pasted into a shell on the demo: an agency with three clients.

use crate::cli::pasting::{blocks, pasted};
use crate::cli::{Home, Server};

const HEADING: &str = "## A walk on the demo\n";

/// Without what differs from run to run.
fn masked(printed: &str) -> String {
    let line = |line: &str| {
        let line = match line.split_once("revision ") {
            Some((before, _)) => format!("{before}revision REVISION"),
            None => line.to_owned(),
        };
        match line.split_once("token: ") {
            Some((before, _)) => format!("{before}token: TOKEN\n"),
            None => format!("{line}\n"),
        }
    };
    printed.lines().map(line).collect()
}

/// S4.1, S4.4, S4.5, S4.13, S4.15-S4.18, S4.21, D6, D7 and D11, as the page has them.
#[test]
fn s4_an_agency_is_let_in_works_under_the_ceiling_and_is_let_out() {
    let home = Home::new();
    let server = Server::start_with(&home, &["--demo"]);
    let may = |line: &str, status: i32| {
        let arguments = ["check"].into_iter().chain(line.split(' '));
        server.run(arguments).ends(status);
    };
    let blocks = blocks("partners.md", HEADING);
    let [letin, add, keep, preview, stale, remove, end] = blocks.as_slice() else {
        panic!("the section has {} blocks", blocks.len());
    };
    let paste = |(commands, printed): &(String, Option<String>)| {
        let ran = pasted(&home, &server, commands).ends(0);
        let printed = printed.as_deref().unwrap_or_default();
        assert_eq!(masked(&ran.stdout), printed, "{commands}");
    };
    // The controls: before each step it is otherwise.
    may("bonbon pixel-agency/petra email_campaign.preview", 1);
    paste(letin);
    may("bonbon pixel-agency/petra email_campaign.preview", 0);
    paste(add);
    may("northwind pixel-agency/luca email.view newsletter", 0);
    may("northwind pixel-agency/luca report.view", 1);
    may("northwind agnes report.view", 1);
    paste(keep);
    may("northwind agnes report.view", 0);
    may("northwind agnes landing_page.edit fair", 0);
    paste(preview);
    let (commands, told) = stale;
    let refused = pasted(&home, &server, commands).ends(4);
    assert_eq!(refused.stderr, told.as_deref().unwrap());
    may("lumen agnes email_campaign.view", 0);
    paste(remove);
    may("lumen agnes email_campaign.view", 1);
    may("northwind agnes report.view", 1);
    paste(end);
    may("northwind petra email.view newsletter", 1);
    may("lumen petra email_campaign.edit", 0);
    server.stop();
}
