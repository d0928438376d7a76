-- Forms: to whom what is submitted is assigned (P8). Settings beside the account: nothing here takes
-- a revision, since no decision rests on it.

CREATE TABLE ambit.form (
    account_id    text COLLATE "C" NOT NULL,
    form_id       text COLLATE "C" NOT NULL,
    resource_type text COLLATE "C" NOT NULL,
    -- A JSON array of principals, as documents write them.
    targets       text NOT NULL,
    -- The user whose authority was checked at the set-up; null: an operator's.
    author        text COLLATE "C",
    -- Whether that authority closes records that are open to everyone.
    may_close     boolean NOT NULL,
    PRIMARY KEY (account_id, form_id),
    CONSTRAINT "form.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE
);

-- The rules' texts, as in 0001.
COMMENT ON CONSTRAINT "form.account_id exists" ON ambit.form
    IS 'dangling reference: the account of this row does not exist, insert it first';

-- The record of a form that was set up or removed, by whoever announced to write.
CREATE FUNCTION ambit.audit_form(of_account text) RETURNS void
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
            jsonb_build_object('form', 1), false
        WHERE stands IS NOT NULL;
END $$;

REVOKE EXECUTE ON FUNCTION ambit.audit_form(text) FROM PUBLIC;

-- A version of before follows this schema: it knows nothing of forms, and needs to know nothing.
UPDATE ambit.store_identity SET schema_version = 12;
