-- What no writer may store beyond what checks and foreign keys say, and what goes with an entity
-- that is deleted.
--
-- A row that another one refers to is locked FOR KEY SHARE until the transaction ends, as a foreign
-- key would do: who deletes it waits, and then sees the reference. Under the stricter isolation
-- levels, where that look would be at an old snapshot, two transactions that change one account
-- can't both commit (see commit_revision).
--
-- Statement triggers of rules are named so that they come before the log's.

-- Ids never change, neither do the entities that a row belongs to: only so is every change logged
-- under the key of the entity that it concerns.
CREATE FUNCTION ambit.refuse_key_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = format('the key of a row of %s never changes: delete the row and insert another', TG_TABLE_NAME);
END $$;

-- TRUNCATE fires no trigger that knows of rows: nobody would follow.
CREATE FUNCTION ambit.refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = format('%s is never truncated: delete its rows', TG_TABLE_NAME);
END $$;

DO $do$
DECLARE
    fixed record;
BEGIN
    FOR fixed IN SELECT "table", (SELECT string_agg(format('NEW.%1$s IS DISTINCT FROM OLD.%1$s', name), ' OR ')
            FROM unnest(string_to_array(key, ', ')) AS name) AS changed
        FROM (VALUES
            ('account',              'account_id'),
            ('account_setting',      'account_id'),
            ('team',                 'account_id, team_id'),
            ('permission_set',       'account_id, permission_set_id'),
            ('permission_set_grant', 'account_id, permission_set_id'),
            ('app_user',             'account_id, user_id'),
            ('user_team',            'account_id, user_id'),
            ('user_seat',            'account_id, user_id'),
            ('user_permission_set',  'account_id, user_id'),
            ('user_grant',           'account_id, user_id'),
            ('object_grant',         'account_id, user_id'),
            ('access_group',         'account_id, access_group_id'),
            ('access_group_member',  'account_id, access_group_id'),
            ('segment',              'account_id, segment_id'),
            ('segment_target',       'account_id, segment_id'),
            ('resource',             'account_id, resource_type, resource_id'),
            ('resource_attributes',  'account_id, resource_type, resource_id'),
            ('resource_owner',       'account_id, resource_type, resource_id'),
            ('assignment',           'account_id, resource_type, resource_id')
            ) AS tables ("table", key)
    LOOP
        EXECUTE format('CREATE TRIGGER fixed_key BEFORE UPDATE ON ambit.%s FOR EACH ROW
            WHEN (%s) EXECUTE FUNCTION ambit.refuse_key_change()', fixed."table", fixed.changed);
        EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ambit.%s
            FOR EACH STATEMENT EXECUTE FUNCTION ambit.refuse_truncate()', fixed."table");
    END LOOP;
END $do$;

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ambit.account_head
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.refuse_truncate();

-- A row is never pending but in the transaction that wrote it, which would go unnumbered.
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ambit.commit_pending
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.refuse_truncate();

-- Principals are users, teams or access groups, so no foreign key can follow them.
DO $do$
DECLARE
    refers record;
BEGIN
    FOR refers IN SELECT * FROM (VALUES
        ('access_group_member', 'a user or team'),
        ('segment_target',      'a user, team or access group'),
        ('assignment',          'a user, team or access group')
        ) AS tables ("table", principals)
    LOOP
        EXECUTE format($create$
            CREATE FUNCTION ambit.check_%1$s() RETURNS trigger
                LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
                SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $function$
            BEGIN
                IF EXISTS (SELECT 1 FROM (SELECT DISTINCT account_id, principal_id FROM changed
                            WHERE principal_kind = 'user') AS named
                        WHERE NOT EXISTS (SELECT 1 FROM ambit.app_user AS found
                            WHERE found.account_id = named.account_id AND found.user_id = named.principal_id
                            FOR KEY SHARE))
                    OR EXISTS (SELECT 1 FROM (SELECT DISTINCT account_id, principal_id FROM changed
                            WHERE principal_kind = 'team') AS named
                        WHERE NOT EXISTS (SELECT 1 FROM ambit.team AS found
                            WHERE found.account_id = named.account_id AND found.team_id = named.principal_id
                            FOR KEY SHARE))
                    OR EXISTS (SELECT 1 FROM (SELECT DISTINCT account_id, principal_id FROM changed
                            WHERE principal_kind = 'group') AS named
                        WHERE NOT EXISTS (SELECT 1 FROM ambit.access_group AS found
                            WHERE found.account_id = named.account_id AND found.access_group_id = named.principal_id
                            FOR KEY SHARE)) THEN
                    RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
                        MESSAGE = 'dangling reference: %1$s.principal_id is not %2$s of the account';
                END IF;
                RETURN NULL;
            END $function$;
            CREATE TRIGGER check_inserted AFTER INSERT ON ambit.%1$s
                REFERENCING NEW TABLE AS changed
                FOR EACH STATEMENT EXECUTE FUNCTION ambit.check_%1$s();
            CREATE TRIGGER check_updated AFTER UPDATE ON ambit.%1$s
                REFERENCING NEW TABLE AS changed
                FOR EACH STATEMENT EXECUTE FUNCTION ambit.check_%1$s();
            $create$, refers."table", refers.principals);
    END LOOP;
END $do$;

CREATE FUNCTION ambit.check_team() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM (SELECT DISTINCT account_id, parent FROM changed WHERE parent IS NOT NULL) AS named
            WHERE NOT EXISTS (SELECT 1 FROM ambit.team AS found
                WHERE found.account_id = named.account_id AND found.team_id = named.parent
                FOR KEY SHARE)) THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
            MESSAGE = 'dangling reference: team.parent is not a team of the account';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER check_inserted AFTER INSERT ON ambit.team REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.check_team();
CREATE TRIGGER check_updated AFTER UPDATE ON ambit.team REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.check_team();

-- 3.5: the first assignment partitions; nothing that takes assignments away opens the resource
-- again. Resources that are partitioned already are locked, so that nobody unpartitions them
-- without seeing the assignment; one that was unpartitioned meanwhile is partitioned after all.
-- Those that aren't yet come first: two writers never both hold what the other is about to change.
CREATE FUNCTION ambit.partition_assigned() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    UPDATE ambit.resource AS assigned SET partitioned = true
        FROM (SELECT DISTINCT account_id, resource_type, resource_id FROM changed) AS named
        WHERE assigned.account_id = named.account_id AND assigned.resource_type = named.resource_type
            AND assigned.resource_id = named.resource_id AND NOT assigned.partitioned;
    -- Counted, since a search would end, and lock no more, at the first.
    IF (SELECT count(*) FROM (SELECT DISTINCT account_id, resource_type, resource_id FROM changed) AS named
            WHERE NOT (SELECT partitioned FROM ambit.resource AS assigned
                WHERE assigned.account_id = named.account_id AND assigned.resource_type = named.resource_type
                    AND assigned.resource_id = named.resource_id FOR SHARE)) > 0 THEN
        UPDATE ambit.resource AS assigned SET partitioned = true
            FROM (SELECT DISTINCT account_id, resource_type, resource_id FROM changed) AS named
            WHERE assigned.account_id = named.account_id AND assigned.resource_type = named.resource_type
                AND assigned.resource_id = named.resource_id AND NOT assigned.partitioned;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER assigned_inserted AFTER INSERT ON ambit.assignment REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.partition_assigned();
CREATE TRIGGER assigned_updated AFTER UPDATE ON ambit.assignment REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.partition_assigned();

CREATE FUNCTION ambit.check_resource() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM changed WHERE NOT partitioned AND EXISTS (SELECT 1 FROM ambit.assignment AS assigned
            WHERE assigned.account_id = changed.account_id AND assigned.resource_type = changed.resource_type
                AND assigned.resource_id = changed.resource_id)) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = '3.5: a resource with assignments is partitioned; delete all of them to unpartition it';
    END IF;
    RETURN NULL;
END $$;

-- A resource that is inserted has no assignments yet.
CREATE TRIGGER check_updated AFTER UPDATE ON ambit.resource REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.check_resource();

-- What goes with an entity that is deleted (P11), beyond what foreign keys take along.

-- Children move up to the nearest team that is still there. One plan a call, since a whole tree may
-- go at once.
CREATE FUNCTION ambit.cascade_team() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    WITH RECURSIVE up (account_id, team_id, parent) AS (
        SELECT child.account_id, child.team_id, gone.parent
            FROM gone JOIN ambit.team AS child
                ON child.account_id = gone.account_id AND child.parent = gone.team_id
        UNION
        SELECT up.account_id, up.team_id, gone.parent
            FROM up JOIN gone ON gone.account_id = up.account_id AND gone.team_id = up.parent)
    UPDATE ambit.team AS child SET parent = up.parent FROM up
        WHERE child.account_id = up.account_id AND child.team_id = up.team_id
            AND NOT EXISTS (SELECT 1 FROM gone WHERE gone.account_id = up.account_id AND gone.team_id = up.parent);
    DELETE FROM ambit.access_group_member AS refers USING gone WHERE refers.account_id = gone.account_id
        AND refers.principal_kind = 'team' AND refers.principal_id = gone.team_id;
    DELETE FROM ambit.segment_target AS refers USING gone WHERE refers.account_id = gone.account_id
        AND refers.principal_kind = 'team' AND refers.principal_id = gone.team_id;
    DELETE FROM ambit.assignment AS refers USING gone WHERE refers.account_id = gone.account_id
        AND refers.principal_kind = 'team' AND refers.principal_id = gone.team_id;
    RETURN NULL;
END $$;

CREATE TRIGGER cascade_deleted AFTER DELETE ON ambit.team REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.cascade_team();

CREATE FUNCTION ambit.cascade_app_user() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM ambit.access_group_member AS refers USING gone WHERE refers.account_id = gone.account_id
        AND refers.principal_kind = 'user' AND refers.principal_id = gone.user_id;
    DELETE FROM ambit.segment_target AS refers USING gone WHERE refers.account_id = gone.account_id
        AND refers.principal_kind = 'user' AND refers.principal_id = gone.user_id;
    DELETE FROM ambit.assignment AS refers USING gone WHERE refers.account_id = gone.account_id
        AND refers.principal_kind = 'user' AND refers.principal_id = gone.user_id;
    RETURN NULL;
END $$;

CREATE TRIGGER cascade_deleted AFTER DELETE ON ambit.app_user REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.cascade_app_user();

CREATE FUNCTION ambit.cascade_access_group() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM ambit.segment_target AS refers USING gone WHERE refers.account_id = gone.account_id
        AND refers.principal_kind = 'group' AND refers.principal_id = gone.access_group_id;
    DELETE FROM ambit.assignment AS refers USING gone WHERE refers.account_id = gone.account_id
        AND refers.principal_kind = 'group' AND refers.principal_id = gone.access_group_id;
    RETURN NULL;
END $$;

CREATE TRIGGER cascade_deleted AFTER DELETE ON ambit.access_group REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.cascade_access_group();

-- Everything of an account goes before it, table by table rather than row by row, what refers to
-- others first. The account is a whole until COMMIT: nothing of it is numbered on the way.
CREATE FUNCTION ambit.empty_account() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SET CONSTRAINTS ambit.commit_revision DEFERRED;
    DELETE FROM ambit.assignment WHERE account_id = OLD.account_id;
    DELETE FROM ambit.resource_owner WHERE account_id = OLD.account_id;
    DELETE FROM ambit.resource_attributes WHERE account_id = OLD.account_id;
    DELETE FROM ambit.object_grant WHERE account_id = OLD.account_id;
    DELETE FROM ambit.resource WHERE account_id = OLD.account_id;
    DELETE FROM ambit.segment_target WHERE account_id = OLD.account_id;
    DELETE FROM ambit.segment WHERE account_id = OLD.account_id;
    DELETE FROM ambit.access_group_member WHERE account_id = OLD.account_id;
    DELETE FROM ambit.access_group WHERE account_id = OLD.account_id;
    DELETE FROM ambit.user_grant WHERE account_id = OLD.account_id;
    DELETE FROM ambit.user_permission_set WHERE account_id = OLD.account_id;
    DELETE FROM ambit.user_seat WHERE account_id = OLD.account_id;
    DELETE FROM ambit.user_team WHERE account_id = OLD.account_id;
    DELETE FROM ambit.app_user WHERE account_id = OLD.account_id;
    DELETE FROM ambit.permission_set_grant WHERE account_id = OLD.account_id;
    DELETE FROM ambit.permission_set WHERE account_id = OLD.account_id;
    DELETE FROM ambit.team WHERE account_id = OLD.account_id;
    DELETE FROM ambit.account_setting WHERE account_id = OLD.account_id;
    DELETE FROM ambit.idempotency WHERE account_id = OLD.account_id;
    RETURN OLD;
END $$;

CREATE TRIGGER emptied BEFORE DELETE ON ambit.account
    FOR EACH ROW EXECUTE FUNCTION ambit.empty_account();

-- Nobody hangs a function that writes the log on a table of their own. What a check calls must be
-- open to whoever writes the row.
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA ambit FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ambit.is_id(text), ambit.is_provenance(text), ambit.is_time(timestamptz),
    ambit.are_ids(text[]) TO PUBLIC;

UPDATE ambit.store_identity SET schema_version = 3, compatible_from = 3;
