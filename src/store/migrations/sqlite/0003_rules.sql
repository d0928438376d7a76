-- What no writer may store, with or without foreign keys switched on. The messages name the rule,
-- since they are what a plain SQL writer is told.
--
-- The checks come after the row, so that an upsert runs those of what it really does. What can't
-- be prevented (a check that a session has switched off) is survived by whoever reads.

CREATE TRIGGER account_setting_inserted_rules AFTER INSERT ON account_setting BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
END;

-- A team without children is nobody's ancestor, so only the others walk up; UNION ends the walk on a
-- cycle that was stored regardless.
CREATE TRIGGER team_inserted_rules AFTER INSERT ON team BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
    SELECT RAISE(ABORT, 'dangling reference: team.parent is not a team of the account')
        WHERE NEW.parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.parent);
    SELECT RAISE(ABORT, 'P11: a team cannot be its own ancestor')
        WHERE NEW.parent = NEW.team_id
            OR (EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND parent = NEW.team_id)
                AND NEW.team_id IN (
                    WITH RECURSIVE above(team_id) AS (
                        SELECT NEW.parent
                        UNION
                        SELECT t.parent FROM above JOIN team AS t
                            ON t.account_id = NEW.account_id AND t.team_id = above.team_id
                            WHERE t.parent IS NOT NULL)
                    SELECT team_id FROM above));
END;

CREATE TRIGGER team_updated_rules AFTER UPDATE OF parent ON team WHEN NEW.parent IS NOT OLD.parent BEGIN
    SELECT RAISE(ABORT, 'dangling reference: team.parent is not a team of the account')
        WHERE NEW.parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.parent);
    SELECT RAISE(ABORT, 'P11: a team cannot be its own ancestor')
        WHERE NEW.parent = NEW.team_id
            OR (EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND parent = NEW.team_id)
                AND NEW.team_id IN (
                    WITH RECURSIVE above(team_id) AS (
                        SELECT NEW.parent
                        UNION
                        SELECT t.parent FROM above JOIN team AS t
                            ON t.account_id = NEW.account_id AND t.team_id = above.team_id
                            WHERE t.parent IS NOT NULL)
                    SELECT team_id FROM above));
END;

CREATE TRIGGER permission_set_inserted_rules AFTER INSERT ON permission_set BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
END;

CREATE TRIGGER access_group_inserted_rules AFTER INSERT ON access_group BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
END;

CREATE TRIGGER segment_inserted_rules AFTER INSERT ON segment BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
END;

CREATE TRIGGER app_user_inserted_rules AFTER INSERT ON app_user BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
    SELECT RAISE(ABORT, 'dangling reference: app_user.main_team is not a team of the account')
        WHERE NEW.main_team IS NOT NULL AND NOT EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.main_team);
    SELECT RAISE(ABORT, 'an account has at most one account owner')
        WHERE NEW.account_owner = 1 AND EXISTS (SELECT 1 FROM app_user
            WHERE account_id = NEW.account_id AND account_owner = 1 AND user_id <> NEW.user_id);
END;

CREATE TRIGGER app_user_updated_rules AFTER UPDATE OF main_team, account_owner ON app_user BEGIN
    SELECT RAISE(ABORT, 'dangling reference: app_user.main_team is not a team of the account')
        WHERE NEW.main_team IS NOT NULL AND NOT EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.main_team);
    SELECT RAISE(ABORT, 'an account has at most one account owner')
        WHERE NEW.account_owner = 1 AND EXISTS (SELECT 1 FROM app_user
            WHERE account_id = NEW.account_id AND account_owner = 1 AND user_id <> NEW.user_id);
END;

CREATE TRIGGER permission_set_grant_inserted_rules AFTER INSERT ON permission_set_grant BEGIN
    SELECT RAISE(ABORT, 'dangling reference: permission_set_grant.permission_set_id is not a permission set of the account')
        WHERE NOT EXISTS (SELECT 1 FROM permission_set WHERE account_id = NEW.account_id AND permission_set_id = NEW.permission_set_id);
END;

CREATE TRIGGER permission_set_grant_updated_rules AFTER UPDATE ON permission_set_grant BEGIN
    SELECT RAISE(ABORT, 'dangling reference: permission_set_grant.permission_set_id is not a permission set of the account')
        WHERE NOT EXISTS (SELECT 1 FROM permission_set WHERE account_id = NEW.account_id AND permission_set_id = NEW.permission_set_id);
END;

CREATE TRIGGER user_team_inserted_rules AFTER INSERT ON user_team BEGIN
    SELECT RAISE(ABORT, 'dangling reference: user_team.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
    SELECT RAISE(ABORT, 'dangling reference: user_team.team_id is not a team of the account')
        WHERE NOT EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.team_id);
END;

CREATE TRIGGER user_team_updated_rules AFTER UPDATE ON user_team BEGIN
    SELECT RAISE(ABORT, 'dangling reference: user_team.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
    SELECT RAISE(ABORT, 'dangling reference: user_team.team_id is not a team of the account')
        WHERE NOT EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.team_id);
END;

CREATE TRIGGER user_seat_inserted_rules AFTER INSERT ON user_seat BEGIN
    SELECT RAISE(ABORT, 'dangling reference: user_seat.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
END;

CREATE TRIGGER user_seat_updated_rules AFTER UPDATE ON user_seat BEGIN
    SELECT RAISE(ABORT, 'dangling reference: user_seat.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
END;

CREATE TRIGGER user_permission_set_inserted_rules AFTER INSERT ON user_permission_set BEGIN
    SELECT RAISE(ABORT, 'dangling reference: user_permission_set.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
    SELECT RAISE(ABORT, 'dangling reference: user_permission_set.permission_set_id is not a permission set of the account')
        WHERE NOT EXISTS (SELECT 1 FROM permission_set WHERE account_id = NEW.account_id AND permission_set_id = NEW.permission_set_id);
END;

CREATE TRIGGER user_permission_set_updated_rules AFTER UPDATE ON user_permission_set BEGIN
    SELECT RAISE(ABORT, 'dangling reference: user_permission_set.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
    SELECT RAISE(ABORT, 'dangling reference: user_permission_set.permission_set_id is not a permission set of the account')
        WHERE NOT EXISTS (SELECT 1 FROM permission_set WHERE account_id = NEW.account_id AND permission_set_id = NEW.permission_set_id);
END;

CREATE TRIGGER user_grant_inserted_rules AFTER INSERT ON user_grant BEGIN
    SELECT RAISE(ABORT, 'dangling reference: user_grant.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
END;

CREATE TRIGGER user_grant_updated_rules AFTER UPDATE ON user_grant BEGIN
    SELECT RAISE(ABORT, 'dangling reference: user_grant.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
END;

CREATE TRIGGER object_grant_inserted_rules AFTER INSERT ON object_grant BEGIN
    SELECT RAISE(ABORT, 'dangling reference: object_grant.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
    SELECT RAISE(ABORT, 'dangling reference: object_grant names a resource that the account does not have')
        WHERE NOT EXISTS (SELECT 1 FROM resource WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type AND resource_id = NEW.resource_id);
END;

CREATE TRIGGER object_grant_updated_rules AFTER UPDATE ON object_grant BEGIN
    SELECT RAISE(ABORT, 'dangling reference: object_grant.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
    SELECT RAISE(ABORT, 'dangling reference: object_grant names a resource that the account does not have')
        WHERE NOT EXISTS (SELECT 1 FROM resource WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type AND resource_id = NEW.resource_id);
END;

CREATE TRIGGER access_group_member_inserted_rules AFTER INSERT ON access_group_member BEGIN
    SELECT RAISE(ABORT, 'dangling reference: access_group_member.access_group_id is not an access group of the account')
        WHERE NOT EXISTS (SELECT 1 FROM access_group WHERE account_id = NEW.account_id AND access_group_id = NEW.access_group_id);
    SELECT RAISE(ABORT, 'dangling reference: access_group_member.principal_id is not a user or team of the account')
        WHERE NOT CASE NEW.principal_kind
            WHEN 'user' THEN EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.principal_id)
            ELSE EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.principal_id) END;
    SELECT RAISE(ABORT, 'access_group_member.actions is a JSON array of actions, each 1 to 256 bytes without control characters')
        WHERE EXISTS (SELECT 1 FROM json_each(NEW.actions) WHERE type <> 'text'
            OR length(CAST(value AS BLOB)) NOT BETWEEN 1 AND 256 OR instr(value, char(0)) > 0
            OR value GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'));
END;

CREATE TRIGGER access_group_member_updated_rules AFTER UPDATE ON access_group_member BEGIN
    SELECT RAISE(ABORT, 'dangling reference: access_group_member.access_group_id is not an access group of the account')
        WHERE NOT EXISTS (SELECT 1 FROM access_group WHERE account_id = NEW.account_id AND access_group_id = NEW.access_group_id);
    SELECT RAISE(ABORT, 'dangling reference: access_group_member.principal_id is not a user or team of the account')
        WHERE NOT CASE NEW.principal_kind
            WHEN 'user' THEN EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.principal_id)
            ELSE EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.principal_id) END;
    SELECT RAISE(ABORT, 'access_group_member.actions is a JSON array of actions, each 1 to 256 bytes without control characters')
        WHERE EXISTS (SELECT 1 FROM json_each(NEW.actions) WHERE type <> 'text'
            OR length(CAST(value AS BLOB)) NOT BETWEEN 1 AND 256 OR instr(value, char(0)) > 0
            OR value GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'));
END;

CREATE TRIGGER segment_target_inserted_rules AFTER INSERT ON segment_target BEGIN
    SELECT RAISE(ABORT, 'dangling reference: segment_target.segment_id is not a segment of the account')
        WHERE NOT EXISTS (SELECT 1 FROM segment WHERE account_id = NEW.account_id AND segment_id = NEW.segment_id);
    SELECT RAISE(ABORT, 'dangling reference: segment_target.principal_id is not a user, team or access group of the account')
        WHERE NOT CASE NEW.principal_kind
            WHEN 'user' THEN EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.principal_id)
            WHEN 'team' THEN EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.principal_id)
            ELSE EXISTS (SELECT 1 FROM access_group WHERE account_id = NEW.account_id AND access_group_id = NEW.principal_id) END;
END;

CREATE TRIGGER segment_target_updated_rules AFTER UPDATE ON segment_target BEGIN
    SELECT RAISE(ABORT, 'dangling reference: segment_target.segment_id is not a segment of the account')
        WHERE NOT EXISTS (SELECT 1 FROM segment WHERE account_id = NEW.account_id AND segment_id = NEW.segment_id);
    SELECT RAISE(ABORT, 'dangling reference: segment_target.principal_id is not a user, team or access group of the account')
        WHERE NOT CASE NEW.principal_kind
            WHEN 'user' THEN EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.principal_id)
            WHEN 'team' THEN EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.principal_id)
            ELSE EXISTS (SELECT 1 FROM access_group WHERE account_id = NEW.account_id AND access_group_id = NEW.principal_id) END;
END;

CREATE TRIGGER resource_inserted_rules AFTER INSERT ON resource BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
    SELECT RAISE(ABORT, 'dangling reference: resource.owning_team is not a team of the account')
        WHERE NEW.owning_team IS NOT NULL AND NOT EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.owning_team);
    SELECT RAISE(ABORT, '3.5: a resource with assignments is partitioned; delete all of them to unpartition it')
        WHERE NEW.partitioned = 0 AND EXISTS (SELECT 1 FROM assignment WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type AND resource_id = NEW.resource_id);
END;

CREATE TRIGGER resource_updated_rules AFTER UPDATE OF owning_team, partitioned ON resource BEGIN
    SELECT RAISE(ABORT, 'dangling reference: resource.owning_team is not a team of the account')
        WHERE NEW.owning_team IS NOT NULL AND NOT EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.owning_team);
    SELECT RAISE(ABORT, '3.5: a resource with assignments is partitioned; delete all of them to unpartition it')
        WHERE NEW.partitioned = 0 AND EXISTS (SELECT 1 FROM assignment WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type AND resource_id = NEW.resource_id);
END;

CREATE TRIGGER resource_attributes_inserted_rules AFTER INSERT ON resource_attributes BEGIN
    SELECT RAISE(ABORT, 'dangling reference: resource_attributes names a resource that the account does not have')
        WHERE NOT EXISTS (SELECT 1 FROM resource WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type AND resource_id = NEW.resource_id);
END;

CREATE TRIGGER resource_attributes_updated_rules AFTER UPDATE ON resource_attributes BEGIN
    SELECT RAISE(ABORT, 'dangling reference: resource_attributes names a resource that the account does not have')
        WHERE NOT EXISTS (SELECT 1 FROM resource WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type AND resource_id = NEW.resource_id);
END;

CREATE TRIGGER resource_owner_inserted_rules AFTER INSERT ON resource_owner BEGIN
    SELECT RAISE(ABORT, 'dangling reference: resource_owner names a resource that the account does not have')
        WHERE NOT EXISTS (SELECT 1 FROM resource WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type AND resource_id = NEW.resource_id);
    SELECT RAISE(ABORT, 'dangling reference: resource_owner.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
END;

CREATE TRIGGER resource_owner_updated_rules AFTER UPDATE ON resource_owner BEGIN
    SELECT RAISE(ABORT, 'dangling reference: resource_owner names a resource that the account does not have')
        WHERE NOT EXISTS (SELECT 1 FROM resource WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type AND resource_id = NEW.resource_id);
    SELECT RAISE(ABORT, 'dangling reference: resource_owner.user_id is not an user of the account')
        WHERE NOT EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.user_id);
END;

-- 3.5: the first assignment partitions; nothing that takes assignments away opens the resource again.
CREATE TRIGGER assignment_inserted_rules AFTER INSERT ON assignment BEGIN
    SELECT RAISE(ABORT, 'dangling reference: assignment names a resource that the account does not have')
        WHERE NOT EXISTS (SELECT 1 FROM resource WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type AND resource_id = NEW.resource_id);
    SELECT RAISE(ABORT, 'dangling reference: assignment.principal_id is not a user, team or access group of the account')
        WHERE NOT CASE NEW.principal_kind
            WHEN 'user' THEN EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.principal_id)
            WHEN 'team' THEN EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.principal_id)
            ELSE EXISTS (SELECT 1 FROM access_group WHERE account_id = NEW.account_id AND access_group_id = NEW.principal_id) END;
    UPDATE resource SET partitioned = 1
        WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type
            AND resource_id = NEW.resource_id AND partitioned = 0;
END;

CREATE TRIGGER assignment_updated_rules AFTER UPDATE ON assignment BEGIN
    SELECT RAISE(ABORT, 'dangling reference: assignment names a resource that the account does not have')
        WHERE NOT EXISTS (SELECT 1 FROM resource WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type AND resource_id = NEW.resource_id);
    SELECT RAISE(ABORT, 'dangling reference: assignment.principal_id is not a user, team or access group of the account')
        WHERE NOT CASE NEW.principal_kind
            WHEN 'user' THEN EXISTS (SELECT 1 FROM app_user WHERE account_id = NEW.account_id AND user_id = NEW.principal_id)
            WHEN 'team' THEN EXISTS (SELECT 1 FROM team WHERE account_id = NEW.account_id AND team_id = NEW.principal_id)
            ELSE EXISTS (SELECT 1 FROM access_group WHERE account_id = NEW.account_id AND access_group_id = NEW.principal_id) END;
    UPDATE resource SET partitioned = 1
        WHERE account_id = NEW.account_id AND resource_type = NEW.resource_type
            AND resource_id = NEW.resource_id AND partitioned = 0;
END;

-- Ids never change, neither do the entities that a row belongs to: only so is every change logged
-- under the key of the entity that it concerns.

CREATE TRIGGER account_fixed_key BEFORE UPDATE OF account_id ON account
    WHEN NEW.account_id IS NOT OLD.account_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of account never changes: delete the row and insert another');
END;

CREATE TRIGGER account_setting_fixed_key BEFORE UPDATE OF account_id ON account_setting
    WHEN NEW.account_id IS NOT OLD.account_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of account_setting never changes: delete the row and insert another');
END;

CREATE TRIGGER team_fixed_key BEFORE UPDATE OF account_id, team_id ON team
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.team_id IS NOT OLD.team_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of team never changes: delete the row and insert another');
END;

CREATE TRIGGER permission_set_fixed_key BEFORE UPDATE OF account_id, permission_set_id ON permission_set
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.permission_set_id IS NOT OLD.permission_set_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of permission_set never changes: delete the row and insert another');
END;

CREATE TRIGGER permission_set_grant_fixed_key BEFORE UPDATE OF account_id, permission_set_id ON permission_set_grant
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.permission_set_id IS NOT OLD.permission_set_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of permission_set_grant never changes: delete the row and insert another');
END;

CREATE TRIGGER app_user_fixed_key BEFORE UPDATE OF account_id, user_id ON app_user
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.user_id IS NOT OLD.user_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of app_user never changes: delete the row and insert another');
END;

CREATE TRIGGER user_team_fixed_key BEFORE UPDATE OF account_id, user_id ON user_team
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.user_id IS NOT OLD.user_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of user_team never changes: delete the row and insert another');
END;

CREATE TRIGGER user_seat_fixed_key BEFORE UPDATE OF account_id, user_id ON user_seat
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.user_id IS NOT OLD.user_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of user_seat never changes: delete the row and insert another');
END;

CREATE TRIGGER user_permission_set_fixed_key BEFORE UPDATE OF account_id, user_id ON user_permission_set
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.user_id IS NOT OLD.user_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of user_permission_set never changes: delete the row and insert another');
END;

CREATE TRIGGER user_grant_fixed_key BEFORE UPDATE OF account_id, user_id ON user_grant
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.user_id IS NOT OLD.user_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of user_grant never changes: delete the row and insert another');
END;

CREATE TRIGGER object_grant_fixed_key BEFORE UPDATE OF account_id, user_id ON object_grant
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.user_id IS NOT OLD.user_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of object_grant never changes: delete the row and insert another');
END;

CREATE TRIGGER access_group_fixed_key BEFORE UPDATE OF account_id, access_group_id ON access_group
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.access_group_id IS NOT OLD.access_group_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of access_group never changes: delete the row and insert another');
END;

CREATE TRIGGER access_group_member_fixed_key BEFORE UPDATE OF account_id, access_group_id ON access_group_member
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.access_group_id IS NOT OLD.access_group_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of access_group_member never changes: delete the row and insert another');
END;

CREATE TRIGGER segment_fixed_key BEFORE UPDATE OF account_id, segment_id ON segment
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.segment_id IS NOT OLD.segment_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of segment never changes: delete the row and insert another');
END;

CREATE TRIGGER segment_target_fixed_key BEFORE UPDATE OF account_id, segment_id ON segment_target
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.segment_id IS NOT OLD.segment_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of segment_target never changes: delete the row and insert another');
END;

CREATE TRIGGER resource_fixed_key BEFORE UPDATE OF account_id, resource_type, resource_id ON resource
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.resource_type IS NOT OLD.resource_type OR NEW.resource_id IS NOT OLD.resource_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of resource never changes: delete the row and insert another');
END;

CREATE TRIGGER resource_attributes_fixed_key BEFORE UPDATE OF account_id, resource_type, resource_id ON resource_attributes
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.resource_type IS NOT OLD.resource_type OR NEW.resource_id IS NOT OLD.resource_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of resource_attributes never changes: delete the row and insert another');
END;

CREATE TRIGGER resource_owner_fixed_key BEFORE UPDATE OF account_id, resource_type, resource_id ON resource_owner
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.resource_type IS NOT OLD.resource_type OR NEW.resource_id IS NOT OLD.resource_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of resource_owner never changes: delete the row and insert another');
END;

CREATE TRIGGER assignment_fixed_key BEFORE UPDATE OF account_id, resource_type, resource_id ON assignment
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.resource_type IS NOT OLD.resource_type OR NEW.resource_id IS NOT OLD.resource_id BEGIN
    SELECT RAISE(ABORT, 'the key of a row of assignment never changes: delete the row and insert another');
END;

CREATE TRIGGER account_head_fixed BEFORE UPDATE ON account_head
    WHEN NEW.account_id IS NOT OLD.account_id OR NEW.revision NOT IN (OLD.revision, OLD.revision + 1)
        OR (NEW.revision = OLD.revision) <> (NEW.nonce = OLD.nonce) BEGIN
    SELECT RAISE(ABORT, 'a revision moves by one with each change and is never set');
END;

CREATE TRIGGER account_head_without_account BEFORE INSERT ON account_head
    WHEN NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id) BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first');
END;

CREATE TRIGGER account_head_kept BEFORE DELETE ON account_head
    WHEN EXISTS (SELECT 1 FROM account WHERE account_id = OLD.account_id) BEGIN
    SELECT RAISE(ABORT, 'the head of an account goes with the account');
END;

-- What goes with an entity that is deleted (P11). Within an account that is itself being deleted
-- nothing cascades, since everything goes.

CREATE TRIGGER team_deleted_cascade AFTER DELETE ON team
    WHEN (SELECT writing FROM account_head WHERE account_id = OLD.account_id) <> 3 BEGIN
    -- Children move up; a team that was its own parent leaves them at the top.
    UPDATE team SET parent = nullif(OLD.parent, OLD.team_id)
        WHERE account_id = OLD.account_id AND parent = OLD.team_id;
    UPDATE app_user SET main_team = NULL WHERE account_id = OLD.account_id AND main_team = OLD.team_id;
    UPDATE resource SET owning_team = NULL WHERE account_id = OLD.account_id AND owning_team = OLD.team_id;
    DELETE FROM user_team WHERE account_id = OLD.account_id AND team_id = OLD.team_id;
    DELETE FROM access_group_member WHERE account_id = OLD.account_id AND principal_kind = 'team' AND principal_id = OLD.team_id;
    DELETE FROM assignment WHERE account_id = OLD.account_id AND principal_kind = 'team' AND principal_id = OLD.team_id;
    DELETE FROM segment_target WHERE account_id = OLD.account_id AND principal_kind = 'team' AND principal_id = OLD.team_id;
END;

CREATE TRIGGER permission_set_deleted_cascade AFTER DELETE ON permission_set
    WHEN (SELECT writing FROM account_head WHERE account_id = OLD.account_id) <> 3 BEGIN
    DELETE FROM permission_set_grant WHERE account_id = OLD.account_id AND permission_set_id = OLD.permission_set_id;
    DELETE FROM user_permission_set WHERE account_id = OLD.account_id AND permission_set_id = OLD.permission_set_id;
END;

CREATE TRIGGER app_user_deleted_cascade AFTER DELETE ON app_user
    WHEN (SELECT writing FROM account_head WHERE account_id = OLD.account_id) <> 3 BEGIN
    DELETE FROM user_team WHERE account_id = OLD.account_id AND user_id = OLD.user_id;
    DELETE FROM user_seat WHERE account_id = OLD.account_id AND user_id = OLD.user_id;
    DELETE FROM user_permission_set WHERE account_id = OLD.account_id AND user_id = OLD.user_id;
    DELETE FROM user_grant WHERE account_id = OLD.account_id AND user_id = OLD.user_id;
    DELETE FROM object_grant WHERE account_id = OLD.account_id AND user_id = OLD.user_id;
    DELETE FROM resource_owner WHERE account_id = OLD.account_id AND user_id = OLD.user_id;
    DELETE FROM access_group_member WHERE account_id = OLD.account_id AND principal_kind = 'user' AND principal_id = OLD.user_id;
    DELETE FROM assignment WHERE account_id = OLD.account_id AND principal_kind = 'user' AND principal_id = OLD.user_id;
    DELETE FROM segment_target WHERE account_id = OLD.account_id AND principal_kind = 'user' AND principal_id = OLD.user_id;
END;

CREATE TRIGGER access_group_deleted_cascade AFTER DELETE ON access_group
    WHEN (SELECT writing FROM account_head WHERE account_id = OLD.account_id) <> 3 BEGIN
    DELETE FROM access_group_member WHERE account_id = OLD.account_id AND access_group_id = OLD.access_group_id;
    DELETE FROM assignment WHERE account_id = OLD.account_id AND principal_kind = 'group' AND principal_id = OLD.access_group_id;
    DELETE FROM segment_target WHERE account_id = OLD.account_id AND principal_kind = 'group' AND principal_id = OLD.access_group_id;
END;

CREATE TRIGGER segment_deleted_cascade AFTER DELETE ON segment
    WHEN (SELECT writing FROM account_head WHERE account_id = OLD.account_id) <> 3 BEGIN
    DELETE FROM segment_target WHERE account_id = OLD.account_id AND segment_id = OLD.segment_id;
END;

CREATE TRIGGER resource_deleted_cascade AFTER DELETE ON resource
    WHEN (SELECT writing FROM account_head WHERE account_id = OLD.account_id) <> 3 BEGIN
    DELETE FROM resource_attributes WHERE account_id = OLD.account_id AND resource_type = OLD.resource_type AND resource_id = OLD.resource_id;
    DELETE FROM resource_owner WHERE account_id = OLD.account_id AND resource_type = OLD.resource_type AND resource_id = OLD.resource_id;
    DELETE FROM assignment WHERE account_id = OLD.account_id AND resource_type = OLD.resource_type AND resource_id = OLD.resource_id;
    DELETE FROM object_grant WHERE account_id = OLD.account_id AND resource_type = OLD.resource_type AND resource_id = OLD.resource_id;
END;

CREATE TRIGGER account_deleted_cascade AFTER DELETE ON account BEGIN
    UPDATE account_head SET writing = 3 WHERE account_id = OLD.account_id;
    DELETE FROM assignment WHERE account_id = OLD.account_id;
    DELETE FROM resource_owner WHERE account_id = OLD.account_id;
    DELETE FROM resource_attributes WHERE account_id = OLD.account_id;
    DELETE FROM object_grant WHERE account_id = OLD.account_id;
    DELETE FROM resource WHERE account_id = OLD.account_id;
    DELETE FROM segment_target WHERE account_id = OLD.account_id;
    DELETE FROM segment WHERE account_id = OLD.account_id;
    DELETE FROM access_group_member WHERE account_id = OLD.account_id;
    DELETE FROM access_group WHERE account_id = OLD.account_id;
    DELETE FROM user_grant WHERE account_id = OLD.account_id;
    DELETE FROM user_permission_set WHERE account_id = OLD.account_id;
    DELETE FROM user_seat WHERE account_id = OLD.account_id;
    DELETE FROM user_team WHERE account_id = OLD.account_id;
    DELETE FROM app_user WHERE account_id = OLD.account_id;
    DELETE FROM permission_set_grant WHERE account_id = OLD.account_id;
    DELETE FROM permission_set WHERE account_id = OLD.account_id;
    DELETE FROM team WHERE account_id = OLD.account_id;
    DELETE FROM account_setting WHERE account_id = OLD.account_id;
    DELETE FROM idempotency WHERE account_id = OLD.account_id;
    DELETE FROM change_log WHERE account_id = OLD.account_id;
    DELETE FROM revision_log WHERE account_id = OLD.account_id;
    DELETE FROM account_head WHERE account_id = OLD.account_id;
END;
