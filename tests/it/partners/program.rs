//! `ambit partner` as people and scripts use it: every command, on the real program.

use std::fs;

use serde_json::{Value, json};

use super::ACCOUNTS;
use crate::cli::{Home, Ran, Server};

struct Scene {
    home: Home,
    server: Server,
}

impl Scene {
    fn new() -> Self {
        let home = Home::migrated();
        let server = Server::start(&home);
        server.apply(ACCOUNTS);
        Self { home, server }
    }

    /// `ambit partner` with the arguments of a line.
    fn partner(&self, line: &str) -> Ran {
        let arguments = ["partner"].into_iter().chain(line.split(' '));
        self.server.run(arguments)
    }

    fn json(&self, line: &str) -> Value {
        self.partner(&format!("{line} --output json"))
            .ends(0)
            .json()
    }

    /// The reason code of a check.
    fn check(&self, line: &str) -> String {
        let arguments = ["check"].into_iter().chain(line.split(' '));
        let ran = self.server.run(arguments.chain(["--output", "json"]));
        ran.json()["reason"].as_str().unwrap().to_owned()
    }

    /// A link of `petra`, in a file.
    fn link(&self) -> String {
        let created = self.partner("link create kite --as petra").ends(0);
        let path = self.home.path().join("petra.link");
        fs::write(&path, created.stdout).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// S4.4, S4.5, D1: the text of a link goes to standard output and is taken from a file, from standard
/// input and from an argument, and stands in no line for people.
#[test]
fn s4_4_links_are_made_listed_approved_and_revoked_on_the_command_line() {
    let scene = Scene::new();
    let created = scene.partner("link create kite --as petra").ends(0);
    let [link] = created.lines()[..] else {
        panic!("more than the link: {created:?}");
    };
    assert!(link.starts_with("ambitlink."), "{link}");
    let id = link.split('.').nth(2).unwrap();
    let secret = link.split('.').nth(3).unwrap();
    assert!(created.stderr.contains(id), "{created:?}");
    assert!(!created.stderr.contains(secret), "{created:?}");
    let made = scene.json("link create kite --as boss");
    assert_eq!(made["access_link"]["user_id"], "boss");
    assert!(made["link"].as_str().unwrap().starts_with("ambitlink."));

    let file = scene.home.path().join("kept.link");
    fs::write(&file, format!("  {link}\n\n")).unwrap();
    let file = file.to_str().unwrap();
    let approve = format!("link approve bravo {file} --as sa");
    let approved = scene.partner(&approve).ends(0);
    let line = approved.stdout.trim_end();
    assert!(
        line.starts_with("kite/petra is a partner admin in bravo, revision "),
        "{line}"
    );
    let again = scene.partner(&approve).ends(0);
    assert!(again.stdout.contains("as before"), "{again:?}");
    let stdin = ["partner", "link", "approve", "charlie", "-", "--as", "sa"];
    let named = ["--user", "petra", "--output", "json"];
    let named = stdin.iter().chain(&named);
    let approved = scene.server.run_with_input(named, link).ends(0).json();
    assert_eq!(approved["user_id"], "petra");
    assert_eq!(approved["already_approved"], false);
    let argument = format!("link approve acme --link {link} --as manager");
    scene.partner(&argument).ends(0);
    assert_eq!(
        scene.check("acme petra-k partner_staff.manage"),
        "RESERVED_HOLDER"
    );

    let listed = scene.partner("link list kite --as boss").ends(0);
    assert_eq!(listed.lines().len(), 2);
    assert!(
        listed.stdout.contains("approved by 3 clients"),
        "{listed:?}"
    );
    assert!(!listed.stdout.contains(secret), "{listed:?}");
    let revoke = format!("link revoke kite {id} --as boss");
    scene.partner(&revoke).ends(0);
    let listed = scene.json("link list kite --as boss");
    let links = listed["access_links"].as_array().unwrap();
    let revoked = links.iter().find(|one| one["id"] == id).unwrap();
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    assert_eq!(revoked["approvals"], 3);

    // What goes wrong is one line, and the secret stands in none.
    let refused = scene.partner(&format!("link approve bravo --link {link}x --as sa"));
    assert!(!refused.stderr.contains(secret), "{refused:?}");
    refused.ends(4).complains("link");
    scene
        .partner("link create kite --as anna")
        .ends(4)
        .complains("NO_PARTNER_MANAGEMENT");
    scene
        .partner("link approve bravo --as sa")
        .ends(2)
        .complains("<FILE");
    let missing = format!(
        "link approve bravo {}/none --as sa",
        scene.home.path().display()
    );
    scene.partner(&missing).ends(2).complains("cannot read");
    let nothing = scene.server.run_with_input(stdin, "\n");
    nothing.ends(2).complains("holds no link");
    scene.server.stop();
}

/// S4.13-S4.17: kept and withheld are printed as `ambit apply --as` prints them.
#[test]
fn s4_16_s4_17_people_are_added_and_changed_and_the_ceiling_is_told() {
    let scene = Scene::new();
    let added = scene
        .partner("add kite acme boss viewer --set analysts --as petra")
        .ends(0);
    for person in ["boss", "viewer"] {
        let withheld = format!(
            "withheld: user kite/{person}: report.view at everything, of the permission set analysts"
        );
        assert!(added.lines().contains(&withheld.as_str()), "{added:?}");
        let placed = format!("{person} is kite/{person} in acme");
        assert!(added.lines().contains(&placed.as_str()), "{added:?}");
    }
    assert!(added.lines().last().unwrap().starts_with("revision "));
    assert_eq!(scene.check("acme kite/boss contact.view"), "TOOL");
    assert_eq!(scene.check("acme kite/boss report.view"), "NO_PERMISSION");

    scene
        .server
        .apply("account: acme\nusers: [{id: anna-k, grants: {report.view: everything}}]\n");
    let changed = scene.json("set kite acme anna --set readers --as petra");
    let staff = &changed["staff"][0];
    assert_eq!(staff["user_id"], "anna-k");
    assert_eq!(staff["kept"][0]["right"], "report.view at everything");
    assert_eq!(staff["withheld"], json!([]));
    assert_eq!(scene.check("acme anna-k report.view"), "TOOL");
    // A name of one's own, for one alone.
    let named = "add kite acme gone --set readers --as petra --user g";
    scene.partner(named).ends(4).complains("UNKNOWN_REFERENCE");
    scene
        .partner("add kite acme boss viewer --set readers --as petra --user g")
        .ends(2)
        .complains("--user");

    let link = scene.link();
    let approve = format!("link approve bravo {link} --as sa");
    scene.partner(&approve).ends(0);
    scene
        .server
        .apply("account: bravo\npermission_sets: [{id: helpers, grants: {contact.view: owned}}]\n");
    let linked =
        scene.json("link-contractor kite bravo carl --set helpers --as petra --user carl-b");
    assert_eq!(linked["staff"][0]["user_id"], "carl-b");
    scene
        .partner("link-contractor kite bravo anna --set helpers --as petra")
        .ends(4)
        .complains("UNKNOWN_REFERENCE");
    scene
        .partner("set kite acme petra --set readers --as petra")
        .ends(4)
        .complains("STAFF_NOT_CHANGEABLE");
    scene.server.stop();
}

/// S4.19, S4.21.
#[test]
fn s4_19_clients_employees_and_contractors_are_listed() {
    let scene = Scene::new();
    let clients = scene.partner("clients kite --as petra").ends(0);
    let expected = [
        "acme  anna is anna-k  employee  active",
        "acme  carl is carl-k  contractor  active",
        "acme  petra is petra-k  admin  active  partner admin",
    ];
    assert_eq!(clients.lines(), expected);
    let of_anna = scene.json("clients kite --as petra --of anna");
    assert_eq!(of_anna["memberships"].as_array().map(Vec::len), Some(1));
    assert_eq!(of_anna["memberships"][0]["partnership"], "active");
    let employees = scene.partner("employees kite --as petra").ends(0);
    let expected = [
        "anna  active  1 client",
        "boss  active  0 clients",
        "gone  deactivated  0 clients",
        "petra  active  1 client",
        "viewer  active  0 clients",
    ];
    assert_eq!(employees.lines(), expected);
    let contractors = scene.json("contractors kite --as petra");
    let carl = json!([{"user_id": "carl", "status": "active", "clients": 1}]);
    assert_eq!(contractors["contractors"], carl);
    for list in ["clients", "employees", "contractors"] {
        let refused = scene.partner(&format!("{list} kite --as viewer"));
        refused.ends(4).complains("NO_PARTNER_MANAGEMENT");
    }
    scene.server.stop();
}

/// S4.18, S4.21, D6, D7: reviewed, then confirmed by the token; what blocks ends with 1.
#[test]
fn d6_a_removal_is_previewed_and_committed_by_its_token() {
    let scene = Scene::new();
    let owned = "account: acme\nresources: [{type: contact, id: c1, owners: [anna-k]}, {type: contact, id: c2, assigned_to: ['user:anna-k']}]\n";
    scene.server.apply(owned);
    let previewed = scene
        .partner("remove kite anna --as petra --preview")
        .ends(0);
    let expected = [
        "acme: anna-k  employee  active",
        "  owns 1 contact: c1",
        "  assigned by name to 1 resource",
        "  nobody else is assigned to: contact/c2",
    ];
    assert_eq!(previewed.lines()[..4], expected);
    let token = previewed.lines()[4].strip_prefix("token: ").unwrap();
    let as_json = scene.json("remove kite anna --as petra --preview");
    assert_eq!(as_json["preview_token"], token);
    assert_eq!(as_json["clients"][0]["orphans"], json!(["contact/c2"]));
    // Neither step, half of the second, and both are wrong use.
    for wrong in [
        "remove kite anna --as petra".to_owned(),
        format!("remove kite anna --as petra --token {token}"),
        format!("remove kite anna --as petra --preview --token {token} --unassign"),
        "remove kite anna --as petra --preview --unassign".to_owned(),
        format!("remove kite anna --as petra --token {token} --unassign --reassign-to carl"),
    ] {
        assert_eq!(scene.partner(&wrong).status, 2, "{wrong}");
    }
    let commit = format!("remove kite anna --as petra --token {token}");
    scene
        .partner(&format!("{commit} --reassign-to petra"))
        .ends(4)
        .complains("reassign_to_partner_user_id");
    let done = scene
        .partner(&format!("{commit} --reassign-to carl"))
        .ends(0);
    assert!(
        done.stdout.starts_with("acme: anna-k is out, revision "),
        "{done:?}"
    );
    assert_eq!(scene.check("acme anna-k contact.view"), "USER_DEACTIVATED");
    assert_eq!(scene.check("acme carl-k contact.view c1"), "OWNER");
    scene
        .partner(&format!("{commit} --unassign"))
        .ends(4)
        .complains("PREVIEW_STALE");
    scene.server.stop();
}

/// S4.22, D7.
#[test]
fn s4_22_what_stands_in_the_way_of_a_removal_ends_with_1_and_is_skipped_when_asked_for() {
    let scene = Scene::new();
    let link = scene.link();
    let approve = format!("link approve charlie {link} --as sa");
    scene.partner(&approve).ends(0);
    let promoted = "account: charlie\nusers: [{id: anna-c, kind: partner_employee, super_admin: true, partner: {account: kite, user: anna, role: employee}}]\n";
    scene.server.apply(promoted);
    let previewed = scene
        .partner("remove kite anna --as petra --preview --output json")
        .ends(1)
        .json();
    assert_eq!(previewed["clients"][0].get("blocker"), None);
    let blocker = &previewed["clients"][1]["blocker"];
    assert_eq!(blocker, "SUPER_ADMIN_NOT_REMOVABLE");
    let token = previewed["preview_token"].as_str().unwrap();
    let commit = format!("remove kite anna --as petra --token {token} --unassign");
    scene
        .partner(&commit)
        .ends(4)
        .complains("SUPER_ADMIN_NOT_REMOVABLE");
    assert_eq!(scene.check("acme anna-k contact.view"), "TOOL");
    let skipped = scene.partner(&format!("{commit} --skip-blocked")).ends(1);
    assert!(
        skipped.lines()[0].starts_with("acme: anna-k is out"),
        "{skipped:?}"
    );
    let line = "charlie: anna-c stays: SUPER_ADMIN_NOT_REMOVABLE";
    assert_eq!(skipped.lines()[1], line);
    // The control: of one client alone nothing is in the way.
    let alone = "remove kite carl --client acme --as petra --preview";
    scene.partner(alone).ends(0);
    scene.server.stop();
}

/// S4.20, S4.24-S4.27, D8, D9.
#[test]
fn d8_d10_people_are_deactivated_reactivated_and_migrate_and_the_partnership_ends() {
    let scene = Scene::new();
    let deactivated = scene.partner("deactivate kite anna --as petra").ends(0);
    assert!(
        deactivated
            .stdout
            .starts_with("acme: anna-k is deactivated, revision "),
        "{deactivated:?}"
    );
    assert_eq!(scene.check("acme anna-k contact.view"), "USER_DEACTIVATED");
    let again = scene.json("deactivate kite anna --client acme --as petra");
    assert_eq!(again["clients"][0]["changed"], false);
    scene.partner("reactivate kite anna --as petra").ends(0);
    assert_eq!(scene.check("acme anna-k contact.view"), "TOOL");
    scene
        .partner("deactivate kite carl --as petra")
        .ends(4)
        .complains("CONTRACTOR_NOT_DEACTIVATABLE");

    scene
        .partner("migrate acme --as anna-k")
        .ends(4)
        .complains("NOT_SUPER_ADMIN");
    scene
        .server
        .apply("account: acme\nusers: [{id: anna-k, super_admin: true}]\n");
    let migrated = scene
        .partner("migrate acme --as anna-k --keep-billing")
        .ends(0);
    assert!(migrated.stdout.contains("billing is kept"), "{migrated:?}");
    assert_eq!(
        scene.check("acme anna-k account.billing.view"),
        "RESERVED_HOLDER"
    );
    assert_eq!(
        scene.check("acme anna-k payment_tools.use"),
        "PARTNER_FORBIDDEN"
    );

    scene
        .partner("end kite acme --side agency --as anna")
        .ends(4)
        .complains("NO_PARTNER_MANAGEMENT");
    let ended = scene
        .partner("end kite acme --side client --as manager")
        .ends(0);
    assert!(
        ended
            .stdout
            .starts_with("kite in acme: ended for 3 users, revision "),
        "{ended:?}"
    );
    assert_eq!(
        scene.check("acme petra-k contact.view"),
        "PARTNERSHIP_INACTIVE"
    );
    let again = scene.json("end kite acme --side client --as sa");
    assert_eq!(again["users_ended"], 0);
    let clients = scene.partner("clients kite --as petra --of anna").ends(0);
    assert!(clients.stdout.contains("partnership ended"), "{clients:?}");
    scene.server.stop();
}
