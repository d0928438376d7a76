-- What happens between agencies and their clients, for those who are told of it (S4.6): with an outbox
-- and deliveries of the same form as those of access requests.

-- Told in both of the accounts, in each as a row of its own, counted from 0 for each other account.
CREATE TABLE ambit.partner_event (
    account_id     text COLLATE "C" NOT NULL,
    -- The other account, so no reference.
    counterpart    text COLLATE "C" NOT NULL,
    ordinal        integer NOT NULL CHECK (ordinal >= 0),
    -- Where account_id stands.
    side           text COLLATE "C" NOT NULL CHECK (side IN ('agency', 'client')),
    kind           text COLLATE "C" NOT NULL CHECK (kind IN ('link_approved', 'staff_added', 'staff_changed',
        'staff_removed', 'staff_deactivated', 'staff_reactivated', 'admin_migrated', 'partnership_ended')),
    at             timestamptz NOT NULL CHECK (ambit.is_time(at)),
    -- The user of account_id who did it, where it was one.
    actor          text COLLATE "C",
    -- Whom it is about, as the agency and as the client know them.
    partner_user   text COLLATE "C",
    client_user    text COLLATE "C",
    role           text COLLATE "C",
    permission_set text COLLATE "C",
    link_id        text COLLATE "C",
    PRIMARY KEY (account_id, counterpart, ordinal),
    FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE,
    CHECK ((partner_user IS NULL) = (client_user IS NULL) AND (partner_user IS NULL) = (role IS NULL))
);
CREATE INDEX partner_event_by_age ON ambit.partner_event (at);

-- Events that nobody has been told of yet: put by the event itself, taken out when it is fanned out.
CREATE TABLE ambit.partner_outbox (
    account_id  text COLLATE "C" NOT NULL,
    counterpart text COLLATE "C" NOT NULL,
    ordinal     integer NOT NULL,
    PRIMARY KEY (account_id, counterpart, ordinal),
    FOREIGN KEY (account_id, counterpart, ordinal) REFERENCES ambit.partner_event ON DELETE CASCADE
);

-- An event on its way to one destination.
CREATE TABLE ambit.partner_delivery (
    account_id      text COLLATE "C" NOT NULL,
    counterpart     text COLLATE "C" NOT NULL,
    ordinal         integer NOT NULL,
    destination     text COLLATE "C" NOT NULL CHECK (octet_length(destination) BETWEEN 1 AND 300),
    state           text COLLATE "C" NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at      timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    -- Until when a server has it in hand; its next attempt waits for that.
    leased_until    timestamptz,
    settled_at      timestamptz,
    last_problem    text,
    PRIMARY KEY (account_id, counterpart, ordinal, destination),
    FOREIGN KEY (account_id, counterpart, ordinal) REFERENCES ambit.partner_event ON DELETE CASCADE,
    CHECK ((settled_at IS NULL) = (state = 'pending') AND (state = 'pending' OR leased_until IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX partner_delivery_due ON ambit.partner_delivery (next_attempt_at) WHERE state = 'pending';
CREATE INDEX partner_delivery_settled ON ambit.partner_delivery (settled_at) WHERE state <> 'pending';
CREATE INDEX partner_delivery_by_state ON ambit.partner_delivery
    (account_id, state, counterpart, ordinal, destination);

-- An event is at once an entry of the outbox.
CREATE FUNCTION ambit.record_partner_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO ambit.partner_outbox (account_id, counterpart, ordinal)
        SELECT account_id, counterpart, ordinal FROM added;
    RETURN NULL;
END $$;

CREATE TRIGGER recorded AFTER INSERT ON ambit.partner_event
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.record_partner_event();

-- The record of a notification that is sent once more, by whoever announced to write.
CREATE FUNCTION ambit.audit_notification(of_account text) RETURNS void
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
            jsonb_build_object('notification', 1), false
        WHERE stands IS NOT NULL;
END $$;

REVOKE EXECUTE ON FUNCTION ambit.record_partner_event(), ambit.audit_notification(text) FROM PUBLIC;

-- A version of before follows this schema: it knows nothing of these events, tells nobody of them, and
-- leaves them to the servers that do.
UPDATE ambit.store_identity SET schema_version = 17;
