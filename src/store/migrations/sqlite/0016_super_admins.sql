-- D9: an account that has an active super admin keeps one, whoever writes. Nothing here waits for
-- COMMIT, so a plain SQL writer makes another user super admin first; a write of the server, which
-- says when it is done, is judged then. The catalog, which says whether an account owner may stand
-- alone, is not known here: the server asks it, and to plain SQL an active account owner is enough.
-- With the account everything of it goes.

CREATE INDEX app_user_super_admins ON app_user (account_id) WHERE super_admin = 1 AND status = 'active';

-- Accounts that a write of the server has left without one on its way; empty outside of it.
CREATE TABLE super_admin_missing (
    account_id TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Active super admins, or else an active account owner.
CREATE VIEW super_admin_standing AS
    SELECT account_id, user_id FROM app_user WHERE super_admin = 1 AND status = 'active'
    UNION ALL
    SELECT account_id, user_id FROM app_user WHERE account_owner = 1 AND status = 'active';

CREATE TRIGGER app_user_updated_super_admins AFTER UPDATE OF status, super_admin ON app_user
    WHEN OLD.super_admin = 1 AND OLD.status = 'active' AND NOT (NEW.super_admin = 1 AND NEW.status = 'active')
        AND NOT EXISTS (SELECT 1 FROM super_admin_standing WHERE account_id = OLD.account_id)
BEGIN
    INSERT INTO super_admin_missing SELECT account_id FROM account_head
        WHERE account_id = OLD.account_id AND writing <> 0
            AND NOT EXISTS (SELECT 1 FROM super_admin_missing WHERE account_id = OLD.account_id);
    SELECT RAISE(ABORT, 'D9: the account would be left without an active super admin; make another user one first')
        WHERE NOT EXISTS (SELECT 1 FROM super_admin_missing WHERE account_id = OLD.account_id);
END;

CREATE TRIGGER app_user_deleted_super_admins AFTER DELETE ON app_user
    WHEN OLD.super_admin = 1 AND OLD.status = 'active'
        AND EXISTS (SELECT 1 FROM account WHERE account_id = OLD.account_id)
        AND NOT EXISTS (SELECT 1 FROM super_admin_standing WHERE account_id = OLD.account_id)
BEGIN
    INSERT INTO super_admin_missing SELECT account_id FROM account_head
        WHERE account_id = OLD.account_id AND writing <> 0
            AND NOT EXISTS (SELECT 1 FROM super_admin_missing WHERE account_id = OLD.account_id);
    SELECT RAISE(ABORT, 'D9: the account would be left without an active super admin; make another user one first')
        WHERE NOT EXISTS (SELECT 1 FROM super_admin_missing WHERE account_id = OLD.account_id);
END;

-- INSERT OR REPLACE deletes what is there, and no trigger hears of it.
CREATE TRIGGER app_user_replaced_super_admins BEFORE INSERT ON app_user
    WHEN NOT (NEW.status = 'active' AND (NEW.super_admin = 1 OR NEW.account_owner = 1))
        AND EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id
            AND status = 'active' AND super_admin = 1)
        AND NOT EXISTS (SELECT 1 FROM super_admin_standing
            WHERE account_id = NEW.account_id AND user_id <> NEW.user_id)
BEGIN
    INSERT INTO super_admin_missing SELECT account_id FROM account_head
        WHERE account_id = NEW.account_id AND writing <> 0
            AND NOT EXISTS (SELECT 1 FROM super_admin_missing WHERE account_id = NEW.account_id);
    SELECT RAISE(ABORT, 'D9: the account would be left without an active super admin; make another user one first')
        WHERE NOT EXISTS (SELECT 1 FROM super_admin_missing WHERE account_id = NEW.account_id);
END;

CREATE TRIGGER account_head_written_super_admins AFTER UPDATE OF writing ON account_head
    WHEN NEW.writing = 0 AND OLD.writing <> 0
        AND EXISTS (SELECT 1 FROM super_admin_missing WHERE account_id = NEW.account_id)
BEGIN
    SELECT RAISE(ABORT, 'D9: the account would be left without an active super admin; make another user one first')
        WHERE NOT EXISTS (SELECT 1 FROM super_admin_standing WHERE account_id = NEW.account_id);
    DELETE FROM super_admin_missing WHERE account_id = NEW.account_id;
END;
