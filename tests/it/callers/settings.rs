//! Row 12 of `reliability.md`, section 2: half a configuration refuses to start, with one line that
//! names the setting.

use crate::cli::{Home, ambit, run};

#[test]
fn each_misconfiguration_refuses_to_start_with_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tokens = write("tokens.toml", "");
    let role = write(
        "role.toml",
        "[[tokens]]\nid = \"0123456789abcdef\"\nsha256 = \"x\"\nname = \"n\"\nroles = [\"root\"]\n",
    );
    let unknown = write("unknown.toml", "[[token]]\n");
    let absent = folder.path().join("absent.toml");
    let absent = absent.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (
            &["--authentication", "maybe"],
            "must be auto, required or none, this is `maybe`",
        ),
        (&["--authentication", ""], "must be auto, required or none"),
        (
            &["--authentication", "none", "--tokens-file", &tokens],
            "flag `--authentication` and flag `--tokens-file` contradict each other",
        ),
        (&["--tokens-file", absent], "tokens_file: `"),
        (
            &["--tokens-file", &role],
            "tokens[0].roles: `root` is none of check",
        ),
        (
            &["--tokens-file", &unknown],
            "line 1: unknown field `token`",
        ),
        (
            &["--grpc-address", "0.0.0.0:0"],
            "flag `--grpc-address`: `0.0.0.0:0` is not a loopback address, and no authentication is configured",
        ),
        (
            &["--grpc-address", "0.0.0.0:0", "--plaintext"],
            "no authentication is configured",
        ),
        (
            &["--http-address", "0.0.0.0:0"],
            "flag `--http-address`: `0.0.0.0:0` is not a loopback",
        ),
        (
            &[
                "--grpc-address",
                "0.0.0.0:0",
                "--authentication",
                "required",
            ],
            "in the clear; set tls_certificate_file, or pass --plaintext",
        ),
        (
            &["--grpc-address", "[::]:0", "--tokens-file", &tokens],
            "in the clear; set tls_certificate_file, or pass --plaintext",
        ),
    ];
    for (flags, expected) in cases {
        let home = Home::new();
        let mut command = ambit(["serve", "--http-address", "127.0.0.1:0"]);
        if !flags.contains(&"--grpc-address") {
            command.args(["--grpc-address", "127.0.0.1:0"]);
        }
        if flags.contains(&"--http-address") {
            command = ambit(["serve", "--grpc-address", "127.0.0.1:0"]);
        }
        command.args(*flags).args(home.database());
        run(&mut command).ends(2).complains(expected);
    }
}
