-- Access requests, what happened to them, and who is still to be told.
--
-- A request is an entity of its account like any other: its changes are logged and take revisions.
-- It refers to its account alone, since it outlives the user, the resource and whatever else it
-- names. Who it is from and what it is for never changes; what has ended never changes at all; its
-- events are only added to. All of it goes with the account and with nothing else.
--
-- Deleting is told from the account's own deletion by the depth of triggers: a statement of a
-- session stands at depth 0.

-- What an approval gives: a kind, with a team or a permission set, or with a grant.
CREATE FUNCTION ambit.is_resolution(kind text, id text, type text, permission text, level text,
    unassigned boolean, expires_at timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (expires_at IS NULL OR ambit.is_time(expires_at)) AND CASE
        WHEN kind IS NULL THEN num_nonnulls(id, type, permission, level, unassigned, expires_at) = 0
        WHEN kind IN ('object_grant', 'assign_to_user')
            THEN num_nonnulls(id, type, permission, level, unassigned) = 0
        WHEN kind IN ('assign_to_team', 'permission_set', 'add_to_team')
            THEN id IS NOT NULL AND ambit.is_id(id) AND num_nonnulls(type, permission, level, unassigned) = 0
        WHEN kind IN ('direct_grant', 'raise_level')
            THEN id IS NULL AND num_nulls(type, permission, level, unassigned) = 0
                AND ambit.is_id(type) AND ambit.is_id(permission)
                AND level IN ('none', 'owned', 'team', 'everything')
        ELSE false END;

CREATE TABLE ambit.access_request (
    account_id             text COLLATE "C" NOT NULL,
    access_request_id      text COLLATE "C" NOT NULL
        CONSTRAINT "access_request.access_request_id is an id" CHECK (ambit.is_id(access_request_id)),
    user_id                text COLLATE "C" NOT NULL
        CONSTRAINT "access_request.user_id is an id" CHECK (ambit.is_id(user_id)),
    resource_type          text COLLATE "C" NOT NULL
        CONSTRAINT "access_request.resource_type is an id" CHECK (ambit.is_id(resource_type)),
    action                 text COLLATE "C" NOT NULL
        CONSTRAINT "access_request.action is an id" CHECK (ambit.is_id(action)),
    -- Of a request for one resource; a tool request has none.
    resource_id            text COLLATE "C"
        CONSTRAINT "access_request.resource_id is an id" CHECK (ambit.is_id(resource_id)),
    reason                 text NOT NULL
        CONSTRAINT "access_request.reason is 1 to 1000 characters" CHECK (char_length(reason) BETWEEN 1 AND 1000),
    -- The reason code of the denial that it was filed against.
    denied_as              text COLLATE "C" NOT NULL
        CONSTRAINT "access_request.denied_as is an id" CHECK (ambit.is_id(denied_as)),
    wanted_seconds         bigint
        CONSTRAINT "access_request.wanted_seconds is more than 0" CHECK (wanted_seconds > 0),
    origin_url             text
        CONSTRAINT "access_request.origin_url is 1 to 4096 characters"
        CHECK (char_length(origin_url) BETWEEN 1 AND 4096),
    filed_at               timestamptz NOT NULL
        CONSTRAINT "access_request.filed_at is a time" CHECK (ambit.is_time(filed_at)),
    expires_at             timestamptz NOT NULL
        CONSTRAINT "access_request.expires_at is a time" CHECK (ambit.is_time(expires_at)),
    state                  text COLLATE "C" NOT NULL
        CONSTRAINT "access_request.state is a state"
        CHECK (state IN ('pending', 'approved', 'denied', 'cancelled', 'expired', 'obsolete')),
    closed_at              timestamptz
        CONSTRAINT "access_request.closed_at is a time" CHECK (ambit.is_time(closed_at)),
    -- Empty where Ambit itself closed it.
    closed_by              text COLLATE "C"
        CONSTRAINT "access_request.closed_by is an id" CHECK (ambit.is_id(closed_by)),
    closing_note           text
        CONSTRAINT "access_request.closing_note is 1 to 4000 characters"
        CHECK (char_length(closing_note) BETWEEN 1 AND 4000),
    -- What an approval gave.
    resolution             text COLLATE "C",
    resolution_id          text COLLATE "C",
    resolution_type        text COLLATE "C",
    resolution_permission  text COLLATE "C",
    resolution_level       text COLLATE "C",
    resolution_unassigned  boolean,
    resolution_expires_at  timestamptz,
    PRIMARY KEY (account_id, access_request_id),
    CONSTRAINT "access_request.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE,
    CONSTRAINT "access_request is closed when it is not pending"
        CHECK ((closed_at IS NULL) = (state = 'pending')
            AND (state <> 'pending' OR num_nonnulls(closed_by, closing_note) = 0)),
    CONSTRAINT "access_request has a resolution when it is approved"
        CHECK ((resolution IS NULL) = (state <> 'approved')),
    CONSTRAINT "access_request.resolution fits its kind"
        CHECK (ambit.is_resolution(resolution, resolution_id, resolution_type, resolution_permission,
            resolution_level, resolution_unassigned, resolution_expires_at)),
    CONSTRAINT "R2: a user has one pending request for the same at most"
        EXCLUDE (account_id WITH =, user_id WITH =, resource_type WITH =, action WITH =,
            (coalesce(resource_id, '')) WITH =) WHERE (state = 'pending')
);
-- History grows, so whoever looks for a state or a user finds it by an index, in the order of ids.
CREATE INDEX access_request_by_state ON ambit.access_request (account_id, state, access_request_id);
CREATE INDEX access_request_by_user ON ambit.access_request (account_id, user_id, state, access_request_id);
CREATE INDEX access_request_by_expiry ON ambit.access_request (account_id, expires_at) WHERE state = 'pending';
CREATE INDEX access_request_denied ON ambit.access_request
    (account_id, user_id, resource_type, action, resource_id, closed_at) WHERE state = 'denied';

CREATE TABLE ambit.access_request_event (
    account_id             text COLLATE "C" NOT NULL,
    access_request_id      text COLLATE "C" NOT NULL,
    ordinal                integer NOT NULL,
    kind                   text COLLATE "C" NOT NULL
        CONSTRAINT "access_request_event.kind is a kind"
        CHECK (kind IN ('filed', 'approved', 'denied', 'cancelled', 'expired', 'obsolete', 'revoked')),
    at                     timestamptz NOT NULL
        CONSTRAINT "access_request_event.at is a time" CHECK (ambit.is_time(at)),
    -- Empty where Ambit itself acted.
    actor                  text COLLATE "C"
        CONSTRAINT "access_request_event.actor is an id" CHECK (ambit.is_id(actor)),
    from_state             text COLLATE "C",
    to_state               text COLLATE "C" NOT NULL,
    note                   text
        CONSTRAINT "access_request_event.note is 1 to 4000 characters" CHECK (char_length(note) BETWEEN 1 AND 4000),
    resolution             text COLLATE "C",
    resolution_id          text COLLATE "C",
    resolution_type        text COLLATE "C",
    resolution_permission  text COLLATE "C",
    resolution_level       text COLLATE "C",
    resolution_unassigned  boolean,
    resolution_expires_at  timestamptz,
    -- The check that led to it, and how it is answered since.
    reason_before          text COLLATE "C" NOT NULL
        CONSTRAINT "access_request_event.reason_before is an id" CHECK (ambit.is_id(reason_before)),
    reason_after           text COLLATE "C"
        CONSTRAINT "access_request_event.reason_after is an id" CHECK (ambit.is_id(reason_after)),
    PRIMARY KEY (account_id, access_request_id, ordinal),
    CONSTRAINT "access_request_event.access_request_id exists"
        FOREIGN KEY (account_id, access_request_id) REFERENCES ambit.access_request,
    CONSTRAINT "access_request_event.kind fits its states"
        CHECK ((ordinal = 0) = (kind = 'filed') AND ordinal >= 0 AND CASE kind
            WHEN 'filed' THEN from_state IS NULL AND to_state = 'pending'
            WHEN 'revoked' THEN from_state IS NOT NULL AND from_state = 'approved' AND to_state = 'approved'
            ELSE from_state IS NOT NULL AND from_state = 'pending' AND to_state = kind END),
    CONSTRAINT "access_request_event.resolution fits its kind"
        CHECK (ambit.is_resolution(resolution, resolution_id, resolution_type, resolution_permission,
            resolution_level, resolution_unassigned, resolution_expires_at))
);

-- Events that nobody has been told of yet: put by the event itself, taken out when it is fanned out.
CREATE TABLE ambit.access_request_outbox (
    account_id        text COLLATE "C" NOT NULL,
    access_request_id text COLLATE "C" NOT NULL,
    ordinal           integer NOT NULL,
    PRIMARY KEY (account_id, access_request_id, ordinal),
    CONSTRAINT "access_request_outbox.ordinal exists"
        FOREIGN KEY (account_id, access_request_id, ordinal) REFERENCES ambit.access_request_event
);

-- An event on its way to one destination.
CREATE TABLE ambit.access_request_delivery (
    account_id        text COLLATE "C" NOT NULL,
    access_request_id text COLLATE "C" NOT NULL,
    ordinal           integer NOT NULL,
    destination       text COLLATE "C" NOT NULL
        CONSTRAINT "access_request_delivery.destination is 1 to 300 bytes"
        CHECK (octet_length(destination) BETWEEN 1 AND 300),
    state             text COLLATE "C" NOT NULL DEFAULT 'pending'
        CONSTRAINT "access_request_delivery.state is pending, delivered or dead"
        CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts          integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at        timestamptz NOT NULL,
    next_attempt_at   timestamptz NOT NULL,
    -- Until when a server has it in hand; its next attempt waits for that.
    leased_until      timestamptz,
    settled_at        timestamptz,
    last_problem      text,
    PRIMARY KEY (account_id, access_request_id, ordinal, destination),
    CONSTRAINT "access_request_delivery.ordinal exists"
        FOREIGN KEY (account_id, access_request_id, ordinal) REFERENCES ambit.access_request_event,
    CONSTRAINT "access_request_delivery is settled when it is not pending"
        CHECK ((settled_at IS NULL) = (state = 'pending') AND (state = 'pending' OR leased_until IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX access_request_delivery_due ON ambit.access_request_delivery (next_attempt_at) WHERE state = 'pending';
CREATE INDEX access_request_delivery_settled ON ambit.access_request_delivery (settled_at) WHERE state <> 'pending';
CREATE INDEX access_request_delivery_by_state ON ambit.access_request_delivery
    (account_id, state, access_request_id, ordinal, destination);

-- Links of mails and webhooks that were used; forgotten once the link has expired.
CREATE TABLE ambit.spent_link (
    account_id text COLLATE "C" NOT NULL,
    link       bytea NOT NULL CHECK (octet_length(link) = 16),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, link),
    CONSTRAINT "spent_link.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE
);
CREATE INDEX spent_link_by_expiry ON ambit.spent_link (expires_at);

-- What a remembered write was about, e.g. the request that it filed.
ALTER TABLE ambit.idempotency ADD COLUMN answer text COLLATE "C";

-- The rules' texts, as in 0001.
DO $$
DECLARE
    rule record;
BEGIN
    FOR rule IN
        SELECT conrelid::regclass AS "table", conname AS name, CASE
            WHEN conname LIKE '% is an id'
                THEN replace(conname, ' is an id', ' is 1 to 256 bytes without control characters')
            WHEN conname LIKE '% is a time'
                THEN replace(conname, ' is a time', ' lies in the years 1 to 9999')
            WHEN conname LIKE '%.account_id exists'
                THEN 'dangling reference: the account of this row does not exist, insert it first'
            WHEN conname LIKE '%.access_request_id exists'
                THEN 'dangling reference: access_request_event.access_request_id is not an access request of the account'
            WHEN contype = 'f' THEN format('dangling reference: %s is not an event of the access request',
                replace(conname, ' exists', ''))
            WHEN conname = 'access_request.state is a state'
                THEN 'access_request.state is pending, approved, denied, cancelled, expired or obsolete'
            WHEN conname = 'access_request_event.kind is a kind'
                THEN 'access_request_event.kind is filed, approved, denied, cancelled, expired, obsolete or revoked'
            WHEN conname = 'access_request is closed when it is not pending'
                THEN 'access_request has closed_at when it is not pending, and only then closed_by and closing_note'
            WHEN conname LIKE '%.resolution fits its kind'
                THEN replace(conname, 'fits its kind',
                    'has the team, the permission set or the grant that its kind needs, and no other')
            WHEN conname = 'access_request_event.kind fits its states'
                THEN 'access_request_event.kind fits ordinal, from_state and to_state'
            END AS text
        FROM pg_constraint WHERE conrelid IN ('ambit.access_request'::regclass,
            'ambit.access_request_event'::regclass, 'ambit.access_request_outbox'::regclass,
            'ambit.access_request_delivery'::regclass, 'ambit.spent_link'::regclass)
    LOOP
        IF rule.text IS NOT NULL THEN
            EXECUTE format('COMMENT ON CONSTRAINT %I ON %s IS %L', rule.name, rule."table", rule.text);
        END IF;
    END LOOP;
END $$;

-- The log of requests, see 0002: the row is the entity.
ALTER TABLE ambit.change_log DROP CONSTRAINT change_log_kind_check;
ALTER TABLE ambit.change_log ADD CONSTRAINT change_log_kind_check
    CHECK (kind IN ('account', 'team', 'permission_set', 'user', 'access_group', 'segment', 'resource',
        'access_request', 'reload'));

CREATE FUNCTION ambit.log_access_request() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET datestyle = 'ISO, YMD' SET timezone = 'UTC' AS $$
DECLARE
    rows bigint := (SELECT count(*) FROM (SELECT FROM changed LIMIT 50001) AS first);
BEGIN
    IF rows = 0 THEN
        RETURN NULL;
    ELSIF rows > 50000 THEN
        WITH logged AS (
            INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                SELECT account_id, pg_current_xact_id(), 'reload', 'access_request', '{}'
                FROM changed GROUP BY account_id
                RETURNING account_id)
        INSERT INTO ambit.commit_pending (txid, account_id)
            SELECT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH different AS (
            SELECT account_id, access_request_id AS id, changed::text FROM changed
            EXCEPT ALL
            SELECT account_id, access_request_id, before::text FROM before),
        logged AS (
            INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                SELECT account_id, pg_current_xact_id(), 'access_request', '', array_agg(id)
                FROM (SELECT account_id, id, row_number() OVER (PARTITION BY account_id) / 1000 AS part
                    FROM (SELECT DISTINCT account_id, id FROM different) AS keys) AS parts
                GROUP BY account_id, part
                RETURNING account_id)
        INSERT INTO ambit.commit_pending (txid, account_id)
            SELECT DISTINCT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
    ELSE
        WITH logged AS (
            INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                SELECT account_id, pg_current_xact_id(), 'access_request', '', array_agg(access_request_id)
                FROM (SELECT account_id, access_request_id,
                        row_number() OVER (PARTITION BY account_id) / 1000 AS part
                    FROM changed) AS parts
                GROUP BY account_id, part
                RETURNING account_id)
        INSERT INTO ambit.commit_pending (txid, account_id)
            SELECT DISTINCT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER log_inserted AFTER INSERT ON ambit.access_request
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.log_access_request();
CREATE TRIGGER log_updated AFTER UPDATE ON ambit.access_request
    REFERENCING NEW TABLE AS changed OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.log_access_request();
CREATE TRIGGER log_deleted AFTER DELETE ON ambit.access_request
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.log_access_request();

-- The rules of the lifecycle. A trigger says which by its argument.
CREATE FUNCTION ambit.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = TG_ARGV[0];
END $$;

CREATE TRIGGER fixed_key BEFORE UPDATE ON ambit.access_request FOR EACH ROW
    WHEN (NEW.account_id IS DISTINCT FROM OLD.account_id
        OR NEW.access_request_id IS DISTINCT FROM OLD.access_request_id)
    EXECUTE FUNCTION ambit.refuse_key_change();
CREATE TRIGGER fixed_end BEFORE UPDATE ON ambit.access_request FOR EACH ROW
    WHEN (OLD.state <> 'pending' AND NEW IS DISTINCT FROM OLD)
    EXECUTE FUNCTION ambit.refuse('an access request that has ended never changes');
CREATE TRIGGER fixed_wish BEFORE UPDATE ON ambit.access_request FOR EACH ROW
    WHEN ((NEW.user_id, NEW.resource_type, NEW.action, NEW.resource_id, NEW.reason, NEW.denied_as,
            NEW.wanted_seconds, NEW.origin_url, NEW.filed_at, NEW.expires_at)
        IS DISTINCT FROM (OLD.user_id, OLD.resource_type, OLD.action, OLD.resource_id, OLD.reason,
            OLD.denied_as, OLD.wanted_seconds, OLD.origin_url, OLD.filed_at, OLD.expires_at))
    EXECUTE FUNCTION ambit.refuse('what an access request is for never changes, who it is from neither');
CREATE TRIGGER begins_pending AFTER INSERT ON ambit.access_request FOR EACH ROW
    WHEN (NEW.state <> 'pending')
    EXECUTE FUNCTION ambit.refuse('an access request begins as pending');
CREATE TRIGGER kept BEFORE DELETE ON ambit.access_request FOR EACH STATEMENT
    WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION ambit.refuse('an access request goes with its account only');

CREATE TRIGGER fixed BEFORE UPDATE ON ambit.access_request_event FOR EACH STATEMENT
    EXECUTE FUNCTION ambit.refuse('an event of an access request never changes');
CREATE TRIGGER kept BEFORE DELETE ON ambit.access_request_event FOR EACH STATEMENT
    WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION ambit.refuse('an event of an access request goes with its account only');

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ambit.access_request
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.refuse_truncate();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ambit.access_request_event
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.refuse_truncate();

-- An event comes after the one before it, tells of the state that its request has, and is at once an
-- entry of the outbox.
CREATE FUNCTION ambit.record_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.ordinal > 0 AND NOT EXISTS (SELECT 1 FROM ambit.access_request_event AS earlier
            WHERE earlier.account_id = NEW.account_id AND earlier.access_request_id = NEW.access_request_id
                AND earlier.ordinal = NEW.ordinal - 1) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = 'the events of an access request are counted from 0 without a gap';
    END IF;
    IF NEW.to_state IS DISTINCT FROM (SELECT state FROM ambit.access_request AS request
            WHERE request.account_id = NEW.account_id AND request.access_request_id = NEW.access_request_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = 'an event tells of the state that its access request has';
    END IF;
    INSERT INTO ambit.access_request_outbox (account_id, access_request_id, ordinal)
        VALUES (NEW.account_id, NEW.access_request_id, NEW.ordinal);
    RETURN NULL;
END $$;

CREATE TRIGGER recorded AFTER INSERT ON ambit.access_request_event
    FOR EACH ROW EXECUTE FUNCTION ambit.record_event();

-- Beside ambit.empty_account: table by table rather than row by row.
CREATE FUNCTION ambit.empty_account_of_requests() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM ambit.spent_link WHERE account_id = OLD.account_id;
    DELETE FROM ambit.access_request_delivery WHERE account_id = OLD.account_id;
    DELETE FROM ambit.access_request_outbox WHERE account_id = OLD.account_id;
    DELETE FROM ambit.access_request_event WHERE account_id = OLD.account_id;
    DELETE FROM ambit.access_request WHERE account_id = OLD.account_id;
    RETURN OLD;
END $$;

CREATE TRIGGER emptied_of_requests BEFORE DELETE ON ambit.account
    FOR EACH ROW EXECUTE FUNCTION ambit.empty_account_of_requests();

REVOKE EXECUTE ON FUNCTION ambit.is_resolution(text, text, text, text, text, boolean, timestamptz),
    ambit.log_access_request(), ambit.refuse(), ambit.record_event(), ambit.empty_account_of_requests() FROM PUBLIC;
-- What a check calls must be open to whoever writes the row.
GRANT EXECUTE ON FUNCTION ambit.is_resolution(text, text, text, text, text, boolean, timestamptz) TO PUBLIC;

-- A version of before follows this schema: a change of a request is a kind that it does not know, for
-- which it reads the account anew.
UPDATE ambit.store_identity SET schema_version = 4, compatible_from = 3;
