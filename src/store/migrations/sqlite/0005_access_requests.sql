-- Access requests, what happened to them, and who is still to be told.
--
-- A request is an entity of its account like any other: its changes are logged and take revisions.
-- It refers to its account alone, since it outlives the user, the resource and whatever else it
-- names. Who it is from and what it is for never changes; what has ended never changes at all; its
-- events are only added to. All of it goes with the account and with nothing else.
--
-- INSERT OR REPLACE fires no trigger for the row that it removes, so what it may put over is looked
-- at before.

CREATE TABLE access_request (
    account_id            TEXT NOT NULL,
    access_request_id     TEXT NOT NULL
        CONSTRAINT "access_request.access_request_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(access_request_id AS BLOB)) BETWEEN 1 AND 256 AND instr(access_request_id, char(0)) = 0
            AND access_request_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    user_id               TEXT NOT NULL
        CONSTRAINT "access_request.user_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(user_id AS BLOB)) BETWEEN 1 AND 256 AND instr(user_id, char(0)) = 0
            AND user_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    resource_type         TEXT NOT NULL
        CONSTRAINT "access_request.resource_type is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resource_type AS BLOB)) BETWEEN 1 AND 256 AND instr(resource_type, char(0)) = 0
            AND resource_type NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    action                TEXT NOT NULL
        CONSTRAINT "access_request.action is 1 to 256 bytes without control characters"
        CHECK (length(CAST(action AS BLOB)) BETWEEN 1 AND 256 AND instr(action, char(0)) = 0
            AND action NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    -- Of a request for one resource; a tool request has none.
    resource_id           TEXT
        CONSTRAINT "access_request.resource_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resource_id AS BLOB)) BETWEEN 1 AND 256 AND instr(resource_id, char(0)) = 0
            AND resource_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    reason                TEXT NOT NULL
        CONSTRAINT "access_request.reason is 1 to 1000 characters" CHECK (length(reason) BETWEEN 1 AND 1000),
    -- The reason code of the denial that it was filed against.
    denied_as             TEXT NOT NULL
        CONSTRAINT "access_request.denied_as is 1 to 256 bytes without control characters"
        CHECK (length(CAST(denied_as AS BLOB)) BETWEEN 1 AND 256 AND instr(denied_as, char(0)) = 0
            AND denied_as NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    wanted_seconds        INTEGER
        CONSTRAINT "access_request.wanted_seconds is more than 0" CHECK (wanted_seconds > 0),
    origin_url            TEXT
        CONSTRAINT "access_request.origin_url is 1 to 4096 characters" CHECK (length(origin_url) BETWEEN 1 AND 4096),
    filed_at              INTEGER NOT NULL
        CONSTRAINT "access_request.filed_at lies in the years 1 to 9999"
        CHECK (filed_at BETWEEN -62135596800000000 AND 253402300799999999),
    expires_at            INTEGER NOT NULL
        CONSTRAINT "access_request.expires_at lies in the years 1 to 9999"
        CHECK (expires_at BETWEEN -62135596800000000 AND 253402300799999999),
    state                 TEXT NOT NULL
        CONSTRAINT "access_request.state is pending, approved, denied, cancelled, expired or obsolete"
        CHECK (state IN ('pending', 'approved', 'denied', 'cancelled', 'expired', 'obsolete')),
    closed_at             INTEGER
        CONSTRAINT "access_request.closed_at lies in the years 1 to 9999"
        CHECK (closed_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- Empty where Ambit itself closed it.
    closed_by             TEXT
        CONSTRAINT "access_request.closed_by is 1 to 256 bytes without control characters"
        CHECK (length(CAST(closed_by AS BLOB)) BETWEEN 1 AND 256 AND instr(closed_by, char(0)) = 0
            AND closed_by NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    closing_note          TEXT
        CONSTRAINT "access_request.closing_note is 1 to 4000 characters" CHECK (length(closing_note) BETWEEN 1 AND 4000),
    -- What an approval gave.
    resolution            TEXT,
    resolution_id         TEXT
        CONSTRAINT "access_request.resolution_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resolution_id AS BLOB)) BETWEEN 1 AND 256 AND instr(resolution_id, char(0)) = 0
            AND resolution_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    resolution_type       TEXT
        CONSTRAINT "access_request.resolution_type is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resolution_type AS BLOB)) BETWEEN 1 AND 256 AND instr(resolution_type, char(0)) = 0
            AND resolution_type NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    resolution_permission TEXT
        CONSTRAINT "access_request.resolution_permission is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resolution_permission AS BLOB)) BETWEEN 1 AND 256 AND instr(resolution_permission, char(0)) = 0
            AND resolution_permission NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    resolution_level      TEXT,
    resolution_unassigned INTEGER,
    resolution_expires_at INTEGER
        CONSTRAINT "access_request.resolution_expires_at lies in the years 1 to 9999"
        CHECK (resolution_expires_at BETWEEN -62135596800000000 AND 253402300799999999),
    PRIMARY KEY (account_id, access_request_id),
    CONSTRAINT "access_request has closed_at when it is not pending, and only then closed_by and closing_note"
        CHECK ((closed_at IS NULL) = (state = 'pending')
            AND (state <> 'pending' OR coalesce(closed_by, closing_note) IS NULL)),
    CONSTRAINT "access_request has a resolution when it is approved"
        CHECK ((resolution IS NULL) = (state <> 'approved')),
    CONSTRAINT "access_request.resolution has the team, the permission set or the grant that its kind needs, and no other"
        CHECK (CASE
            WHEN resolution IS NULL THEN coalesce(resolution_id, resolution_type, resolution_permission,
                resolution_level, resolution_unassigned, resolution_expires_at) IS NULL
            WHEN resolution IN ('object_grant', 'assign_to_user') THEN coalesce(resolution_id, resolution_type,
                resolution_permission, resolution_level, resolution_unassigned) IS NULL
            WHEN resolution IN ('assign_to_team', 'permission_set', 'add_to_team') THEN resolution_id IS NOT NULL
                AND coalesce(resolution_type, resolution_permission, resolution_level, resolution_unassigned) IS NULL
            WHEN resolution IN ('direct_grant', 'raise_level') THEN resolution_id IS NULL
                AND resolution_type IS NOT NULL AND resolution_permission IS NOT NULL
                AND coalesce(resolution_level, '') IN ('none', 'owned', 'team', 'everything')
                AND coalesce(resolution_unassigned, 2) IN (0, 1)
            ELSE 0 END)
) STRICT, WITHOUT ROWID;
-- History grows, so whoever looks for a state or a user finds it by an index, in the order of ids.
CREATE INDEX access_request_by_state ON access_request (account_id, state, access_request_id);
CREATE INDEX access_request_by_user ON access_request (account_id, user_id, state, access_request_id);
CREATE INDEX access_request_by_expiry ON access_request (account_id, expires_at) WHERE state = 'pending';
CREATE INDEX access_request_denied ON access_request
    (account_id, user_id, resource_type, action, resource_id, closed_at) WHERE state = 'denied';

CREATE TABLE access_request_event (
    account_id            TEXT NOT NULL,
    access_request_id     TEXT NOT NULL,
    ordinal               INTEGER NOT NULL,
    kind                  TEXT NOT NULL
        CONSTRAINT "access_request_event.kind is filed, approved, denied, cancelled, expired, obsolete or revoked"
        CHECK (kind IN ('filed', 'approved', 'denied', 'cancelled', 'expired', 'obsolete', 'revoked')),
    at                    INTEGER NOT NULL
        CONSTRAINT "access_request_event.at lies in the years 1 to 9999"
        CHECK (at BETWEEN -62135596800000000 AND 253402300799999999),
    -- Empty where Ambit itself acted.
    actor                 TEXT
        CONSTRAINT "access_request_event.actor is 1 to 256 bytes without control characters"
        CHECK (length(CAST(actor AS BLOB)) BETWEEN 1 AND 256 AND instr(actor, char(0)) = 0
            AND actor NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    from_state            TEXT,
    to_state              TEXT NOT NULL,
    note                  TEXT
        CONSTRAINT "access_request_event.note is 1 to 4000 characters" CHECK (length(note) BETWEEN 1 AND 4000),
    resolution            TEXT,
    resolution_id         TEXT
        CONSTRAINT "access_request_event.resolution_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resolution_id AS BLOB)) BETWEEN 1 AND 256 AND instr(resolution_id, char(0)) = 0
            AND resolution_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    resolution_type       TEXT
        CONSTRAINT "access_request_event.resolution_type is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resolution_type AS BLOB)) BETWEEN 1 AND 256 AND instr(resolution_type, char(0)) = 0
            AND resolution_type NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    resolution_permission TEXT
        CONSTRAINT "access_request_event.resolution_permission is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resolution_permission AS BLOB)) BETWEEN 1 AND 256 AND instr(resolution_permission, char(0)) = 0
            AND resolution_permission NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    resolution_level      TEXT,
    resolution_unassigned INTEGER,
    resolution_expires_at INTEGER
        CONSTRAINT "access_request_event.resolution_expires_at lies in the years 1 to 9999"
        CHECK (resolution_expires_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- The check that led to it, and how it is answered since.
    reason_before         TEXT NOT NULL
        CONSTRAINT "access_request_event.reason_before is 1 to 256 bytes without control characters"
        CHECK (length(CAST(reason_before AS BLOB)) BETWEEN 1 AND 256 AND instr(reason_before, char(0)) = 0
            AND reason_before NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    reason_after          TEXT
        CONSTRAINT "access_request_event.reason_after is 1 to 256 bytes without control characters"
        CHECK (length(CAST(reason_after AS BLOB)) BETWEEN 1 AND 256 AND instr(reason_after, char(0)) = 0
            AND reason_after NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    PRIMARY KEY (account_id, access_request_id, ordinal),
    CONSTRAINT "access_request_event.kind fits ordinal, from_state and to_state"
        CHECK ((ordinal = 0) = (kind = 'filed') AND ordinal BETWEEN 0 AND 2147483647 AND CASE kind
            WHEN 'filed' THEN from_state IS NULL AND to_state = 'pending'
            WHEN 'revoked' THEN from_state IS 'approved' AND to_state = 'approved'
            ELSE from_state IS 'pending' AND to_state = kind END),
    CONSTRAINT "access_request_event.resolution has the team, the permission set or the grant that its kind needs, and no other"
        CHECK (CASE
            WHEN resolution IS NULL THEN coalesce(resolution_id, resolution_type, resolution_permission,
                resolution_level, resolution_unassigned, resolution_expires_at) IS NULL
            WHEN resolution IN ('object_grant', 'assign_to_user') THEN coalesce(resolution_id, resolution_type,
                resolution_permission, resolution_level, resolution_unassigned) IS NULL
            WHEN resolution IN ('assign_to_team', 'permission_set', 'add_to_team') THEN resolution_id IS NOT NULL
                AND coalesce(resolution_type, resolution_permission, resolution_level, resolution_unassigned) IS NULL
            WHEN resolution IN ('direct_grant', 'raise_level') THEN resolution_id IS NULL
                AND resolution_type IS NOT NULL AND resolution_permission IS NOT NULL
                AND coalesce(resolution_level, '') IN ('none', 'owned', 'team', 'everything')
                AND coalesce(resolution_unassigned, 2) IN (0, 1)
            ELSE 0 END)
) STRICT, WITHOUT ROWID;

-- Events that nobody has been told of yet: put by the event itself, taken out when it is fanned out.
CREATE TABLE access_request_outbox (
    account_id        TEXT NOT NULL,
    access_request_id TEXT NOT NULL,
    ordinal           INTEGER NOT NULL,
    PRIMARY KEY (account_id, access_request_id, ordinal)
) STRICT, WITHOUT ROWID;

-- An event on its way to one destination.
CREATE TABLE access_request_delivery (
    account_id        TEXT NOT NULL,
    access_request_id TEXT NOT NULL,
    ordinal           INTEGER NOT NULL,
    destination       TEXT NOT NULL
        CONSTRAINT "access_request_delivery.destination is 1 to 300 bytes"
        CHECK (length(CAST(destination AS BLOB)) BETWEEN 1 AND 300),
    state             TEXT NOT NULL DEFAULT 'pending'
        CONSTRAINT "access_request_delivery.state is pending, delivered or dead"
        CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts          INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at        INTEGER NOT NULL,
    next_attempt_at   INTEGER NOT NULL,
    -- Until when a server has it in hand; its next attempt waits for that.
    leased_until      INTEGER,
    settled_at        INTEGER,
    last_problem      TEXT,
    PRIMARY KEY (account_id, access_request_id, ordinal, destination),
    CONSTRAINT "access_request_delivery is settled when it is not pending"
        CHECK ((settled_at IS NULL) = (state = 'pending') AND (state = 'pending' OR leased_until IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX access_request_delivery_due ON access_request_delivery (next_attempt_at) WHERE state = 'pending';
CREATE INDEX access_request_delivery_settled ON access_request_delivery (settled_at) WHERE state <> 'pending';
CREATE INDEX access_request_delivery_by_state ON access_request_delivery
    (account_id, state, access_request_id, ordinal, destination);

-- Links of mails and webhooks that were used; forgotten once the link has expired.
CREATE TABLE spent_link (
    account_id TEXT NOT NULL,
    link       BLOB NOT NULL CHECK (length(link) = 16),
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, link)
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_link_by_expiry ON spent_link (expires_at);

-- What a remembered write was about, e.g. the request that it filed.
ALTER TABLE idempotency ADD COLUMN answer TEXT;

-- One more kind in the log. Made anew, since a check can't be changed.
CREATE TABLE change_log_before AS SELECT * FROM change_log;
DROP TABLE change_log;
CREATE TABLE change_log (
    account_id    TEXT NOT NULL,
    revision      INTEGER NOT NULL,
    kind          TEXT NOT NULL
        CHECK (kind IN ('account', 'team', 'permission_set', 'user', 'access_group', 'segment', 'resource',
            'access_request', 'reload')),
    resource_type TEXT NOT NULL,
    id            TEXT NOT NULL,
    PRIMARY KEY (account_id, revision, kind, resource_type, id)
) STRICT, WITHOUT ROWID;
INSERT INTO change_log (account_id, revision, kind, resource_type, id)
    SELECT account_id, revision, kind, resource_type, id FROM change_log_before;
DROP TABLE change_log_before;

CREATE TRIGGER access_request_inserted_log AFTER INSERT ON access_request BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'access_request', '', NEW.access_request_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER access_request_updated_log AFTER UPDATE ON access_request BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'access_request', '', NEW.access_request_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER access_request_deleted_log AFTER DELETE ON access_request BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'access_request', '', OLD.access_request_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER access_request_replaced_rules BEFORE INSERT ON access_request BEGIN
    SELECT RAISE(ABORT, 'an access request that has ended never changes')
        WHERE EXISTS (SELECT 1 FROM access_request AS old WHERE old.account_id = NEW.account_id
            AND old.access_request_id = NEW.access_request_id AND old.state <> 'pending');
    SELECT RAISE(ABORT, 'what an access request is for never changes, who it is from neither')
        WHERE EXISTS (SELECT 1 FROM access_request AS old WHERE old.account_id = NEW.account_id
            AND old.access_request_id = NEW.access_request_id
            AND (old.user_id IS NOT NEW.user_id
                OR old.resource_type IS NOT NEW.resource_type
                OR old.action IS NOT NEW.action
                OR old.resource_id IS NOT NEW.resource_id
                OR old.reason IS NOT NEW.reason
                OR old.denied_as IS NOT NEW.denied_as
                OR old.wanted_seconds IS NOT NEW.wanted_seconds
                OR old.origin_url IS NOT NEW.origin_url
                OR old.filed_at IS NOT NEW.filed_at
                OR old.expires_at IS NOT NEW.expires_at));
END;

CREATE TRIGGER access_request_inserted_rules AFTER INSERT ON access_request BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
    SELECT RAISE(ABORT, 'an access request begins as pending') WHERE NEW.state <> 'pending';
    SELECT RAISE(ABORT, 'R2: a user has one pending request for the same at most')
        WHERE EXISTS (SELECT 1 FROM access_request AS other WHERE other.account_id = NEW.account_id
            AND other.user_id = NEW.user_id AND other.state = 'pending'
            AND other.access_request_id <> NEW.access_request_id
            AND other.resource_type = NEW.resource_type AND other.action = NEW.action
            AND other.resource_id IS NEW.resource_id);
END;

CREATE TRIGGER access_request_fixed_key BEFORE UPDATE OF account_id, access_request_id ON access_request
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.access_request_id IS NOT OLD.access_request_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of access_request never changes: delete the row and insert another');
END;

CREATE TRIGGER access_request_fixed_end BEFORE UPDATE ON access_request WHEN OLD.state <> 'pending' BEGIN
    SELECT RAISE(ABORT, 'an access request that has ended never changes');
END;

CREATE TRIGGER access_request_fixed_wish BEFORE UPDATE ON access_request
    WHEN NEW.user_id IS NOT OLD.user_id OR NEW.resource_type IS NOT OLD.resource_type OR NEW.action IS NOT OLD.action
        OR NEW.resource_id IS NOT OLD.resource_id OR NEW.reason IS NOT OLD.reason OR NEW.denied_as IS NOT OLD.denied_as
        OR NEW.wanted_seconds IS NOT OLD.wanted_seconds OR NEW.origin_url IS NOT OLD.origin_url
        OR NEW.filed_at IS NOT OLD.filed_at OR NEW.expires_at IS NOT OLD.expires_at BEGIN
    SELECT RAISE(ABORT, 'what an access request is for never changes, who it is from neither');
END;

CREATE TRIGGER access_request_kept BEFORE DELETE ON access_request
    WHEN EXISTS (SELECT 1 FROM account WHERE account_id = OLD.account_id) BEGIN
    SELECT RAISE(ABORT, 'an access request goes with its account only');
END;

CREATE TRIGGER access_request_event_replaced_rules BEFORE INSERT ON access_request_event
    WHEN EXISTS (SELECT 1 FROM access_request_event WHERE account_id = NEW.account_id
        AND access_request_id = NEW.access_request_id AND ordinal = NEW.ordinal) BEGIN
    SELECT RAISE(ABORT, 'an event of an access request never changes');
END;

-- An event comes after the one before it, tells of the state that its request has, and is at once an
-- entry of the outbox.
CREATE TRIGGER access_request_event_inserted_rules AFTER INSERT ON access_request_event BEGIN
    SELECT RAISE(ABORT, 'dangling reference: access_request_event.access_request_id is not an access request of the account')
        WHERE NOT EXISTS (SELECT 1 FROM access_request WHERE account_id = NEW.account_id
            AND access_request_id = NEW.access_request_id);
    SELECT RAISE(ABORT, 'the events of an access request are counted from 0 without a gap')
        WHERE NEW.ordinal > 0 AND NOT EXISTS (SELECT 1 FROM access_request_event WHERE account_id = NEW.account_id
            AND access_request_id = NEW.access_request_id AND ordinal = NEW.ordinal - 1);
    SELECT RAISE(ABORT, 'an event tells of the state that its access request has')
        WHERE NOT EXISTS (SELECT 1 FROM access_request WHERE account_id = NEW.account_id
            AND access_request_id = NEW.access_request_id AND state = NEW.to_state);
    INSERT INTO access_request_outbox (account_id, access_request_id, ordinal)
        VALUES (NEW.account_id, NEW.access_request_id, NEW.ordinal) ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER access_request_event_fixed BEFORE UPDATE ON access_request_event BEGIN
    SELECT RAISE(ABORT, 'an event of an access request never changes');
END;

CREATE TRIGGER access_request_event_kept BEFORE DELETE ON access_request_event
    WHEN EXISTS (SELECT 1 FROM account WHERE account_id = OLD.account_id) BEGIN
    SELECT RAISE(ABORT, 'an event of an access request goes with its account only');
END;

CREATE TRIGGER spent_link_inserted_rules AFTER INSERT ON spent_link BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
END;

-- Beside account_deleted_cascade, in whatever order the two run.
CREATE TRIGGER account_deleted_requests AFTER DELETE ON account BEGIN
    UPDATE account_head SET writing = 3 WHERE account_id = OLD.account_id;
    DELETE FROM spent_link WHERE account_id = OLD.account_id;
    DELETE FROM access_request_delivery WHERE account_id = OLD.account_id;
    DELETE FROM access_request_outbox WHERE account_id = OLD.account_id;
    DELETE FROM access_request_event WHERE account_id = OLD.account_id;
    DELETE FROM access_request WHERE account_id = OLD.account_id;
END;
