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
    let certificates = |name: &str, table: &str| {
        write(
            name,
            &format!("tls_client_ca_file = \"ca\"\n[[client_certificates]]\n{table}\n"),
        )
    };
    let caller =
        "name = \"a\"\nsan = \"URI:spiffe://x/a\"\nroles = [\"check\"]\naccounts = [\"b\"]\n";
    let no_ca = write("c1.toml", &format!("[[client_certificates]]\n{caller}"));
    let no_tls = certificates("c2.toml", caller);
    let no_san = certificates("c3.toml", &caller.replace("URI:spiffe://x/a", ""));
    let pattern = certificates("c4.toml", &caller.replace("URI:spiffe://x/a", "DNS:*.a"));
    let same_san = caller.replace("\"a\"", "\"z\"");
    let same_san = certificates(
        "c5.toml",
        &format!("{caller}[[client_certificates]]\n{same_san}"),
    );
    let same_name = caller.replace("x/a", "x/z");
    let same_name = certificates(
        "c6.toml",
        &format!("{caller}[[client_certificates]]\n{same_name}"),
    );
    let unknown_role = certificates("c7.toml", &caller.replace("check", "root"));
    let no_roles = certificates("c8.toml", &caller.replace("\"check\"", ""));
    let no_accounts = certificates("c9.toml", &caller.replace("\"b\"", ""));
    let neither = certificates("c10.toml", &caller.replace("accounts = [\"b\"]\n", ""));
    let both = certificates("c11.toml", &format!("{caller}all_accounts = true"));
    let wrong_id = certificates("c12.toml", &caller.replace("\"b\"", "\"\""));
    let no_caller_name = certificates("c13.toml", &caller.replace("name = \"a\"\n", ""));
    let certificate_slip = certificates("c14.toml", &format!("{caller}sans = []"));
    let no_certificates = write("c15.toml", "client_certificates = 1\n");
    let cases: &[(&[&str], &str)] = &[
        (
            &["--client-certificate-san", "URI:spiffe://x/a"],
            "flag `--client-certificate-san` needs client_certificate_roles too",
        ),
        (
            &["--client-certificate-roles", "check"],
            "flag `--client-certificate-roles` needs client_certificate_san too",
        ),
        (
            &["--client-certificate-accounts", "a"],
            "flag `--client-certificate-accounts` needs client_certificate_san too",
        ),
        (
            &["--client-certificate-all-accounts"],
            "flag `--client-certificate-all-accounts` needs client_certificate_san too",
        ),
        (
            &[
                "--client-certificate-san",
                "URI:spiffe://x/a",
                "--client-certificate-roles",
                "check",
            ],
            "needs client_certificate_accounts or client_certificate_all_accounts too",
        ),
        (
            &[
                "--client-certificate-san",
                "URI:spiffe://x/a",
                "--client-certificate-roles",
                "check,root",
                "--client-certificate-all-accounts",
            ],
            "flag `--client-certificate-roles`: must be some of check, request, write and admin",
        ),
        (
            &[
                "--client-certificate-san",
                "spiffe://x/a",
                "--client-certificate-roles",
                "check",
                "--client-certificate-all-accounts",
            ],
            "flag `--client-certificate-san`: must be as URI:spiffe://",
        ),
        (
            &[
                "--client-certificate-san",
                "URI:spiffe://x/a",
                "--client-certificate-roles",
                "check",
                "--client-certificate-accounts",
                "a,,b",
            ],
            "flag `--client-certificate-accounts`: must be ids of accounts",
        ),
        (
            &[
                "--client-certificate-san",
                "URI:spiffe://x/a",
                "--client-certificate-roles",
                "check",
                "--client-certificate-accounts",
                "a",
                "--client-certificate-all-accounts",
            ],
            "contradict each other",
        ),
        (
            &[
                "--client-certificate-san",
                "URI:spiffe://x/a",
                "--client-certificate-roles",
                "check",
                "--client-certificate-all-accounts",
            ],
            "flag `--client-certificate-san` needs tls_client_ca_file too",
        ),
        (&["--config", &no_ca], "`client_certificates` in `"),
        (&["--config", &no_ca], "needs tls_client_ca_file too"),
        (&["--config", &no_tls], "needs tls_certificate_file too"),
        (
            &["--config", &no_tls, "--authentication", "none"],
            "contradict each other",
        ),
        (
            &["--config", &no_san],
            "client certificate `a`: san must be as URI:spiffe://",
        ),
        (
            &["--config", &pattern],
            "client certificate `a`: san must be as URI:spiffe://",
        ),
        (
            &["--config", &same_san],
            "client certificate `z`: there is another one with the san URI:spiffe://x/a",
        ),
        (
            &["--config", &same_name],
            "client certificate `a`: there is another one of this name",
        ),
        (
            &["--config", &unknown_role],
            "client certificate `a`: roles must be some of check",
        ),
        (
            &["--config", &no_roles],
            "client certificate `a`: roles must be some of check",
        ),
        (
            &["--config", &no_accounts],
            "client certificate `a`: accounts must be ids",
        ),
        (
            &["--config", &wrong_id],
            "client certificate `a`: accounts must be ids",
        ),
        (
            &["--config", &neither],
            "client certificate `a`: needs accounts that it may name",
        ),
        (
            &["--config", &both],
            "client certificate `a`: has accounts and all_accounts",
        ),
        (
            &["--config", &no_caller_name],
            "client certificate ``: needs a name",
        ),
        (
            &["--config", &certificate_slip],
            "client certificate `a`: unknown field `sans`",
        ),
        (
            &["--config", &no_certificates],
            "must be tables, each begun by [[client_certificates]]",
        ),
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
            &[
                "--http-address",
                "0.0.0.0:0",
                "--authentication",
                "required",
            ],
            "sessions of the console would travel there in the clear; set http_tls, or pass --plaintext",
        ),
        (
            &["--http-tls"],
            "flag `--http-tls` needs tls_certificate_file too",
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
