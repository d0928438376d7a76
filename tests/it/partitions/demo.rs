//! The contact base of iPresso (S5): marketing, sales and PR with different and overlapping contacts,
//! filled by hand, by a segment, by an import and by a form. The commands are those of
//! `docs/partitioning.md`, pasted into a shell, and print what stands there.

use crate::cli::pasting::{blocks, pasted};
use crate::cli::{Home, Server};

const HEADING: &str = "### One base, filled four ways\n";

/// S5.1 to S5.10, P4, P7, P8 and P9, as the page has them.
#[test]
fn s5_marketing_sales_and_pr_share_a_base_filled_by_hand_segment_import_and_form() {
    let home = Home::new();
    let server = Server::start_with(&home, &["--demo"]);
    let may = |user: &str, action: &str, contact: &str, status: i32| {
        let question = format!("contact.{action}");
        server
            .run(["check", "lumen", user, &question, contact])
            .ends(status);
    };
    let blocks = blocks("partitioning.md", HEADING);
    let [fill, who, look, untag, moved, undo] = blocks.as_slice() else {
        panic!("the section has {} blocks", blocks.len());
    };
    let paste = |(commands, printed): &(String, Option<String>)| {
        let stdout = pasted(&home, &server, commands).ends(0).stdout;
        if let Some(printed) = printed {
            assert_eq!(&stdout, printed, "{commands}");
        }
        stdout
    };
    // The control: before, none of them is anybody's.
    may("marek", "communicate", "gosia", 1);
    paste(fill);
    paste(who);
    // S5.7: neither an assignment without permission, nor a permission without assignment.
    may("olga", "view", "hanna", 1);
    may("ewa", "edit", "jan", 1);
    // S5.8: PR sees the readers, and no more.
    may("piotr", "view", "hanna", 0);
    may("piotr", "edit", "hanna", 1);
    // P2: the look says what the removed tag does: marketing loses Jan.
    let told = paste(look);
    assert!(
        told.contains("- marek contact.communicate 1: jan"),
        "{told}"
    );
    assert!(!told.contains("sylwia"), "{told}");
    // S5.10, P7: and so it does. By hand and by the import he is with sales and PR as before.
    may("marek", "communicate", "jan", 0);
    paste(untag);
    // 3.5: Hanna had the segment alone, and is closed, not open.
    may("ewa", "view", "hanna", 1);
    may("agata", "view", "hanna", 0);
    // P9: who changes teams reaches what is theirs, without any contact being assigned anew.
    may("nela", "communicate", "karol", 1);
    paste(moved);
    may("nela", "communicate", "karol", 0);
    // P8: the import taken back takes back nothing else.
    paste(undo);
    may("piotr", "view", "jan", 1);
    may("piotr", "view", "irena", 1);
    // P8: a form that is deleted takes nothing back.
    let deleted = ["form", "delete", "lumen", "signup", "--as", "agata"];
    server.run(deleted).ends(0);
    may("marek", "communicate", "karol", 0);
    server.stop();
}

/// P12: a campaign goes to those only whom its sender may write to, each as a single check says.
#[test]
fn p12_the_recipients_of_a_campaign_are_filtered_by_communicate() {
    let home = Home::new();
    let server = Server::start_with(&home, &["--demo"]);
    let recipients = [
        "anna", "bogdan", "celina", "dawid", "emil", "henryk", "nobody",
    ];
    let filter = ["filter", "lumen", "marek", "contact.communicate"];
    let filtered = server
        .run_with_input(filter, &recipients.join("\n"))
        .ends(0);
    assert_eq!(filtered.lines(), ["bogdan", "dawid", "emil"]);
    for recipient in recipients {
        let check = ["check", "lumen", "marek", "contact.communicate", recipient];
        let is_kept = filtered.lines().contains(&recipient);
        server.run(check).ends(i32::from(!is_kept));
    }
    server.stop();
}

#[test]
fn p8_forms_are_set_up_listed_shown_and_removed_on_the_command_line() {
    let home = Home::new();
    let server = Server::start_with(&home, &["--demo"]);
    let put = [
        "form",
        "put",
        "lumen",
        "signup",
        "--type",
        "contact",
        "--to",
        "group:newsletter",
    ];
    server.run(put).ends(0);
    let line = "signup  contact -> group:newsletter  by an operator, closes open records";
    assert_eq!(
        server.run(["form", "list", "lumen"]).ends(0).lines(),
        [line]
    );
    let anew = [
        "form",
        "put",
        "lumen",
        "signup",
        "--type",
        "contact",
        "--to",
        "group:press",
        "--as",
        "agata",
        "--output",
        "json",
    ];
    let shown = server.run(anew).ends(0).json();
    assert_eq!(shown["targets"][0], "group:press");
    assert_eq!(shown["author_user_id"], "agata");
    let show = ["form", "show", "lumen", "signup", "--output", "json"];
    assert_eq!(server.run(show).ends(0).json(), shown);
    // P1: a user without the right sets up none for a group, nor takes over another's.
    let by_marek = put.iter().chain(&["--as", "marek"]);
    server
        .run(by_marek)
        .ends(4)
        .complains("NO_ASSIGN_AUTHORITY");
    let submit = [
        "form",
        "submit",
        "lumen",
        "signup",
        "karol",
        "--attributes",
        r#"{"city": "Gdynia"}"#,
        "--output",
        "json",
    ];
    let submitted = server.run(submit).ends(0).json();
    assert_eq!(submitted["created"], true);
    assert_eq!(submitted["withheld"], serde_json::json!([]));
    let none = ["form", "submit", "lumen", "none", "karol"];
    server.run(none).ends(4).complains("FORM_NOT_FOUND");
    let wrong = [
        "form",
        "submit",
        "lumen",
        "signup",
        "karol",
        "--attributes",
        "[]",
    ];
    server.run(wrong).ends(2).complains("JSON object");
    let delete = ["form", "delete", "lumen", "signup", "--as", "agata"];
    server.run(delete).ends(0);
    server.run(["form", "show", "lumen", "signup"]).ends(4);
    // The audit names the form, and whether it went.
    let audit = server.run(["audit", "lumen", "--limit", "4"]).ends(0);
    for named in ["DeleteForm  -form:signup", "PutForm  form:signup"] {
        assert!(audit.stdout.contains(named), "{}", audit.stdout);
    }
    server.stop();
}

#[test]
fn p8_targets_of_an_import_beyond_the_importer_are_refused_before_a_row_is_read() {
    let home = Home::new();
    let server = Server::start_with(&home, &["--demo"]);
    std::fs::write(home.path().join("fair.csv"), "id\nirena\n").unwrap();
    let file = home.path().join("fair.csv").to_str().unwrap().to_owned();
    let import = |actor: &str, to: &str| {
        server.run([
            "import", "lumen", &file, "--type", "contact", "--to", to, "--as", actor,
        ])
    };
    import("marek", "group:press")
        .ends(4)
        .complains("NO_ASSIGN_AUTHORITY");
    import("agata", "group:none")
        .ends(4)
        .complains("UNKNOWN_REFERENCE");
    let view = ["check", "lumen", "piotr", "contact.view", "irena"];
    server.run(view).ends(1);
    import("agata", "group:press").ends(0);
    server.run(view).ends(0);
    server.stop();
}

#[test]
fn p3_more_ids_than_a_call_holds_are_told_in_one_error() {
    let home = Home::new();
    let server = Server::start_with(&home, &["--demo"]);
    let ids: Vec<String> = (0..20_000)
        .map(|number| format!("{number:0>250}"))
        .collect();
    let assign = ["assign", "lumen", "contact", "-", "--to", "group:press"];
    server
        .run_with_input(assign, &ids.join("\n"))
        .ends(2)
        .complains("name them in several commands");
    // The control: fewer are asked about, and are not there.
    let told = server.run_with_input(assign, &ids[..1_000].join("\n"));
    assert!(told.ends(1).stdout.contains("refused 1000"));
    server.stop();
}
