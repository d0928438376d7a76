-- Agencies and their clients (S4, D1).

-- Which users of which clients are of an agency: with the links, the one thing that is looked up
-- across accounts. A distributed database asks every node that holds accounts.
CREATE INDEX app_user_of_partner ON ambit.app_user (partner_account, account_id, user_id)
    WHERE partner_account IS NOT NULL;
CREATE INDEX app_user_of_partner_user ON ambit.app_user (partner_account, partner_user, account_id)
    WHERE partner_account IS NOT NULL;

-- Personal access links, of the agency's account. No decision rests on them: nothing here takes a
-- revision.
CREATE TABLE ambit.access_link (
    account_id  text COLLATE "C" NOT NULL,
    link_id     text COLLATE "C" NOT NULL,
    -- The agency's user whose link it is. Kept after that user is gone.
    user_id     text COLLATE "C" NOT NULL,
    -- SHA-256 of the link: the link itself is kept nowhere.
    secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    issued_at   timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz,
    PRIMARY KEY (account_id, link_id),
    CONSTRAINT "access_link.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE
);

-- Which client let the user of a link in, and when: once a client and link.
CREATE TABLE ambit.access_link_approval (
    account_id     text COLLATE "C" NOT NULL,
    link_id        text COLLATE "C" NOT NULL,
    -- Another account, so no reference.
    client_account text COLLATE "C" NOT NULL,
    client_user    text COLLATE "C" NOT NULL,
    approved_by    text COLLATE "C" NOT NULL,
    approved_at    timestamptz NOT NULL,
    PRIMARY KEY (account_id, link_id, client_account),
    CONSTRAINT "access_link_approval.link_id exists"
        FOREIGN KEY (account_id, link_id) REFERENCES ambit.access_link ON DELETE CASCADE
);

-- The rules' texts, as in 0001.
COMMENT ON CONSTRAINT "access_link.account_id exists" ON ambit.access_link
    IS 'dangling reference: the account of this row does not exist, insert it first';
COMMENT ON CONSTRAINT "access_link_approval.link_id exists" ON ambit.access_link_approval
    IS 'dangling reference: the access link of this row does not exist, insert it first';

-- The record of a link that was made, revoked or approved, by whoever announced to write.
CREATE FUNCTION ambit.audit_access_link(of_account text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    author jsonb := ambit.audit_author(of_account);
    stands bigint;
BEGIN
    SELECT revision INTO stands FROM ambit.account_head WHERE account_id = of_account FOR NO KEY UPDATE;
    INSERT INTO ambit.audit_record (account_id, revision, effect, at, caller, actor, method,
            idempotency_key, request_id, entities, counts, is_partial)
        SELECT of_account, stands, 'noted', clock_timestamp(), author ->> 'caller', author ->> 'actor',
            author ->> 'method', author ->> 'key', author ->> 'request', '[]'::jsonb,
            jsonb_build_object('access_link', 1), false
        WHERE stands IS NOT NULL;
END $$;

REVOKE EXECUTE ON FUNCTION ambit.audit_access_link(text) FROM PUBLIC;

-- A version of before follows this schema: it knows nothing of links, and needs to know nothing.
UPDATE ambit.store_identity SET schema_version = 14;
