-- What the grant ceiling kept and withheld of a write (D3): rights, the first of each, and how many.
ALTER TABLE ambit.audit_record ADD COLUMN ceiling jsonb;

-- As in 0009, with the ceiling.
CREATE OR REPLACE FUNCTION ambit.audit_revision(of_account text, at_revision bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    author jsonb := ambit.audit_author(of_account);
BEGIN
    INSERT INTO ambit.audit_record (account_id, revision, effect, at, caller, actor, method,
            idempotency_key, request_id, entities, counts, is_partial, ceiling)
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
            EXISTS (SELECT 1 FROM rows WHERE kind = 'reload'), nullif(author -> 'ceiling', 'null');
END $$;

-- The record of a write of which the ceiling left nothing to change.
CREATE FUNCTION ambit.audit_ceiling(of_account text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    author jsonb := ambit.audit_author(of_account);
    stands bigint;
BEGIN
    SELECT revision INTO stands FROM ambit.account_head WHERE account_id = of_account FOR NO KEY UPDATE;
    INSERT INTO ambit.audit_record (account_id, revision, effect, at, caller, actor, method,
            idempotency_key, request_id, entities, counts, is_partial, ceiling)
        SELECT of_account, stands, 'noted', clock_timestamp(), author ->> 'caller', author ->> 'actor',
            author ->> 'method', author ->> 'key', author ->> 'request', '[]', '{}', false,
            nullif(author -> 'ceiling', 'null')
        WHERE stands IS NOT NULL;
END $$;

REVOKE EXECUTE ON FUNCTION ambit.audit_ceiling(text) FROM PUBLIC;

-- D9, as in 0002: a partner user whose partnership has ended can do nothing any more, and so stands
-- for nobody.
CREATE OR REPLACE FUNCTION ambit.check_super_admins(of_account text, kinds text[], had_one boolean) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    has_one boolean := EXISTS (SELECT 1 FROM ambit.app_user
        WHERE account_id = of_account AND super_admin AND status = 'active'
            AND (kind = 'internal' OR partnership IS DISTINCT FROM 'ended'));
BEGIN
    IF had_one AND NOT has_one AND kinds && '{user,account,reload user,reload account}'
        AND NOT EXISTS (SELECT 1 FROM ambit.account JOIN ambit.app_user USING (account_id)
            WHERE account_id = of_account AND owner_may_stand_alone AND account_owner AND status = 'active'
                AND (kind = 'internal' OR partnership IS DISTINCT FROM 'ended')) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = 'D9: the account would be left without an active super admin; make another user one first';
    END IF;
    RETURN has_one;
END $$;

UPDATE ambit.account_head AS h SET has_super_admin = false
    WHERE has_super_admin AND NOT EXISTS (SELECT 1 FROM ambit.app_user AS u
        WHERE u.account_id = h.account_id AND super_admin AND status = 'active'
            AND (kind = 'internal' OR partnership IS DISTINCT FROM 'ended'));

-- A version of before follows this schema: what it writes tells of no ceiling.
UPDATE ambit.store_identity SET schema_version = 16;
