-- Who changed what: one record of each revision, written by the transaction that takes it, whoever
-- that is. It outlives the account, so it refers to none.
--
-- The ordinal is taken while the head of the account is locked: within an account it has the order
-- of the commits, so a reader that goes on after one misses nothing.

CREATE TABLE ambit.audit_record (
    account_id      text COLLATE "C" NOT NULL,
    ordinal         bigint GENERATED ALWAYS AS IDENTITY,
    -- Where the account stood after it; 0: it is gone.
    revision        bigint NOT NULL CHECK (revision >= 0),
    -- `noted`: something happened to an access request that changed nothing of the account.
    effect          text COLLATE "C" NOT NULL CHECK (effect IN ('created', 'changed', 'noted', 'deleted')),
    at              timestamptz NOT NULL,
    -- Who called; null: the server asks nobody who they are.
    caller          text COLLATE "C",
    -- The user of the account in whose name it was.
    actor           text COLLATE "C",
    method          text COLLATE "C",
    idempotency_key text COLLATE "C",
    request_id      text COLLATE "C",
    -- The first of what changed: k kind, t resource type, i id, d whether it is gone.
    entities        jsonb NOT NULL,
    -- How many of each kind changed.
    counts          jsonb NOT NULL,
    -- More changed than the change log says, e.g. by a statement of more than 50,000 rows.
    is_partial      boolean NOT NULL,
    PRIMARY KEY (account_id, ordinal)
);
CREATE INDEX audit_record_by_age ON ambit.audit_record (at);

CREATE TRIGGER fixed BEFORE UPDATE ON ambit.audit_record FOR EACH STATEMENT
    EXECUTE FUNCTION ambit.refuse('a record of the audit never changes');
-- What is younger than a day is not even trimmed.
CREATE TRIGGER kept BEFORE DELETE ON ambit.audit_record FOR EACH ROW
    WHEN (current_setting('ambit.audit_trim', true) IS DISTINCT FROM 'on'
        OR OLD.at > clock_timestamp() - interval '1 day')
    EXECUTE FUNCTION ambit.refuse('a record of the audit goes by its age only');
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ambit.audit_record
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.refuse_truncate();

-- Who writes the running transaction. A server says so in a setting of the transaction; of anybody
-- else the database knows the role, whatever they say.
CREATE FUNCTION ambit.audit_author(of_account text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    announced text := current_setting('ambit.audit', true);
BEGIN
    IF coalesce(announced, '') <> '' AND (
            pg_has_role(session_user, (SELECT nspowner FROM pg_namespace WHERE nspname = 'ambit'), 'MEMBER')
            OR EXISTS (SELECT 1 FROM pg_roles
                WHERE rolname = 'ambit_server' AND pg_has_role(session_user, oid, 'MEMBER')))
        AND announced::jsonb ->> 'account' = of_account THEN
        RETURN announced::jsonb;
    END IF;
    RETURN jsonb_build_object('caller', 'sql:' || session_user);
END $$;

-- Records what the transaction changed, out of the change log: no more than 50 entities, rare kinds
-- first, and how many there are of each kind. Where one transaction takes several revisions, a later
-- record names what the earlier ones did too.
CREATE FUNCTION ambit.audit_revision(of_account text, at_revision bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    author jsonb := ambit.audit_author(of_account);
BEGIN
    INSERT INTO ambit.audit_record (account_id, revision, effect, at, caller, actor, method,
            idempotency_key, request_id, entities, counts, is_partial)
        WITH rows AS MATERIALIZED (
            SELECT kind, resource_type, ids FROM ambit.change_log
                WHERE account_id = of_account AND txid = pg_current_xact_id()),
        logged AS MATERIALIZED (
            SELECT DISTINCT kind, resource_type, id
                FROM rows CROSS JOIN LATERAL unnest(ids) AS logged (id) WHERE kind <> 'reload'),
        first AS (
            SELECT array_position('{account,team,permission_set,user,access_group,segment,access_request,resource}',
                    kind) AS rank, kind, resource_type, id
                FROM logged ORDER BY rank, resource_type, id LIMIT 50)
        SELECT of_account, at_revision, CASE at_revision WHEN 1 THEN 'created' ELSE 'changed' END,
            clock_timestamp(), author ->> 'caller', author ->> 'actor', author ->> 'method',
            author ->> 'key', author ->> 'request',
            coalesce((SELECT jsonb_agg(jsonb_build_object('k', kind, 't', resource_type, 'i', id, 'd',
                    NOT CASE kind
                        WHEN 'account' THEN true
                        WHEN 'team' THEN EXISTS (SELECT 1 FROM ambit.team AS e
                            WHERE e.account_id = of_account AND e.team_id = first.id)
                        WHEN 'permission_set' THEN EXISTS (SELECT 1 FROM ambit.permission_set AS e
                            WHERE e.account_id = of_account AND e.permission_set_id = first.id)
                        WHEN 'user' THEN EXISTS (SELECT 1 FROM ambit.app_user AS e
                            WHERE e.account_id = of_account AND e.user_id = first.id)
                        WHEN 'access_group' THEN EXISTS (SELECT 1 FROM ambit.access_group AS e
                            WHERE e.account_id = of_account AND e.access_group_id = first.id)
                        WHEN 'segment' THEN EXISTS (SELECT 1 FROM ambit.segment AS e
                            WHERE e.account_id = of_account AND e.segment_id = first.id)
                        WHEN 'resource' THEN EXISTS (SELECT 1 FROM ambit.resource AS e
                            WHERE e.account_id = of_account AND e.resource_type = first.resource_type
                                AND e.resource_id = first.id)
                        ELSE true END) ORDER BY rank, resource_type, id) FROM first), '[]'),
            coalesce((SELECT jsonb_object_agg(kind, number)
                FROM (SELECT kind, count(*) AS number FROM logged GROUP BY kind) AS counted), '{}'),
            EXISTS (SELECT 1 FROM rows WHERE kind = 'reload');
END $$;

CREATE FUNCTION ambit.audit_deletion(of_account text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    author jsonb := ambit.audit_author(of_account);
BEGIN
    INSERT INTO ambit.audit_record (account_id, revision, effect, at, caller, actor, method,
            idempotency_key, request_id, entities, counts, is_partial)
        VALUES (of_account, 0, 'deleted', clock_timestamp(), author ->> 'caller', author ->> 'actor',
            author ->> 'method', author ->> 'key', author ->> 'request',
            '[{"k": "account", "t": "", "i": "", "d": true}]', '{"account": 1}', false);
END $$;

-- For events of access requests that come without a change of the account, and so without a
-- revision. The head is locked for the order of the ordinals.
CREATE FUNCTION ambit.audit_events(of_account text, requests text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    author jsonb := ambit.audit_author(of_account);
    stands bigint;
BEGIN
    SELECT revision INTO stands FROM ambit.account_head WHERE account_id = of_account FOR NO KEY UPDATE;
    INSERT INTO ambit.audit_record (account_id, revision, effect, at, caller, actor, method,
            idempotency_key, request_id, entities, counts, is_partial)
        SELECT of_account, stands, 'noted', clock_timestamp(), author ->> 'caller', author ->> 'actor',
            author ->> 'method', author ->> 'key', author ->> 'request',
            (SELECT jsonb_agg(jsonb_build_object('k', 'access_request', 't', '', 'i', id, 'd', false))
                FROM unnest(requests[1:50]) AS first (id)),
            jsonb_build_object('access_request', cardinality(requests)), false
        WHERE stands IS NOT NULL AND cardinality(requests) > 0;
END $$;

-- Removes the oldest records, and answers how many.
CREATE FUNCTION ambit.trim_audit(before timestamptz, at_most bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    trimmed bigint;
BEGIN
    PERFORM set_config('ambit.audit_trim', 'on', true);
    WITH old AS (
        SELECT account_id, ordinal FROM ambit.audit_record
            WHERE at < least(trim_audit.before, clock_timestamp() - interval '1 day')
            ORDER BY at LIMIT at_most FOR UPDATE SKIP LOCKED),
    gone AS (
        DELETE FROM ambit.audit_record AS r USING old
            WHERE r.account_id = old.account_id AND r.ordinal = old.ordinal RETURNING 1)
    SELECT count(*) INTO trimmed FROM gone;
    PERFORM set_config('ambit.audit_trim', '', true);
    RETURN trimmed;
END $$;

-- As in 0002, and with a record of each revision and of each deletion.
CREATE OR REPLACE FUNCTION ambit.commit_revision() RETURNS trigger
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
            -- One that was made by this transaction too was never there.
            IF FOUND THEN
                PERFORM ambit.audit_deletion(pending.account_id);
            END IF;
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
            PERFORM ambit.audit_revision(pending.account_id, head.revision);
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

REVOKE EXECUTE ON FUNCTION ambit.audit_author(text), ambit.audit_revision(text, bigint),
    ambit.audit_deletion(text), ambit.audit_events(text, text[]), ambit.trim_audit(timestamptz, bigint) FROM PUBLIC;

-- A version of before follows this schema; the database records what it writes under its role.
UPDATE ambit.store_identity SET schema_version = 9;
