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
    let absent = folder.path().join("absent.toml");
    let absent = absent.to_str().unwrap();
    let tokens = write("tokens.toml", "");
    let role = write(
        "role.toml",
        "[[tokens]]\nid = \"0123456789abcdef\"\nsha256 = \"x\"\nname = \"n\"\nroles = [\"root\"]\n",
    );
    let unknown = write("unknown.toml", "[[token]]\n");
    let keys = write("keys.json", r#"{"keys": []}"#);
    let table = |name: &str, table: &str| write(name, &format!("[[issuers]]\n{table}\n"));
    let whole = "name = \"a\"\nissuer = \"i\"\naudience = \"b\"\njwks_url = \"https://x/y\"\n";
    let no_audience = table(
        "1.toml",
        &whole.replace("audience = \"b\"", "audience = \"\""),
    );
    let no_keys = table("2.toml", &whole.replace("https://x/y", ""));
    let plain_keys = table("3.toml", &whole.replace("https", "http"));
    let two_keys = table("4.toml", &format!("{whole}jwks_file = \"f\""));
    let hmac = table("5.toml", &format!("{whole}algorithms = [\"HS256\"]"));
    let slip = table("6.toml", &format!("{whole}audiences = [\"b\"]"));
    let twice = table("7.toml", &format!("{whole}[[issuers]]\n{whole}"));
    let no_name = table("8.toml", &whole.replace("name = \"a\"", ""));
    let no_table = write("9.toml", "issuers = \"https://x\"\n");
    let cases: &[(&[&str], &str)] = &[
        (
            &["--jwt-issuer", "i"],
            "flag `--jwt-issuer` needs jwt_audience too",
        ),
        (
            &["--jwt-issuer", "i", "--jwt-audience", ""],
            "needs jwt_audience too",
        ),
        (
            &["--jwt-issuer", "i", "--jwt-audience", "a"],
            "flag `--jwt-issuer` needs jwt_jwks_url or jwt_jwks_file too",
        ),
        (
            &["--jwt-audience", "a"],
            "flag `--jwt-audience` needs jwt_issuer too",
        ),
        (
            &["--jwt-jwks-url", "https://x"],
            "flag `--jwt-jwks-url` needs jwt_issuer too",
        ),
        (
            &[
                "--jwt-issuer",
                "i",
                "--jwt-audience",
                "a",
                "--jwt-jwks-url",
                "https://x",
                "--jwt-jwks-file",
                "f",
            ],
            "say the same thing twice",
        ),
        (
            &[
                "--jwt-issuer",
                "i",
                "--jwt-audience",
                "a",
                "--jwt-jwks-url",
                "http://example.com/keys",
            ],
            "flag `--jwt-jwks-url`: must begin with https://",
        ),
        (
            &[
                "--jwt-issuer",
                "i",
                "--jwt-audience",
                "a",
                "--jwt-jwks-url",
                "keys",
            ],
            "flag `--jwt-jwks-url`: must be a URL",
        ),
        (
            &[
                "--jwt-issuer",
                "i",
                "--jwt-audience",
                "a",
                "--jwt-jwks-file",
                absent,
            ],
            "issuer `jwt`: its keys: they can't be read",
        ),
        (
            &[
                "--jwt-issuer",
                "i",
                "--jwt-audience",
                "a",
                "--jwt-jwks-file",
                &keys,
            ],
            "issuer `jwt`: its keys: they are no JSON Web Key Set",
        ),
        (
            &[
                "--jwt-issuer",
                "i",
                "--jwt-audience",
                "a",
                "--jwt-jwks-url",
                "https://x",
                "--jwt-algorithms",
                "HS256",
            ],
            "flag `--jwt-algorithms`: must be some of ES256",
        ),
        (
            &[
                "--jwt-issuer",
                "i",
                "--jwt-audience",
                "a",
                "--jwt-jwks-url",
                "https://x",
                "--jwt-algorithms",
                "none",
            ],
            "flag `--jwt-algorithms`: must be some of ES256",
        ),
        (
            &[
                "--jwt-issuer",
                "i",
                "--jwt-audience",
                "a",
                "--jwt-jwks-url",
                "https://x",
                "--jwt-roles-claim",
                "",
            ],
            "flag `--jwt-roles-claim`: must name a claim",
        ),
        (
            &[
                "--jwt-issuer",
                "i",
                "--jwt-audience",
                "a",
                "--jwt-jwks-url",
                "https://x",
                "--authentication",
                "none",
            ],
            "flag `--authentication` and flag `--jwt-issuer` contradict each other",
        ),
        (&["--config", &no_audience], "issuer `a`: needs audience"),
        (
            &["--config", &no_keys],
            "issuer `a`: needs jwks_url or jwks_file",
        ),
        (
            &["--config", &plain_keys],
            "issuer `a`: jwks_url must begin with https://",
        ),
        (
            &["--config", &two_keys],
            "issuer `a`: has jwks_url and jwks_file",
        ),
        (
            &["--config", &hmac],
            "issuer `a`: algorithms must be some of ES256",
        ),
        (
            &["--config", &slip],
            "issuer `a`: unknown field `audiences`",
        ),
        (
            &["--config", &twice],
            "issuer `a`: there is another one of this name or issuer",
        ),
        (&["--config", &no_name], "issuer ``: needs a name"),
        (
            &["--config", &no_table],
            "must be tables, each begun by [[issuers]]",
        ),
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
