-- Every change of a row takes a revision of its account and logs the key of its entity, whoever
-- makes it. A plain SQL writer takes a revision a row; our own transaction takes one at its
-- beginning and says so in account_head.writing.
--
-- ON CONFLICT DO NOTHING rather than OR IGNORE: the latter is overridden by the conflict clause of
-- the statement that fires the trigger.

CREATE TRIGGER account_head_inserted AFTER INSERT ON account_head BEGIN
    INSERT INTO revision_log (account_id, revision, nonce, at)
        VALUES (NEW.account_id, NEW.revision, NEW.nonce,
            CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000);
END;

CREATE TRIGGER account_head_moved AFTER UPDATE OF revision ON account_head WHEN NEW.revision <> OLD.revision BEGIN
    INSERT INTO revision_log (account_id, revision, nonce, at)
        VALUES (NEW.account_id, NEW.revision, NEW.nonce,
            CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000);
END;

-- A revision that is no longer kept takes its keys along.
CREATE TRIGGER revision_log_trimmed AFTER DELETE ON revision_log BEGIN
    DELETE FROM change_log WHERE account_id = OLD.account_id AND revision = OLD.revision;
END;

CREATE TRIGGER account_inserted_log AFTER INSERT ON account BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    -- Nothing to bump: a new account, which begins at revision 1.
    INSERT INTO account_head (account_id, revision, nonce)
        VALUES (NEW.account_id, 1, randomblob(8)) ON CONFLICT DO NOTHING;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'account', '', '' FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER account_updated_log AFTER UPDATE ON account BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'account', '', '' FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER account_setting_inserted_log AFTER INSERT ON account_setting BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'account', '', '' FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER account_setting_updated_log AFTER UPDATE ON account_setting BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'account', '', '' FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER account_setting_deleted_log AFTER DELETE ON account_setting BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'account', '', '' FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER team_inserted_log AFTER INSERT ON team BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'team', '', NEW.team_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER team_updated_log AFTER UPDATE ON team BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'team', '', NEW.team_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER team_deleted_log AFTER DELETE ON team BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'team', '', OLD.team_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER permission_set_inserted_log AFTER INSERT ON permission_set BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'permission_set', '', NEW.permission_set_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER permission_set_updated_log AFTER UPDATE ON permission_set BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'permission_set', '', NEW.permission_set_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER permission_set_deleted_log AFTER DELETE ON permission_set BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'permission_set', '', OLD.permission_set_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER permission_set_grant_inserted_log AFTER INSERT ON permission_set_grant BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'permission_set', '', NEW.permission_set_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER permission_set_grant_updated_log AFTER UPDATE ON permission_set_grant BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'permission_set', '', NEW.permission_set_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER permission_set_grant_deleted_log AFTER DELETE ON permission_set_grant BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'permission_set', '', OLD.permission_set_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER app_user_inserted_log AFTER INSERT ON app_user BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER app_user_updated_log AFTER UPDATE ON app_user BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER app_user_deleted_log AFTER DELETE ON app_user BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', OLD.user_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_team_inserted_log AFTER INSERT ON user_team BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_team_updated_log AFTER UPDATE ON user_team BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_team_deleted_log AFTER DELETE ON user_team BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', OLD.user_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_seat_inserted_log AFTER INSERT ON user_seat BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_seat_updated_log AFTER UPDATE ON user_seat BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_seat_deleted_log AFTER DELETE ON user_seat BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', OLD.user_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_permission_set_inserted_log AFTER INSERT ON user_permission_set BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_permission_set_updated_log AFTER UPDATE ON user_permission_set BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_permission_set_deleted_log AFTER DELETE ON user_permission_set BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', OLD.user_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_grant_inserted_log AFTER INSERT ON user_grant BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_grant_updated_log AFTER UPDATE ON user_grant BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_grant_deleted_log AFTER DELETE ON user_grant BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', OLD.user_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER object_grant_inserted_log AFTER INSERT ON object_grant BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER object_grant_updated_log AFTER UPDATE ON object_grant BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', NEW.user_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER object_grant_deleted_log AFTER DELETE ON object_grant BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'user', '', OLD.user_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER access_group_inserted_log AFTER INSERT ON access_group BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'access_group', '', NEW.access_group_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER access_group_updated_log AFTER UPDATE ON access_group BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'access_group', '', NEW.access_group_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER access_group_deleted_log AFTER DELETE ON access_group BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'access_group', '', OLD.access_group_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER access_group_member_inserted_log AFTER INSERT ON access_group_member BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'access_group', '', NEW.access_group_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER access_group_member_updated_log AFTER UPDATE ON access_group_member BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'access_group', '', NEW.access_group_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER access_group_member_deleted_log AFTER DELETE ON access_group_member BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'access_group', '', OLD.access_group_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER segment_inserted_log AFTER INSERT ON segment BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'segment', '', NEW.segment_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER segment_updated_log AFTER UPDATE ON segment BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'segment', '', NEW.segment_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER segment_deleted_log AFTER DELETE ON segment BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'segment', '', OLD.segment_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER segment_target_inserted_log AFTER INSERT ON segment_target BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'segment', '', NEW.segment_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER segment_target_updated_log AFTER UPDATE ON segment_target BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'segment', '', NEW.segment_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER segment_target_deleted_log AFTER DELETE ON segment_target BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'segment', '', OLD.segment_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER resource_inserted_log AFTER INSERT ON resource BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', NEW.resource_type, NEW.resource_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER resource_updated_log AFTER UPDATE ON resource BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', NEW.resource_type, NEW.resource_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER resource_deleted_log AFTER DELETE ON resource BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', OLD.resource_type, OLD.resource_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER resource_attributes_inserted_log AFTER INSERT ON resource_attributes BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', NEW.resource_type, NEW.resource_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER resource_attributes_updated_log AFTER UPDATE ON resource_attributes BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', NEW.resource_type, NEW.resource_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER resource_attributes_deleted_log AFTER DELETE ON resource_attributes BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', OLD.resource_type, OLD.resource_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER resource_owner_inserted_log AFTER INSERT ON resource_owner BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', NEW.resource_type, NEW.resource_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER resource_owner_updated_log AFTER UPDATE ON resource_owner BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', NEW.resource_type, NEW.resource_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER resource_owner_deleted_log AFTER DELETE ON resource_owner BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', OLD.resource_type, OLD.resource_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER assignment_inserted_log AFTER INSERT ON assignment BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', NEW.resource_type, NEW.resource_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER assignment_updated_log AFTER UPDATE ON assignment BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = NEW.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', NEW.resource_type, NEW.resource_id FROM account_head
        WHERE account_id = NEW.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER assignment_deleted_log AFTER DELETE ON assignment BEGIN
    UPDATE account_head SET revision = revision + 1, nonce = randomblob(8)
        WHERE account_id = OLD.account_id AND writing = 0;
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'resource', OLD.resource_type, OLD.resource_id FROM account_head
        WHERE account_id = OLD.account_id AND writing < 2 ON CONFLICT DO NOTHING;
END;
