//! The settings by name: one table for the flags, the environment, the file and the docs.

/// A key with what it means, for `--help` and the docs.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    pub form: Form,
}

/// How the value of a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// A flag without a value on the command line; `true` or `false` elsewhere.
    Switch,
    /// May hold a password: never shown, not even where it is wrong.
    Secret,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    of_form(Form::Plain, name, default, help)
}

const fn of_form(form: Form, name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key {
        name,
        default,
        help,
        form,
    }
}

/// All settings. Values of the table's defaults are parsed like any other.
pub const KEYS: &[Key] = &[
    key(
        "data_dir",
        "./ambit-data",
        "Directory of the embedded database; made if it is absent",
    ),
    of_form(
        Form::Secret,
        "database_url",
        "",
        "PostgreSQL database to use instead of the embedded one, as postgres://USER:PASSWORD@HOST/NAME",
    ),
    key(
        "database_url_file",
        "",
        "File that holds the database_url, for a secret that is mounted",
    ),
    key(
        "database_connections_max",
        "16",
        "Connections to PostgreSQL at a time; one more listens",
    ),
    of_form(
        Form::Switch,
        "no_migrate",
        "false",
        "Leave the schema of PostgreSQL as it is, and refuse to start on an older one",
    ),
    key(
        "grpc_address",
        "127.0.0.1:50051",
        "Address and port of gRPC; port 0 takes a free one",
    ),
    key(
        "http_address",
        "127.0.0.1:8080",
        "Address and port of /healthz, /readyz, /metrics and the console; port 0 takes a free one",
    ),
    of_form(
        Form::Switch,
        "insecure",
        "false",
        "Serve without authentication, or without TLS, on addresses other than loopback",
    ),
    key(
        "authentication",
        "auto",
        "required, none, or auto: required as soon as a way to know callers is configured",
    ),
    key(
        "tokens_file",
        "",
        "File of bearer tokens as hashes, beside those in the database; read again when it changes",
    ),
    key(
        "jwt_issuer",
        "",
        "Issuer whose signed tokens (JWT) are taken, as its claim iss; more of them go into [[issuers]] of the file",
    ),
    key(
        "jwt_audience",
        "",
        "What such a token names this server by, in its claim aud",
    ),
    key(
        "jwt_jwks_url",
        "",
        "Where the issuer publishes its keys (JWKS), over https",
    ),
    key(
        "jwt_jwks_file",
        "",
        "File of the issuer's keys (JWKS), in the place of jwt_jwks_url",
    ),
    key(
        "jwt_algorithms",
        "ES256,ES384,RS256,PS256,EdDSA",
        "How such a token may be signed",
    ),
    key(
        "jwt_roles_claim",
        "ambit_roles",
        "Claim with the roles of the caller; a JSON pointer where it begins with /",
    ),
    key(
        "jwt_accounts_claim",
        "ambit_accounts",
        "Claim with the accounts that the caller may name",
    ),
    of_form(
        Form::Switch,
        "jwt_all_accounts",
        "false",
        "Let every caller of the issuer name all accounts, whatever the claim says",
    ),
    key(
        "jwt_leeway_s",
        "30",
        "How far the clocks of issuer and server may be apart",
    ),
    key(
        "jwt_jwks_refresh_s",
        "300",
        "How often the keys are asked for anew; a key that was withdrawn is taken no longer",
    ),
    key(
        "client_certificate_san",
        "",
        "Name in a client certificate that makes it a caller, as URI:spiffe://example.com/crm or DNS:crm.example.com; more of them go into [[client_certificates]] of the file",
    ),
    key(
        "client_certificate_roles",
        "",
        "Roles of that caller, as check,request",
    ),
    key(
        "client_certificate_accounts",
        "",
        "Accounts that it may name, as acme,northwind",
    ),
    of_form(
        Form::Switch,
        "client_certificate_all_accounts",
        "false",
        "Let it name all accounts",
    ),
    of_form(
        Form::Switch,
        "plaintext",
        "false",
        "Serve callers without TLS on addresses other than loopback, where a mesh or a proxy encrypts",
    ),
    key(
        "tls_certificate_file",
        "",
        "Certificate chain of the server in PEM, its own first; read again when it changes",
    ),
    key("tls_key_file", "", "Private key of the certificate, in PEM"),
    of_form(
        Form::Switch,
        "http_tls",
        "false",
        "Serve the HTTP port over TLS too, with the same certificate",
    ),
    key(
        "tls_client_ca_file",
        "",
        "Certificates in PEM that those of clients must come from",
    ),
    key(
        "tls_client_certificates",
        "optional",
        "optional, or required: who shows none is refused in the handshake",
    ),
    key(
        "tls_reload_interval_ms",
        "5000",
        "How often the TLS files are looked at for changes",
    ),
    key(
        "console_url",
        "",
        "Address of the console as people reach it, which links in notifications begin with; http:// and http_address by default",
    ),
    key(
        "link_ttl_s",
        "3600",
        "How long a link in a notification can be opened",
    ),
    of_form(
        Form::Secret,
        "webhook_url",
        "",
        "Webhook that is told of access requests; more of them go into [[webhooks]] of the file",
    ),
    of_form(
        Form::Secret,
        "webhook_secret",
        "",
        "Secret that its messages are signed with, as whsec_BASE64",
    ),
    key(
        "webhook_secret_file",
        "",
        "File that holds the webhook_secret, for a secret that is mounted",
    ),
    of_form(
        Form::Secret,
        "webhook_secret_previous",
        "",
        "Secret before it, which messages are signed with too while it is rotated",
    ),
    key(
        "webhook_secret_previous_file",
        "",
        "File that holds the webhook_secret_previous",
    ),
    key(
        "webhook_allowed_networks",
        "",
        "Networks besides the public ones that webhooks may lie in, as 10.1.0.0/16,fd00:1::/64",
    ),
    key(
        "webhook_ca_file",
        "",
        "File of certificates (PEM) of authorities that webhooks are trusted by, besides those of the system",
    ),
    of_form(
        Form::Secret,
        "smtp_url",
        "",
        "Server that takes mail, as smtps://USER:PASSWORD@HOST or smtp://HOST:587?tls=required",
    ),
    key(
        "smtp_url_file",
        "",
        "File that holds the smtp_url, for a secret that is mounted",
    ),
    key(
        "email_from",
        "",
        "Sender of mail about access requests, as access@example.com",
    ),
    key("email_language", "en", "Language of mail: en or de"),
    key(
        "cache_bytes_max",
        "1073741824",
        "Memory for account graphs, in bytes; whole accounts are evicted beyond it",
    ),
    key(
        "staleness_bound_ms",
        "2000",
        "Oldest picture that a read is answered from; past it reads fail",
    ),
    key(
        "feed_poll_interval_ms",
        "50",
        "How often the database is asked for changes; 500 by default with PostgreSQL, which notifies",
    ),
    key(
        "history_retention_s",
        "86400",
        "How long changes are kept in steps; who is further behind loads anew",
    ),
    key(
        "audit_retention_s",
        "34560000",
        "How long it is kept who changed what; a day at least",
    ),
    key(
        "load_timeout_ms",
        "30000",
        "Longest load of an account; past it those who wait for it fail",
    ),
    key(
        "request_timeout_ms",
        "30000",
        "Longest unary call; lists, watches and exports have no limit of ours",
    ),
    key(
        "bulk_timeout_ms",
        "120000",
        "Longest unary call with many items: batches, filters and writes",
    ),
    key(
        "calls_max",
        "16384",
        "gRPC calls at a time that have no answer yet; further ones are refused as OVERLOADED",
    ),
    key(
        "open_streams_max",
        "4096",
        "Lists, watches, imports and exports at a time; further ones are refused as OVERLOADED",
    ),
    key(
        "account_share_percent",
        "100",
        "Calls or streams that one account may have, in percent of the places that are free; further ones are refused as ACCOUNT_OVERLOADED",
    ),
    key(
        "computations_max",
        "0",
        "Long lists, large batches and plans of writes that compute at a time; 0: one fewer than there are cores",
    ),
    key(
        "stream_stall_timeout_ms",
        "30000",
        "How long a reader may leave a chunk of a stream waiting; then the stream ends, and after as long again it is cut off",
    ),
    key(
        "shutdown_grace_ms",
        "10000",
        "Time that running calls have to end after SIGTERM",
    ),
    key(
        "connections_max",
        "10000",
        "gRPC connections at a time; further ones wait to be accepted",
    ),
    key(
        "streams_per_connection_max",
        "1000",
        "gRPC calls at a time on one connection",
    ),
    key(
        "connection_age_ms",
        "600000",
        "Age at which a gRPC connection is told to end, a tenth more or less; 0: never",
    ),
    key(
        "connection_age_grace_ms",
        "300000",
        "Time that the calls of such a connection have to end",
    ),
    key(
        "handshake_timeout_ms",
        "5000",
        "Longest TLS handshake, and longest wait for the first bytes of HTTP/2",
    ),
    key(
        "keepalive_interval_ms",
        "30000",
        "Silence after which the peer of a gRPC connection is pinged",
    ),
    key(
        "keepalive_timeout_ms",
        "10000",
        "Time that it has to answer; then the connection is closed",
    ),
    key(
        "header_bytes_max",
        "16384",
        "Headers of one gRPC call, in bytes after decompression",
    ),
    key(
        "stream_window_bytes",
        "1048576",
        "What a client may send of one gRPC call before it is read",
    ),
    key(
        "connection_window_bytes",
        "1048576",
        "What a client may send of all calls of a connection before it is read",
    ),
    key(
        "send_buffer_bytes_max",
        "409600",
        "What may wait to be sent of one gRPC call",
    ),
    key(
        "otlp_endpoint",
        "",
        "Collector that takes traces and metrics by OTLP over gRPC, as http://127.0.0.1:4317; OTEL_EXPORTER_OTLP_ENDPOINT where it is not set",
    ),
    key(
        "trace_sample_ratio",
        "0.01",
        "Share of the calls that are traced, from 0 to 1, where their callers did not decide",
    ),
    of_form(
        Form::Switch,
        "otlp_metrics",
        "false",
        "Send the metrics to the otlp_endpoint too",
    ),
    key("otlp_metrics_interval_s", "60", "How often they are sent"),
    key(
        "decision_log",
        "off",
        "Where decisions are written down: off, stdout or the path of a file with a slash in it for JSON lines, otlp for log records to the otlp_endpoint",
    ),
    key(
        "decision_log_allow_ratio",
        "0.01",
        "Share of the allowing decisions, and of the lists, that are written down, from 0 to 1",
    ),
    key(
        "decision_log_deny_ratio",
        "0.1",
        "Share of the denying decisions that are written down, from 0 to 1",
    ),
    key(
        "decision_log_mask",
        "",
        "Fields of the decision log that are masked: a list of caller, account_id, user_id and resource_id",
    ),
    of_form(
        Form::Secret,
        "decision_log_mask_key",
        "",
        "Secret of at least 16 bytes that masked fields are made pseudonyms with; without it they are left out",
    ),
    key(
        "decision_log_mask_key_file",
        "",
        "File that holds the decision_log_mask_key, for a secret that is mounted",
    ),
    key(
        "decision_log_queue_records_max",
        "8192",
        "Records of the decision log that wait to be written; further ones are dropped and counted",
    ),
    key(
        "log_format",
        "auto",
        "human, json, or auto: human on a terminal, json otherwise",
    ),
    key(
        "log_filter",
        "info",
        "Which events are logged, in the syntax of tracing, e.g. info,ambit=debug",
    ),
];
