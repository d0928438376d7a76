-- What happens between agencies and their clients, for those who are told of it (S4.6): with an outbox
-- and deliveries of the same form as those of access requests.

-- Told in both of the accounts, in each as a row of its own, counted from 0 for each other account.
CREATE TABLE partner_event (
    account_id     TEXT NOT NULL,
    -- The other account, so no reference.
    counterpart    TEXT NOT NULL,
    ordinal        INTEGER NOT NULL CHECK (ordinal >= 0),
    -- Where account_id stands.
    side           TEXT NOT NULL CHECK (side IN ('agency', 'client')),
    kind           TEXT NOT NULL CHECK (kind IN ('link_approved', 'staff_added', 'staff_changed', 'staff_removed',
        'staff_deactivated', 'staff_reactivated', 'admin_migrated', 'partnership_ended')),
    at             INTEGER NOT NULL CHECK (at BETWEEN -62135596800000000 AND 253402300799999999),
    -- The user of account_id who did it, where it was one.
    actor          TEXT,
    -- Whom it is about, as the agency and as the client know them.
    partner_user   TEXT,
    client_user    TEXT,
    role           TEXT,
    permission_set TEXT,
    link_id        TEXT,
    PRIMARY KEY (account_id, counterpart, ordinal),
    CHECK ((partner_user IS NULL) = (client_user IS NULL) AND (partner_user IS NULL) = (role IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX partner_event_by_age ON partner_event (at);

-- Events that nobody has been told of yet: put by the event itself, taken out when it is fanned out.
CREATE TABLE partner_outbox (
    account_id  TEXT NOT NULL,
    counterpart TEXT NOT NULL,
    ordinal     INTEGER NOT NULL,
    PRIMARY KEY (account_id, counterpart, ordinal)
) STRICT, WITHOUT ROWID;

-- An event on its way to one destination.
CREATE TABLE partner_delivery (
    account_id      TEXT NOT NULL,
    counterpart     TEXT NOT NULL,
    ordinal         INTEGER NOT NULL,
    destination     TEXT NOT NULL CHECK (length(CAST(destination AS BLOB)) BETWEEN 1 AND 300),
    state           TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts        INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at      INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    -- Until when a server has it in hand; its next attempt waits for that.
    leased_until    INTEGER,
    settled_at      INTEGER,
    last_problem    TEXT,
    PRIMARY KEY (account_id, counterpart, ordinal, destination),
    CHECK ((settled_at IS NULL) = (state = 'pending') AND (state = 'pending' OR leased_until IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX partner_delivery_due ON partner_delivery (next_attempt_at) WHERE state = 'pending';
CREATE INDEX partner_delivery_settled ON partner_delivery (settled_at) WHERE state <> 'pending';
CREATE INDEX partner_delivery_by_state ON partner_delivery
    (account_id, state, counterpart, ordinal, destination);

CREATE TRIGGER partner_event_inserted_rules AFTER INSERT ON partner_event BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
    INSERT INTO partner_outbox (account_id, counterpart, ordinal)
        VALUES (NEW.account_id, NEW.counterpart, NEW.ordinal);
END;

CREATE TRIGGER account_deleted_partner_events AFTER DELETE ON account BEGIN
    DELETE FROM partner_delivery WHERE account_id = OLD.account_id;
    DELETE FROM partner_outbox WHERE account_id = OLD.account_id;
    DELETE FROM partner_event WHERE account_id = OLD.account_id;
END;
