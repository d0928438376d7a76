-- Bearer tokens of callers: who may ask, not what is decided on. They are no account data: one token
-- may open several accounts or all of them, it stays when an account goes, and it is in no export.
-- So they are keyed by themselves, log no change and take no revision.
CREATE TABLE caller_token (
    token_id    TEXT NOT NULL PRIMARY KEY
        CONSTRAINT "caller_token.token_id is 16 hexadecimal digits in lower case"
        CHECK (length(token_id) = 16 AND token_id NOT GLOB '*[^0-9a-f]*'),
    -- SHA-256 of the whole token; the token itself is nowhere.
    secret_hash BLOB NOT NULL
        CONSTRAINT "caller_token.secret_hash is 32 bytes" CHECK (length(secret_hash) = 32),
    name        TEXT NOT NULL
        CONSTRAINT "caller_token.name is 1 to 256 bytes without control characters"
        CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 256 AND instr(name, char(0)) = 0
            AND name NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    -- A JSON array of check, request, write and admin.
    roles       TEXT NOT NULL
        CONSTRAINT "caller_token.roles is a JSON array" CHECK (json_valid(roles) AND json_type(roles) = 'array'),
    -- A JSON array of account ids; NULL: all accounts.
    accounts    TEXT
        CONSTRAINT "caller_token.accounts is a JSON array"
        CHECK (json_valid(accounts) AND json_type(accounts) = 'array'),
    created_at  INTEGER NOT NULL
        CONSTRAINT "caller_token.created_at lies in the years 1 to 9999"
        CHECK (created_at BETWEEN -62135596800000000 AND 253402300799999999),
    expires_at  INTEGER
        CONSTRAINT "caller_token.expires_at lies in the years 1 to 9999"
        CHECK (expires_at BETWEEN -62135596800000000 AND 253402300799999999),
    revoked_at  INTEGER
        CONSTRAINT "caller_token.revoked_at lies in the years 1 to 9999"
        CHECK (revoked_at BETWEEN -62135596800000000 AND 253402300799999999)
) STRICT, WITHOUT ROWID;

-- What servers ask often: another value means that a token changed, whoever changed it. Random, so
-- that a database that was restored is told from the one of before.
CREATE TABLE caller_token_version (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    version BLOB NOT NULL CHECK (length(version) = 16)
) STRICT;
INSERT INTO caller_token_version (one, version) VALUES (1, randomblob(16));

CREATE TRIGGER caller_token_inserted AFTER INSERT ON caller_token BEGIN
    UPDATE caller_token_version SET version = randomblob(16);
END;

CREATE TRIGGER caller_token_updated AFTER UPDATE ON caller_token BEGIN
    UPDATE caller_token_version SET version = randomblob(16);
END;

CREATE TRIGGER caller_token_deleted AFTER DELETE ON caller_token BEGIN
    UPDATE caller_token_version SET version = randomblob(16);
END;
