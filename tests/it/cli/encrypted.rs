//! Commands that reach a server over TLS, and are known there by their certificate.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::ACME;
use super::program::{Home, Server, ambit, run, run_with_input};
use crate::certificates::{Pair, authority, issue, pair};

const OPS: &str = "URI:spiffe://example.com/ops";
const CRM: &str = "URI:spiffe://example.com/crm";

/// Files in the directory of a server that knows the callers `ops` and `crm` by their certificates.
struct Files(PathBuf);

impl Files {
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }

    fn write_pair(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.crt"), &pair.certificate);
        self.write(&format!("{name}.key"), &pair.key);
    }

    /// A command that trusts the authority of the server and shows this certificate.
    fn command(&self, server: &Server, own: &str, arguments: &[&str]) -> Command {
        let mut command = server.command(arguments);
        command
            .env("AMBIT_SERVER_NAME", "localhost")
            .args(["--server-ca-file", &self.path("ca.crt")])
            .args([
                "--client-certificate-file",
                &self.path(&format!("{own}.crt")),
            ])
            .args(["--client-key-file", &self.path(&format!("{own}.key"))]);
        command
    }
}

fn serve(home: &Home, directory: &Path) -> (Files, Server) {
    let (files, ours) = (Files(directory.to_owned()), authority());
    files.write("ca.crt", &ours.pem());
    files.write("other.crt", &authority().pem());
    files.write_pair("tls", &pair(&ours));
    files.write_pair("ops", &issue(&ours, &[OPS], |_| {}));
    files.write_pair("crm", &issue(&ours, &[CRM], |_| {}));
    files.write_pair("nobody", &issue(&ours, &["DNS:nobody"], |_| {}));
    let tables = format!(
        "[[client_certificates]]\nname = \"ops\"\nsan = \"{OPS}\"\nroles = [\"admin\"]\nall_accounts = true\n\
         [[client_certificates]]\nname = \"crm\"\nsan = \"{CRM}\"\nroles = [\"check\"]\naccounts = [\"acme\"]\n"
    );
    let server = Server::start_with(
        home,
        &[
            "--config",
            &files.write("ambit.toml", &tables),
            "--tls-certificate-file",
            &files.path("tls.crt"),
            "--tls-key-file",
            &files.path("tls.key"),
            "--tls-client-ca-file",
            &files.path("ca.crt"),
            "--http-tls",
        ],
    );
    (files, server)
}

#[test]
fn commands_reach_a_server_over_tls_and_are_known_by_their_certificate() {
    let home = Home::new();
    let (files, server) = serve(&home, home.path());
    assert!(
        server.url.starts_with("https://127.0.0.1:"),
        "{}",
        server.url
    );
    let http = server.started["http"].as_str().unwrap();
    assert!(http.starts_with("https://127.0.0.1:"), "{http}");

    run_with_input(&mut files.command(&server, "ops", &["apply", "-"]), ACME).ends(0);
    let check = ["check", "acme", "eu1", "contact.view", "c1"];
    let allowed = run(&mut files.command(&server, "crm", &check)).ends(0);
    assert!(
        allowed.stdout.starts_with("allow  PARENT_TEAM"),
        "{allowed:?}"
    );
    let list = ["list", "acme", "de1", "contact.view"];
    let listed = run(&mut files.command(&server, "crm", &list)).ends(0);
    assert_eq!(listed.lines(), ["c1", "c3"]);
    // The same by the environment.
    let mut command = server.command(check);
    command
        .env("AMBIT_SERVER_NAME", "localhost")
        .env("AMBIT_SERVER_CA_FILE", files.path("ca.crt"))
        .env("AMBIT_CLIENT_CERTIFICATE_FILE", files.path("crm.crt"))
        .env("AMBIT_CLIENT_KEY_FILE", files.path("crm.key"));
    run(&mut command).ends(0);

    // What the caller may not do, it may not do over TLS either.
    let exported = run(&mut files.command(&server, "crm", &["export", "acme"]));
    exported.ends(4).complains("ROLE_MISSING");
    let nobody = run(&mut files.command(&server, "nobody", &check));
    nobody.ends(4).complains("UNAUTHENTICATED");

    // A server that can't prove who it is gets no question.
    let trusting = |arguments: &[&str], name: &str| {
        let mut command = server.command(check);
        command.args(arguments);
        if !name.is_empty() {
            command.args(["--server-name", name]);
        }
        run(&mut command)
    };
    let authorities = files.path("ca.crt");
    let right = ["--server-ca-file", authorities.as_str()];
    trusting(&right, "localhost")
        .ends(4)
        .complains("UNAUTHENTICATED");
    trusting(&[], "localhost").ends(3).complains("certificate");
    let other = files.path("other.crt");
    trusting(&["--server-ca-file", &other], "localhost")
        .ends(3)
        .complains("certificate");
    trusting(&right, "ambit.example.com")
        .ends(3)
        .complains("certificate");
    trusting(&right, "").ends(3).complains("certificate");
    // Nor is anything asked in the clear.
    let plain = server.url.replace("https", "http");
    run(&mut ambit(
        check.iter().copied().chain(["--server", &plain]),
    ))
    .ends(3);
}

#[test]
fn half_of_what_tls_needs_is_wrong_use() {
    let check = ["check", "acme", "eu1", "contact.view", "c1"];
    let complains = |more: &[&str], of: &str| {
        let mut command = ambit(check);
        run(command.args(more).env("AMBIT_TOKEN", "t"))
            .ends(2)
            .complains(of);
    };
    complains(
        &["--client-certificate-file", "a"],
        "--client-certificate-file needs --client-key-file too",
    );
    complains(
        &["--client-key-file", "a"],
        "--client-key-file needs --client-certificate-file too",
    );
    complains(&["--server-ca-file", "a"], "certificates need https://");
    complains(
        &[
            "--server",
            "https://localhost:1",
            "--server-ca-file",
            "/absent",
        ],
        "/absent: ",
    );
    // A documentation address, which nobody has: the token is not sent, whoever listens.
    complains(
        &["--server", "http://192.0.2.1:1"],
        "a token would cross the network unencrypted",
    );
}

#[test]
fn the_doctor_looks_at_certificates_and_at_its_own_roles() {
    let home = Home::new();
    let (files, server) = serve(&home, home.path());
    let asked = |own: &str, status: i32| {
        let mut command = files.command(&server, own, &["doctor", "--output", "json"]);
        command
            .args(home.database())
            .args(["--tls-certificate-file", &files.path("tls.crt")])
            .args(["--tls-key-file", &files.path("tls.key")])
            .current_dir("/");
        run(&mut command).ends(status).json()
    };
    let finding = |answer: &serde_json::Value, check: &str| {
        let findings = answer["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["check"] == check);
        found
            .unwrap_or_else(|| panic!("no {check}: {answer}"))
            .clone()
    };
    let ops = asked("ops", 0);
    assert_eq!(finding(&ops, "TLS")["verdict"], "ok");
    assert_eq!(finding(&ops, "client certificate")["verdict"], "ok");
    let caller = finding(&ops, "caller");
    assert_eq!(
        caller["found"],
        "may do what needs check, request, write, admin"
    );
    let crm = finding(&asked("crm", 0), "caller");
    assert_eq!(crm["found"], "may do what needs check");
    let nobody = finding(&asked("nobody", 1), "caller");
    assert_eq!(nobody["verdict"], "problem", "{nobody}");

    // Keys of an issuer that can't be read, and a key of another certificate.
    let mut command = files.command(&server, "ops", &["doctor", "--output", "json"]);
    command
        .args(home.database())
        .args(["--tls-certificate-file", &files.path("tls.crt")])
        .args(["--tls-key-file", &files.path("ops.key")])
        .args(["--jwt-issuer", "i", "--jwt-audience", "a"])
        .args(["--jwt-jwks-file", &files.path("absent.json")])
        .current_dir("/");
    let answer = run(&mut command).ends(1).json();
    assert_eq!(finding(&answer, "TLS")["verdict"], "problem");
    assert_eq!(finding(&answer, "issuer")["verdict"], "problem");
}
