-- Memberships of teams and permission sets that say where they come from and when they end, beside
-- user_team and user_permission_set; and where mail to a user goes.

-- The last of the columns, as its check wants it: one @ with something on both sides.
ALTER TABLE ambit.app_user ADD COLUMN email text COLLATE "C"
    CONSTRAINT "app_user.email is a mail address"
    CHECK (octet_length(email) BETWEEN 3 AND 254
        AND email ~ '^[^@ \u0001-\u001f\u007f-\u009f]+@[^@ \u0001-\u001f\u007f-\u009f]+$');

CREATE TABLE ambit.user_membership (
    account_id        text COLLATE "C" NOT NULL,
    user_id           text COLLATE "C" NOT NULL,
    kind              text COLLATE "C" NOT NULL
        CONSTRAINT "user_membership.kind is team or permission_set" CHECK (kind IN ('team', 'permission_set')),
    id                text COLLATE "C" NOT NULL,
    provenance        text COLLATE "C" NOT NULL DEFAULT 'manual'
        CONSTRAINT "user_membership.provenance is a provenance" CHECK (ambit.is_provenance(provenance)),
    expires_at        timestamptz
        CONSTRAINT "user_membership.expires_at is a time" CHECK (ambit.is_time(expires_at)),
    -- Kept after that user is gone, so no reference.
    granted_by        text COLLATE "C"
        CONSTRAINT "user_membership.granted_by is an id" CHECK (ambit.is_id(granted_by)),
    -- What the id names, for the foreign keys; never written.
    team_id           text COLLATE "C" GENERATED ALWAYS AS (CASE WHEN kind = 'team' THEN id END) STORED,
    permission_set_id text COLLATE "C" GENERATED ALWAYS AS (CASE WHEN kind = 'permission_set' THEN id END) STORED,
    PRIMARY KEY (account_id, user_id, kind, id, provenance),
    CONSTRAINT "user_membership.user_id exists"
        FOREIGN KEY (account_id, user_id) REFERENCES ambit.app_user ON DELETE CASCADE,
    CONSTRAINT "user_membership.team_id exists"
        FOREIGN KEY (account_id, team_id) REFERENCES ambit.team ON DELETE CASCADE,
    CONSTRAINT "user_membership.permission_set_id exists"
        FOREIGN KEY (account_id, permission_set_id) REFERENCES ambit.permission_set ON DELETE CASCADE
);
CREATE INDEX user_membership_by_team ON ambit.user_membership (account_id, team_id) WHERE team_id IS NOT NULL;
CREATE INDEX user_membership_by_set ON ambit.user_membership (account_id, permission_set_id)
    WHERE permission_set_id IS NOT NULL;

-- The rules' texts, as in 0001.
COMMENT ON CONSTRAINT "app_user.email is a mail address" ON ambit.app_user
    IS 'app_user.email is 3 to 254 bytes with one @ between a name and a host, without spaces and control characters';
COMMENT ON CONSTRAINT "user_membership.provenance is a provenance" ON ambit.user_membership
    IS 'user_membership.provenance is manual, default, segment:ID, import:ID, form:ID or request:ID';
COMMENT ON CONSTRAINT "user_membership.expires_at is a time" ON ambit.user_membership
    IS 'user_membership.expires_at lies in the years 1 to 9999';
COMMENT ON CONSTRAINT "user_membership.granted_by is an id" ON ambit.user_membership
    IS 'user_membership.granted_by is 1 to 256 bytes without control characters';
COMMENT ON CONSTRAINT "user_membership.user_id exists" ON ambit.user_membership
    IS 'dangling reference: user_membership.user_id is not an user of the account';
COMMENT ON CONSTRAINT "user_membership.team_id exists" ON ambit.user_membership
    IS 'dangling reference: user_membership.id is not a team of the account';
COMMENT ON CONSTRAINT "user_membership.permission_set_id exists" ON ambit.user_membership
    IS 'dangling reference: user_membership.id is not a permission set of the account';

-- The log, see 0002: a row belongs to its user.
CREATE FUNCTION ambit.log_user_membership() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET datestyle = 'ISO, YMD' SET timezone = 'UTC' AS $$
DECLARE
    rows bigint := (SELECT count(*) FROM (SELECT FROM changed LIMIT 50001) AS first);
BEGIN
    IF rows = 0 THEN
        RETURN NULL;
    ELSIF rows > 50000 THEN
        WITH logged AS (
            INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                SELECT account_id, pg_current_xact_id(), 'reload', 'user', '{}'
                FROM changed GROUP BY account_id
                RETURNING account_id)
        INSERT INTO ambit.commit_pending (txid, account_id)
            SELECT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
    ELSIF TG_OP = 'INSERT' THEN
        WITH logged AS (
            INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                SELECT account_id, pg_current_xact_id(), 'user', '', array_agg(user_id)
                FROM (SELECT account_id, user_id,
                        row_number() OVER (PARTITION BY account_id) / 1000 AS part
                    FROM (SELECT DISTINCT account_id, user_id FROM changed) AS keys) AS parts
                GROUP BY account_id, part
                RETURNING account_id)
        INSERT INTO ambit.commit_pending (txid, account_id)
            SELECT DISTINCT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH different AS (
            SELECT account_id, user_id, changed::text FROM changed
            EXCEPT ALL
            SELECT account_id, user_id, before::text FROM before),
        logged AS (
            INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                SELECT account_id, pg_current_xact_id(), 'user', '', array_agg(user_id)
                FROM (SELECT account_id, user_id,
                        row_number() OVER (PARTITION BY account_id) / 1000 AS part
                    FROM (SELECT DISTINCT account_id, user_id FROM different) AS keys) AS parts
                GROUP BY account_id, part
                RETURNING account_id)
        INSERT INTO ambit.commit_pending (txid, account_id)
            SELECT DISTINCT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
    ELSE
        WITH logged AS (
            INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
                SELECT account_id, pg_current_xact_id(), 'user', '', array_agg(user_id)
                FROM (SELECT account_id, user_id,
                        row_number() OVER (PARTITION BY account_id) / 1000 AS part
                    FROM (SELECT DISTINCT account_id, user_id FROM changed
                        WHERE EXISTS (SELECT 1 FROM ambit.app_user
                            WHERE (account_id, user_id) = (changed.account_id, changed.user_id))) AS keys) AS parts
                GROUP BY account_id, part
                RETURNING account_id)
        INSERT INTO ambit.commit_pending (txid, account_id)
            SELECT DISTINCT pg_current_xact_id(), account_id FROM logged ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER log_inserted AFTER INSERT ON ambit.user_membership
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.log_user_membership();
CREATE TRIGGER log_updated AFTER UPDATE ON ambit.user_membership
    REFERENCING NEW TABLE AS changed OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.log_user_membership();
CREATE TRIGGER log_deleted AFTER DELETE ON ambit.user_membership
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.log_user_membership();

CREATE TRIGGER fixed_key BEFORE UPDATE ON ambit.user_membership FOR EACH ROW
    WHEN (NEW.account_id IS DISTINCT FROM OLD.account_id OR NEW.user_id IS DISTINCT FROM OLD.user_id)
    EXECUTE FUNCTION ambit.refuse_key_change();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ambit.user_membership
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.refuse_truncate();

-- Before ambit.empty_account, whose trigger comes later by its name: table by table rather than with
-- each user.
CREATE FUNCTION ambit.empty_account_of_memberships() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SET CONSTRAINTS ambit.commit_revision DEFERRED;
    DELETE FROM ambit.user_membership WHERE account_id = OLD.account_id;
    RETURN OLD;
END $$;

CREATE TRIGGER before_emptied BEFORE DELETE ON ambit.account
    FOR EACH ROW EXECUTE FUNCTION ambit.empty_account_of_memberships();

REVOKE EXECUTE ON FUNCTION ambit.log_user_membership(), ambit.empty_account_of_memberships() FROM PUBLIC;

-- A version of before would decide without the memberships.
UPDATE ambit.store_identity SET schema_version = 5, compatible_from = 5;
