-- The three roles, and what each may do. Run after each migration by whoever owns the schema, as
-- often as one likes. Roles that the owner may not create are to be created by an administrator,
-- see docs/postgres.md; a role that isn't there is passed over with a warning.
--
-- * ambit_reader reads account data, access requests and their events, where accounts stand, what
--   changed and who changed it.
-- * ambit_writer writes account data besides, and takes tokens. What it changes, triggers log: it
--   has no right on the log, on the heads and on the identity, and writes no access requests: those
--   are filed and resolved through the server, which looks at who may.
-- * ambit_server is what `ambit serve --no-migrate` needs. It reads the tokens of callers and makes
--   none: that is for whoever owns the schema, so that a server that is broken into lets nobody in.

DO $do$
DECLARE
    role text;
    account_data text := (SELECT string_agg('ambit.' || name, ', ') FROM unnest(ARRAY['account',
        'account_setting', 'team', 'permission_set', 'permission_set_grant', 'app_user', 'user_team',
        'user_seat', 'user_permission_set', 'user_membership', 'user_grant', 'object_grant', 'access_group',
        'access_group_member', 'segment', 'segment_target', 'resource', 'resource_attributes',
        'resource_owner', 'assignment']) AS name);
BEGIN
    -- Two runs at once would change the same rows of the catalog.
    PERFORM pg_advisory_xact_lock(hashtextextended('ambit grants', 0));
    FOREACH role IN ARRAY ARRAY['ambit_server', 'ambit_writer', 'ambit_reader'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE WARNING 'the role % is not there and % may not create it', role, current_user;
                    CONTINUE;
                WHEN duplicate_object OR unique_violation THEN
                    -- Another run, on another database of the cluster, was faster.
                    NULL;
            END;
        END IF;

        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA ambit FROM %I', role);
        EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ambit FROM %I', role);
        EXECUTE format('GRANT USAGE ON SCHEMA ambit TO %I', role);
        EXECUTE format('GRANT EXECUTE ON FUNCTION ambit.epoch(), ambit.transaction_token(text) TO %I', role);
        EXECUTE format('GRANT SELECT ON %s, ambit.access_request, ambit.access_request_event,
            ambit.account_head, ambit.revision_log, ambit.change_log TO %I', account_data, role);
        IF role IN ('ambit_writer', 'ambit_server') THEN
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %s TO %I', account_data, role);
            EXECUTE format('GRANT EXECUTE ON FUNCTION ambit.reload_account(text) TO %I', role);
        END IF;
        -- The audit is written by triggers alone, whoever writes.
        IF role IN ('ambit_reader', 'ambit_server') THEN
            EXECUTE format('GRANT SELECT ON ambit.audit_record TO %I', role);
        END IF;
        IF role = 'ambit_server' THEN
            EXECUTE format('GRANT SELECT ON ambit.store_identity, ambit.caller_token,
                ambit.caller_token_version TO %I', role);
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ambit.idempotency,
                ambit.assignment_batch, ambit.assignment_batch_entry, ambit.form, ambit.access_link,
                ambit.access_link_approval TO %I', role);
            EXECUTE format('GRANT EXECUTE ON FUNCTION ambit.audit_form(text),
                ambit.audit_form(text, text, boolean),
                ambit.audit_access_link(text), ambit.audit_ceiling(text),
                ambit.audit_notification(text) TO %I', role);
            -- Requests and events go with their account only, which takes no right on them.
            EXECUTE format('GRANT INSERT, UPDATE ON ambit.access_request TO %I', role);
            EXECUTE format('GRANT INSERT ON ambit.access_request_event TO %I', role);
            EXECUTE format('GRANT SELECT, DELETE ON ambit.access_request_outbox, ambit.partner_outbox
                TO %I', role);
            EXECUTE format('GRANT SELECT, INSERT, DELETE ON ambit.partner_event TO %I', role);
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ambit.access_request_delivery,
                ambit.partner_delivery, ambit.spent_link, ambit.segment_follow, ambit.segment_job TO %I', role);
            -- To trim; the log's rows go along.
            EXECUTE format('GRANT DELETE, UPDATE ON ambit.revision_log TO %I', role);
            EXECUTE format('GRANT EXECUTE ON FUNCTION ambit.audit_events(text, text[]),
                ambit.trim_audit(timestamptz, bigint) TO %I', role);
        END IF;
    END LOOP;
END $do$;

-- None is ever left, but by a superuser who switches the trigger itself off.
DELETE FROM ambit.commit_pending;
