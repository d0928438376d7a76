-- What the grant ceiling kept and withheld of a write (D3): rights, the first of each, and how many.
ALTER TABLE audit_record ADD COLUMN ceiling TEXT CHECK (ceiling IS NULL OR json_valid(ceiling));

-- D9, as in 0016: a partner user whose partnership has ended can do nothing any more, and so stands
-- for nobody.
DROP TRIGGER app_user_updated_super_admins;
DROP TRIGGER app_user_deleted_super_admins;
DROP TRIGGER app_user_replaced_super_admins;
DROP TRIGGER account_head_written_super_admins;
DROP VIEW super_admin_standing;

-- Active super admins, or else an active account owner.
CREATE VIEW super_admin_standing AS
    SELECT account_id, user_id FROM app_user
        WHERE super_admin = 1 AND status = 'active' AND (kind = 'internal' OR partnership IS NOT 'ended')
    UNION ALL
    SELECT account_id, user_id FROM app_user
        WHERE account_owner = 1 AND status = 'active' AND (kind = 'internal' OR partnership IS NOT 'ended');

CREATE TRIGGER app_user_updated_super_admins AFTER UPDATE OF status, super_admin, kind, partnership ON app_user
    WHEN OLD.super_admin = 1 AND OLD.status = 'active' AND (OLD.kind = 'internal' OR OLD.partnership IS NOT 'ended')
        AND NOT (NEW.super_admin = 1 AND NEW.status = 'active' AND (NEW.kind = 'internal' OR NEW.partnership IS NOT 'ended'))
        AND NOT EXISTS (SELECT 1 FROM super_admin_standing WHERE account_id = OLD.account_id)
BEGIN
    INSERT INTO super_admin_missing SELECT account_id FROM account_head
        WHERE account_id = OLD.account_id AND writing <> 0
            AND NOT EXISTS (SELECT 1 FROM super_admin_missing WHERE account_id = OLD.account_id);
    SELECT RAISE(ABORT, 'D9: the account would be left without an active super admin; make another user one first')
        WHERE NOT EXISTS (SELECT 1 FROM super_admin_missing WHERE account_id = OLD.account_id);
END;

CREATE TRIGGER app_user_deleted_super_admins AFTER DELETE ON app_user
    WHEN OLD.super_admin = 1 AND OLD.status = 'active' AND (OLD.kind = 'internal' OR OLD.partnership IS NOT 'ended')
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
    WHEN NOT (NEW.status = 'active' AND (NEW.super_admin = 1 OR NEW.account_owner = 1)
            AND (NEW.kind = 'internal' OR NEW.partnership IS NOT 'ended'))
        AND EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id
            AND status = 'active' AND super_admin = 1 AND (kind = 'internal' OR partnership IS NOT 'ended'))
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
