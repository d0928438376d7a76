-- Bearer tokens of callers: who may ask, not what is decided on. They are no account data: one token
-- may open several accounts or all of them, it stays when an account goes, and it is in no export.
-- So they are keyed by themselves, log no change and take no revision.
CREATE TABLE ambit.caller_token (
    token_id    text COLLATE "C" NOT NULL PRIMARY KEY
        CONSTRAINT "caller_token.token_id is a token's id" CHECK (token_id ~ '^[0-9a-f]{16}$'),
    -- SHA-256 of the whole token; the token itself is nowhere.
    secret_hash bytea NOT NULL
        CONSTRAINT "caller_token.secret_hash is 32 bytes" CHECK (octet_length(secret_hash) = 32),
    name        text COLLATE "C" NOT NULL
        CONSTRAINT "caller_token.name is an id" CHECK (ambit.is_id(name)),
    -- A JSON array of check, request, write and admin.
    roles       jsonb NOT NULL
        CONSTRAINT "caller_token.roles is a JSON array" CHECK (jsonb_typeof(roles) = 'array'),
    -- A JSON array of account ids; NULL: all accounts.
    accounts    jsonb
        CONSTRAINT "caller_token.accounts is a JSON array" CHECK (jsonb_typeof(accounts) = 'array'),
    created_at  timestamptz NOT NULL
        CONSTRAINT "caller_token.created_at is a time" CHECK (ambit.is_time(created_at)),
    expires_at  timestamptz
        CONSTRAINT "caller_token.expires_at is a time" CHECK (ambit.is_time(expires_at)),
    revoked_at  timestamptz
        CONSTRAINT "caller_token.revoked_at is a time" CHECK (ambit.is_time(revoked_at))
);

-- The rules' texts, as in 0001.
COMMENT ON CONSTRAINT "caller_token.token_id is a token's id" ON ambit.caller_token
    IS 'caller_token.token_id is 16 hexadecimal digits in lower case';
COMMENT ON CONSTRAINT "caller_token.name is an id" ON ambit.caller_token
    IS 'caller_token.name is 1 to 256 bytes without control characters';
COMMENT ON CONSTRAINT "caller_token.created_at is a time" ON ambit.caller_token
    IS 'caller_token.created_at lies in the years 1 to 9999';
COMMENT ON CONSTRAINT "caller_token.expires_at is a time" ON ambit.caller_token
    IS 'caller_token.expires_at lies in the years 1 to 9999';
COMMENT ON CONSTRAINT "caller_token.revoked_at is a time" ON ambit.caller_token
    IS 'caller_token.revoked_at lies in the years 1 to 9999';

-- What servers ask often: another value means that a token changed, whoever changed it. Random, so
-- that a database that was restored is told from the one of before.
CREATE TABLE ambit.caller_token_version (
    one     integer NOT NULL PRIMARY KEY CHECK (one = 1),
    version uuid NOT NULL
);
INSERT INTO ambit.caller_token_version (one, version) VALUES (1, gen_random_uuid());

-- Of truncation too, which is how a database is emptied.
CREATE FUNCTION ambit.note_caller_tokens() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE ambit.caller_token_version SET version = gen_random_uuid();
    RETURN NULL;
END $$;

CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON ambit.caller_token
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.note_caller_tokens();

REVOKE EXECUTE ON FUNCTION ambit.note_caller_tokens() FROM PUBLIC;

-- A version of before knows no callers and reads none of this.
UPDATE ambit.store_identity SET schema_version = 6, compatible_from = 5;
