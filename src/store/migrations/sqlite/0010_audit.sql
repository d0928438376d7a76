-- Who changed what: one record of each revision, written by the transaction that takes it, whoever
-- that is. It outlives the account.
--
-- Our own transaction writes its record itself and says so: in account_head.writing while it changes
-- an account, in audit_author while it makes or deletes one. Of any other writer nothing is known but
-- that it is one.

CREATE TABLE audit_record (
    -- Never used twice, so that a reader that goes on after one misses nothing.
    ordinal         INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id      TEXT NOT NULL,
    -- Where the account stood after it; 0: it is gone.
    revision        INTEGER NOT NULL CHECK (revision >= 0),
    -- `noted`: something happened to an access request that changed nothing of the account.
    effect          TEXT NOT NULL CHECK (effect IN ('created', 'changed', 'noted', 'deleted')),
    at              INTEGER NOT NULL,
    -- Who called; null: the server asks nobody who they are.
    caller          TEXT,
    -- The user of the account in whose name it was.
    actor           TEXT,
    method          TEXT,
    idempotency_key TEXT,
    request_id      TEXT,
    -- The first of what changed: k kind, t resource type, i id, d whether it is gone.
    entities        TEXT NOT NULL,
    -- How many of each kind changed.
    counts          TEXT NOT NULL,
    -- More changed than is counted.
    is_partial      INTEGER NOT NULL CHECK (is_partial IN (0, 1))
) STRICT;
CREATE INDEX audit_record_by_account ON audit_record (account_id, ordinal);
CREATE INDEX audit_record_by_age ON audit_record (at);

-- Accounts that our own transaction is making or deleting; empty but within it.
CREATE TABLE audit_author (
    account_id TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Before which moment records may go; empty but within the transaction that trims.
CREATE TABLE audit_trim (
    before INTEGER NOT NULL
) STRICT;

-- A row of the change log comes with each revision that a plain writer takes. While an account goes,
-- what is logged on the way goes too.
CREATE TRIGGER change_log_audited AFTER INSERT ON change_log
    WHEN EXISTS (SELECT 1 FROM account_head WHERE account_id = NEW.account_id AND writing = 0)
        AND EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id)
        AND NOT EXISTS (SELECT 1 FROM audit_author WHERE account_id = NEW.account_id) BEGIN
    INSERT INTO audit_record (account_id, revision, effect, at, caller, entities, counts, is_partial)
        VALUES (NEW.account_id, NEW.revision, CASE NEW.revision WHEN 1 THEN 'created' ELSE 'changed' END,
            CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000, 'sql',
            json_array(json_object('k', NEW.kind, 't', NEW.resource_type, 'i', NEW.id, 'd',
                json(CASE WHEN CASE NEW.kind
                    WHEN 'team' THEN EXISTS (SELECT 1 FROM team AS e
                        WHERE e.account_id = NEW.account_id AND e.team_id = NEW.id)
                    WHEN 'permission_set' THEN EXISTS (SELECT 1 FROM permission_set AS e
                        WHERE e.account_id = NEW.account_id AND e.permission_set_id = NEW.id)
                    WHEN 'user' THEN EXISTS (SELECT 1 FROM app_user AS e
                        WHERE e.account_id = NEW.account_id AND e.user_id = NEW.id)
                    WHEN 'access_group' THEN EXISTS (SELECT 1 FROM access_group AS e
                        WHERE e.account_id = NEW.account_id AND e.access_group_id = NEW.id)
                    WHEN 'segment' THEN EXISTS (SELECT 1 FROM segment AS e
                        WHERE e.account_id = NEW.account_id AND e.segment_id = NEW.id)
                    WHEN 'resource' THEN EXISTS (SELECT 1 FROM resource AS e
                        WHERE e.account_id = NEW.account_id AND e.resource_type = NEW.resource_type
                            AND e.resource_id = NEW.id)
                    ELSE true END THEN 'false' ELSE 'true' END))),
            json_object(NEW.kind, 1), 0);
END;

CREATE TRIGGER account_deleted_audited AFTER DELETE ON account
    WHEN NOT EXISTS (SELECT 1 FROM audit_author WHERE account_id = OLD.account_id) BEGIN
    INSERT INTO audit_record (account_id, revision, effect, at, caller, entities, counts, is_partial)
        VALUES (OLD.account_id, 0, 'deleted',
            CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000, 'sql',
            '[{"k":"account","t":"","i":"","d":true}]', '{"account":1}', 0);
END;

CREATE TRIGGER audit_record_fixed BEFORE UPDATE ON audit_record BEGIN
    SELECT RAISE(ABORT, 'a record of the audit never changes');
END;

CREATE TRIGGER audit_record_replaced BEFORE INSERT ON audit_record
    WHEN EXISTS (SELECT 1 FROM audit_record WHERE ordinal = NEW.ordinal) BEGIN
    SELECT RAISE(ABORT, 'a record of the audit never changes');
END;

-- What is younger than a day is not even trimmed.
CREATE TRIGGER audit_record_kept BEFORE DELETE ON audit_record
    WHEN NOT EXISTS (SELECT 1 FROM audit_trim WHERE before > OLD.at)
        OR OLD.at > CAST((julianday('now') - 2440588.5) * 86400000 AS INTEGER) * 1000 BEGIN
    SELECT RAISE(ABORT, 'a record of the audit goes by its age only');
END;
