-- Memberships of teams and permission sets that say where they come from and when they end, beside
-- user_team and user_permission_set; and where mail to a user goes.

-- The last of the columns, as its check wants it: one @ with something on both sides.
ALTER TABLE app_user ADD COLUMN email TEXT
    CONSTRAINT "app_user.email is 3 to 254 bytes with one @ between a name and a host, without spaces and control characters"
    CHECK (length(CAST(email AS BLOB)) BETWEEN 3 AND 254 AND instr(email, char(0)) = 0
        AND email NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')
        AND instr(email, ' ') = 0 AND email GLOB '?*@?*'
        AND length(email) - length(replace(email, '@', '')) = 1);

CREATE TABLE user_membership (
    account_id TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    kind       TEXT NOT NULL
        CONSTRAINT "user_membership.kind is team or permission_set" CHECK (kind IN ('team', 'permission_set')),
    id         TEXT NOT NULL,
    provenance TEXT NOT NULL DEFAULT 'manual'
        CONSTRAINT "user_membership.provenance is manual, default, segment:ID, import:ID, form:ID or request:ID"
        CHECK (provenance IN ('manual', 'default')
            OR (substr(provenance, 1, instr(provenance, ':')) IN ('segment:', 'import:', 'form:', 'request:')
                AND length(CAST(substr(provenance, instr(provenance, ':') + 1) AS BLOB)) BETWEEN 1 AND 256
                AND instr(provenance, char(0)) = 0
                AND provenance NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'))),
    expires_at INTEGER
        CONSTRAINT "user_membership.expires_at lies in the years 1 to 9999"
        CHECK (expires_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- Kept after that user is gone, so no reference.
    granted_by TEXT
        CONSTRAINT "user_membership.granted_by is 1 to 256 bytes without control characters"
        CHECK (length(CAST(granted_by AS BLOB)) BETWEEN 1 AND 256 AND instr(granted_by, char(0)) = 0
            AND granted_by NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    PRIMARY KEY (account_id, user_id, kind, id, provenance)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_membership_by_id ON user_membership (account_id, kind, id);

-- The log, see 0002: a row belongs to its user.

CREATE TRIGGER user_membership_inserted_log AFTER INSERT ON user_membership BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_membership_updated_log AFTER UPDATE ON user_membership BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_membership_deleted_log AFTER DELETE ON user_membership BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', OLD.user_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

-- The rules, see 0003.

CREATE TRIGGER user_membership_inserted_rules AFTER INSERT ON user_membership BEGIN
    SELECT RAISE(ABORT, 'dangling reference: user_membership.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
    SELECT RAISE(ABORT, 'dangling reference: user_membership.id is not a team of the account')
        WHERE NEW.kind = 'team'
            AND NOT EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.id);
    SELECT RAISE(ABORT, 'dangling reference: user_membership.id is not a permission set of the account')
        WHERE NEW.kind = 'permission_set'
            AND NOT EXISTS (SELECT 1 FROM permission_set WHERE account_id = NEW.account_id AND permission_set_id = NEW.id);
END;

CREATE TRIGGER user_membership_updated_rules AFTER UPDATE ON user_membership BEGIN
    SELECT RAISE(ABORT, 'dangling reference: user_membership.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
    SELECT RAISE(ABORT, 'dangling reference: user_membership.id is not a team of the account')
        WHERE NEW.kind = 'team'
            AND NOT EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.id);
    SELECT RAISE(ABORT, 'dangling reference: user_membership.id is not a permission set of the account')
        WHERE NEW.kind = 'permission_set'
            AND NOT EXISTS (SELECT 1 FROM permission_set WHERE account_id = NEW.account_id AND permission_set_id = NEW.id);
END;

CREATE TRIGGER user_membership_fixed_key BEFORE UPDATE OF account_id, user_id ON user_membership
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.user_id IS NOT OLD.user_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of user_membership never changes: delete the row and insert another');
END;

-- What goes with an entity that is deleted (P11), beside the triggers of 0003. Within an account that
-- is itself being deleted nothing cascades; its own deletion takes everything.

CREATE TRIGGER team_deleted_memberships AFTER DELETE ON team
    WHEN (SELECT writing FROM account_head WHERE account_id = OLD.account_id) <> 3 BEGIN
    DELETE FROM user_membership WHERE account_id = OLD.account_id AND kind = 'team' AND id = OLD.team_id;
END;

CREATE TRIGGER permission_set_deleted_memberships AFTER DELETE ON permission_set
    WHEN (SELECT writing FROM account_head WHERE account_id = OLD.account_id) <> 3 BEGIN
    DELETE FROM user_membership
        WHERE account_id = OLD.account_id AND kind = 'permission_set' AND id = OLD.permission_set_id;
END;

CREATE TRIGGER app_user_deleted_memberships AFTER DELETE ON app_user
    WHEN (SELECT writing FROM account_head WHERE account_id = OLD.account_id) <> 3 BEGIN
    DELETE FROM user_membership WHERE account_id = OLD.account_id AND user_id = OLD.user_id;
END;

-- Before or after the rest of the account goes: what its log triggers write goes along, or finds no
-- head to write to.
CREATE TRIGGER account_deleted_memberships AFTER DELETE ON account BEGIN
    DELETE FROM user_membership WHERE account_id = OLD.account_id;
END;
