-- Every change of a row is logged with the key of its entity, whoever makes it, and every
-- transaction that changed an account takes one revision of it at COMMIT.
--
-- The functions here run as the owner of the schema: a writer needs no right on the log. Each
-- names what it uses with its schema and fixes its search_path, so that nobody can slip another
-- table or operator under it. The planner is kept to indexes: a plan is made for the first
-- statement of a session and kept for the next, which may be of another size by far.

-- Told by SQLite's triggers in the same words.
CREATE FUNCTION ambit.head_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = 'a revision moves by one with each change and is never set';
END $$;

CREATE TRIGGER fixed BEFORE UPDATE ON ambit.account_head FOR EACH ROW
    WHEN (NEW.account_id <> OLD.account_id OR NEW.revision NOT IN (OLD.revision, OLD.revision + 1)
        OR (NEW.revision = OLD.revision) <> (NEW.nonce = OLD.nonce))
    EXECUTE FUNCTION ambit.head_is_fixed();

CREATE FUNCTION ambit.head_is_kept() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM ambit.account WHERE account_id = OLD.account_id)
        AND NOT EXISTS (SELECT 1 FROM ambit.commit_pending
            WHERE txid = pg_current_xact_id() AND account_id = OLD.account_id AND deleted) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = 'the head of an account goes with the account';
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER kept BEFORE DELETE ON ambit.account_head FOR EACH ROW
    EXECUTE FUNCTION ambit.head_is_kept();

-- A revision that is no longer kept takes its keys along. Where one transaction took several, the
-- first takes the keys of all: who needs the later ones stands at one that is gone too.
CREATE FUNCTION ambit.trim_change_log() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM ambit.change_log AS logged USING gone
        WHERE logged.account_id = gone.account_id AND logged.txid = gone.txid;
    RETURN NULL;
END $$;

CREATE TRIGGER trimmed AFTER DELETE ON ambit.revision_log REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.trim_change_log();

-- The log of each table: the kind of the entity that a row belongs to, the type and the id of its
-- key, and where the entity itself is a row of another table, that table and its own key.
--
-- * An UPDATE that leaves a row as it was logs nothing. Rows are compared as text, so with settings
--   under which no two moments are written alike, whatever those of the session are.
-- * Rows that go with their entity log nothing: the entity's own deletion does.
-- * A statement that changes more than 50,000 rows logs the kind `reload` for the accounts of them.
DO $do$
DECLARE
    logged record;
    key text;
BEGIN
    FOR logged IN SELECT * FROM (VALUES
        ('account',              'account',        $$''$$,          $$''$$,              NULL,             NULL),
        ('account_setting',      'account',        $$''$$,          $$''$$,              'account',        NULL),
        ('team',                 'team',           $$''$$,          'team_id',           NULL,             NULL),
        ('permission_set',       'permission_set', $$''$$,          'permission_set_id', NULL,             NULL),
        ('permission_set_grant', 'permission_set', $$''$$,          'permission_set_id', 'permission_set', 'permission_set_id'),
        ('app_user',             'user',           $$''$$,          'user_id',           NULL,             NULL),
        ('user_team',            'user',           $$''$$,          'user_id',           'app_user',       'user_id'),
        ('user_seat',            'user',           $$''$$,          'user_id',           'app_user',       'user_id'),
        ('user_permission_set',  'user',           $$''$$,          'user_id',           'app_user',       'user_id'),
        ('user_grant',           'user',           $$''$$,          'user_id',           'app_user',       'user_id'),
        ('object_grant',         'user',           $$''$$,          'user_id',           'app_user',       'user_id'),
        ('access_group',         'access_group',   $$''$$,          'access_group_id',   NULL,             NULL),
        ('access_group_member',  'access_group',   $$''$$,          'access_group_id',   'access_group',   'access_group_id'),
        ('segment',              'segment',        $$''$$,          'segment_id',        NULL,             NULL),
        ('segment_target',       'segment',        $$''$$,          'segment_id',        'segment',        'segment_id'),
        ('resource',             'resource',       'resource_type', 'resource_id',       NULL,             NULL),
        ('resource_attributes',  'resource',       'resource_type', 'resource_id',       'resource',       'resource_type, resource_id'),
        ('resource_owner',       'resource',       'resource_type', 'resource_id',       'resource',       'resource_type, resource_id'),
        ('assignment',           'resource',       'resource_type', 'resource_id',       'resource',       'resource_type, resource_id')
        ) AS tables ("table", kind, type, id, entity, entity_key)
    LOOP
        key := concat_ws(', ', 'account_id', logged.entity_key);
        EXECUTE format($create$
            CREATE FUNCTION ambit.log_%1$s() RETURNS trigger
                LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
                SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
                SET datestyle = 'ISO, YMD' SET timezone = 'UTC' AS $function$
            DECLARE
                rows bigint := (SELECT count(*) FROM (SELECT FROM changed LIMIT 50001) AS first);
            BEGIN
                IF rows = 0 THEN
                    RETURN NULL;
                ELSIF rows > 50000 THEN
                    WITH logged AS (
                        INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                            SELECT account_id, pg_current_xact_id(), 'reload', %2$L, '{}'
                            FROM changed GROUP BY account_id
                            RETURNING account_id)
                    INSERT INTO ambit.commit_pending (txid, account_id)
                        SELECT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
                ELSIF TG_OP = 'INSERT' THEN
                    WITH logged AS (
                        INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                            SELECT account_id, pg_current_xact_id(), %2$L, type, array_agg(id)
                            FROM (SELECT account_id, type, id,
                                    row_number() OVER (PARTITION BY account_id, type) / 1000 AS part
                                FROM (SELECT DISTINCT account_id, %3$s AS type, %4$s AS id
                                    FROM changed) AS keys) AS parts
                            GROUP BY account_id, type, part
                            RETURNING account_id)
                    INSERT INTO ambit.commit_pending (txid, account_id)
                        SELECT DISTINCT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
                ELSIF TG_OP = 'UPDATE' THEN
                    WITH different AS (
                        SELECT account_id, %3$s AS type, %4$s AS id, changed::text FROM changed
                        EXCEPT ALL
                        SELECT account_id, %3$s, %4$s, before::text FROM before),
                    logged AS (
                        INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                            SELECT account_id, pg_current_xact_id(), %2$L, type, array_agg(id)
                            FROM (SELECT account_id, type, id,
                                    row_number() OVER (PARTITION BY account_id, type) / 1000 AS part
                                FROM (SELECT DISTINCT account_id, type, id
                                    FROM different) AS keys) AS parts
                            GROUP BY account_id, type, part
                            RETURNING account_id)
                    INSERT INTO ambit.commit_pending (txid, account_id)
                        SELECT DISTINCT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
                ELSE
                    WITH logged AS (
                        INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                            SELECT account_id, pg_current_xact_id(), %2$L, type, array_agg(id)
                            FROM (SELECT account_id, type, id,
                                    row_number() OVER (PARTITION BY account_id, type) / 1000 AS part
                                FROM (SELECT DISTINCT account_id, %3$s AS type, %4$s AS id
                                    FROM changed WHERE %5$s) AS keys) AS parts
                            GROUP BY account_id, type, part
                            RETURNING account_id)
                    INSERT INTO ambit.commit_pending (txid, account_id)
                        SELECT DISTINCT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
                END IF;
                RETURN NULL;
            END $function$;
            -- Triggers of a kind run in the order of their names: what goes along comes first.
            CREATE TRIGGER log_inserted AFTER INSERT ON ambit.%1$s
                REFERENCING NEW TABLE AS changed
                FOR EACH STATEMENT EXECUTE FUNCTION ambit.log_%1$s();
            CREATE TRIGGER log_updated AFTER UPDATE ON ambit.%1$s
                REFERENCING NEW TABLE AS changed OLD TABLE AS before
                FOR EACH STATEMENT EXECUTE FUNCTION ambit.log_%1$s();
            CREATE TRIGGER log_deleted AFTER DELETE ON ambit.%1$s
                REFERENCING OLD TABLE AS changed
                FOR EACH STATEMENT EXECUTE FUNCTION ambit.log_%1$s();
            $create$, logged."table", logged.kind, logged.type, logged.id,
            CASE WHEN logged.entity IS NULL THEN 'true'
                ELSE format('EXISTS (SELECT 1 FROM ambit.%s WHERE (%s) = (changed.%s))',
                    logged.entity, key, replace(key, ', ', ', changed.')) END);
    END LOOP;
END $do$;

-- An account that goes is marked, since it may be there again when the transaction commits: under
-- another history, which begins anew.
CREATE FUNCTION ambit.mark_deleted_account() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO ambit.commit_pending (txid, account_id, deleted)
        SELECT pg_current_xact_id(), account_id, true FROM gone
        ON CONFLICT (txid, account_id) DO UPDATE SET deleted = true;
    RETURN NULL;
END $$;

-- Named to come before the log's.
CREATE TRIGGER deletion_marked AFTER DELETE ON ambit.account REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.mark_deleted_account();

-- P11. A cycle that is new goes through a team that the transaction changed, and each team of a
-- cycle has a child: where none of the changed ones has, there is nothing to look for. Each team has
-- one parent, so those that a walk down from the tops doesn't reach are those on and under a cycle;
-- a team whose parent is missing (the rules were switched off) counts as a top.
CREATE FUNCTION ambit.check_teams(of_account text, kinds text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    IF NOT 'reload team' = ANY (kinds) AND NOT EXISTS (SELECT 1
            FROM ambit.change_log AS logged, unnest(logged.ids) AS changed (id)
            WHERE logged.account_id = of_account AND logged.txid = pg_current_xact_id() AND logged.kind = 'team'
                AND EXISTS (SELECT 1 FROM ambit.team
                    WHERE account_id = of_account AND team_id = changed.id AND parent IS NOT NULL)
                AND EXISTS (SELECT 1 FROM ambit.team
                    WHERE account_id = of_account AND parent = changed.id)) THEN
        RETURN;
    END IF;
    IF (SELECT count(*) FROM ambit.team WHERE account_id = of_account) <> (
        WITH RECURSIVE reached (team_id) AS (
            SELECT team_id FROM ambit.team AS top WHERE account_id = of_account
                AND (parent IS NULL OR NOT EXISTS (SELECT 1 FROM ambit.team AS above
                    WHERE above.account_id = of_account AND above.team_id = top.parent))
            UNION ALL
            -- OFFSET 0: looked up for each team in turn. Left to itself the planner, which knows
            -- nothing of an account that is being made, reads all teams again for each.
            SELECT below.team_id FROM reached CROSS JOIN LATERAL (SELECT team_id FROM ambit.team
                WHERE account_id = of_account AND parent = reached.team_id OFFSET 0) AS below)
        SELECT count(*) FROM reached) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'P11: a team cannot be its own ancestor';
    END IF;
END $$;

-- D9. Answers whether the account has an active super admin now. A whole reload that somebody asked
-- for tells nothing of who changed what, and what the rules didn't see they don't refuse.
CREATE FUNCTION ambit.check_super_admins(of_account text, kinds text[], had_one boolean) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    has_one boolean := EXISTS (SELECT 1 FROM ambit.app_user
        WHERE account_id = of_account AND super_admin AND status = 'active');
BEGIN
    IF had_one AND NOT has_one AND kinds && '{user,account,reload user,reload account}'
        AND NOT EXISTS (SELECT 1 FROM ambit.account JOIN ambit.app_user USING (account_id)
            WHERE account_id = of_account AND owner_may_stand_alone AND account_owner AND status = 'active') THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = 'D9: the account would be left without an active super admin; make another user one first';
    END IF;
    RETURN has_one;
END $$;

-- Numbers what the transaction changed, at COMMIT or at SET CONSTRAINTS ambit.commit_revision
-- IMMEDIATE. The head is the last row that a transaction locks, held until it has committed: that
-- makes revisions gap-free and in the order of commits, and lets two transactions that write rows of
-- several accounts in any order wait for each other but never in a circle, since all accounts are
-- taken at once, in order. Under READ COMMITTED what comes after the lock sees all that was
-- committed before it; under the stricter levels the lock itself fails (40001) where the account
-- has moved since the transaction's snapshot.
CREATE FUNCTION ambit.commit_revision() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pending record;
    head record;
    kinds text[];
    has_one boolean;
    quiet boolean := coalesce(current_setting('ambit.notify', true), '') = 'off'
        OR pg_notification_queue_usage() > 0.5;
BEGIN
    FOR pending IN
        SELECT account_id, deleted FROM ambit.commit_pending
        WHERE txid = pg_current_xact_id() ORDER BY account_id
    LOOP
        IF pending.deleted THEN
            DELETE FROM ambit.account_head WHERE account_id = pending.account_id;
            DELETE FROM ambit.revision_log WHERE account_id = pending.account_id;
            DELETE FROM ambit.change_log WHERE account_id = pending.account_id AND txid <> pg_current_xact_id();
        END IF;
        -- Eight bytes that are random but for two bits.
        UPDATE ambit.account_head
            SET revision = revision + 1, nonce = substring(uuid_send(gen_random_uuid()) FROM 9)
            WHERE account_id = pending.account_id
            RETURNING revision, nonce, has_super_admin INTO head;
        IF NOT FOUND AND EXISTS (SELECT 1 FROM ambit.account WHERE account_id = pending.account_id) THEN
            INSERT INTO ambit.account_head (account_id, revision, nonce, has_super_admin)
                VALUES (pending.account_id, 1, substring(uuid_send(gen_random_uuid()) FROM 9), false)
                RETURNING revision, nonce, has_super_admin INTO head;
        END IF;
        IF head.revision IS NOT NULL THEN
            kinds := ARRAY (SELECT DISTINCT CASE WHEN kind = 'reload' THEN 'reload ' || resource_type ELSE kind END
                FROM ambit.change_log WHERE account_id = pending.account_id AND txid = pg_current_xact_id());
            IF kinds && '{team,reload team}' THEN
                PERFORM ambit.check_teams(pending.account_id, kinds);
            END IF;
            IF kinds && '{user,account,reload user,reload account,"reload "}' THEN
                has_one := ambit.check_super_admins(pending.account_id, kinds, head.has_super_admin);
                IF has_one <> head.has_super_admin THEN
                    UPDATE ambit.account_head SET has_super_admin = has_one WHERE account_id = pending.account_id;
                END IF;
            END IF;
            INSERT INTO ambit.revision_log (account_id, revision, nonce, txid, at)
                VALUES (pending.account_id, head.revision, head.nonce, pg_current_xact_id(), clock_timestamp());
        ELSE
            DELETE FROM ambit.change_log WHERE account_id = pending.account_id;
        END IF;
        DELETE FROM ambit.commit_pending WHERE txid = pg_current_xact_id() AND account_id = pending.account_id;
        IF NOT quiet THEN
            PERFORM pg_notify('ambit', format('r %s %s', coalesce(head.revision, 0), pending.account_id));
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER commit_revision AFTER INSERT ON ambit.commit_pending
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ambit.commit_revision();

-- Even where a session has switched triggers off (session_replication_role): a row that stayed
-- pending would hide a later commit whose transaction has the same id, and who asks for a reload
-- right after such a session's changes must be heard.
ALTER TABLE ambit.commit_pending ENABLE ALWAYS TRIGGER commit_revision;

-- Who the database is: another one after a restore, in place or elsewhere, and after a promotion.
-- The write position knows the timeline at once after a promotion, the control file only later.
-- Fails on a standby, which can't be told from its past.
CREATE FUNCTION ambit.epoch() RETURNS bytea
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN (SELECT substring(sha256(epoch
            || int8send((SELECT system_identifier FROM pg_control_system()))
            || convert_to(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 'UTF8')
            || int8send((SELECT oid::bigint FROM pg_database WHERE datname = current_database()))
            || int8send('ambit.store_identity'::regclass::oid::bigint)) FROM 1 FOR 8)
        FROM ambit.store_identity);

-- The consistency token of what the running transaction has written to an account so far, to be
-- handed to any replica once the transaction is committed. Where it has written nothing, the token
-- of where the account stands; NULL where there is no such account. What the transaction writes
-- afterwards takes another revision: so take the token last, and once.
CREATE FUNCTION ambit.transaction_token(account_id text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    token bytea;
BEGIN
    SET CONSTRAINTS ambit.commit_revision IMMEDIATE;
    SET CONSTRAINTS ambit.commit_revision DEFERRED;
    SELECT ambit.epoch() || substring(sha256(convert_to(head.account_id, 'UTF8')) FROM 1 FOR 8)
            || int8send(head.revision) || head.nonce
        INTO token FROM ambit.account_head AS head
        WHERE head.account_id = transaction_token.account_id;
    RETURN rtrim(translate(encode(token, 'base64'), '+/', '-_'), '=');
END $$;

-- For whoever changed rows of an account with the triggers switched off: all replicas read it anew.
CREATE FUNCTION ambit.reload_account(account_id text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM ambit.account WHERE account.account_id = reload_account.account_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
            MESSAGE = 'dangling reference: there is no such account';
    END IF;
    INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
        VALUES (reload_account.account_id, pg_current_xact_id(), 'reload', '', '{}');
    INSERT INTO ambit.commit_pending (txid, account_id)
        VALUES (pg_current_xact_id(), reload_account.account_id) ON CONFLICT DO NOTHING;
END $$;

UPDATE ambit.store_identity SET schema_version = 2, compatible_from = 2;
