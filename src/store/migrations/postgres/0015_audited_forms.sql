-- The record of a form that was set up or removed names it. A version of before goes on with the
-- function of 0012, whose records name none.
CREATE FUNCTION ambit.audit_form(of_account text, of_form text, is_gone boolean) RETURNS void
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
            jsonb_build_array(jsonb_build_object('k', 'form', 't', '', 'i', of_form, 'd', is_gone)),
            jsonb_build_object('form', 1), false
        WHERE stands IS NOT NULL;
END $$;

REVOKE EXECUTE ON FUNCTION ambit.audit_form(text, text, boolean) FROM PUBLIC;

UPDATE ambit.store_identity SET schema_version = 15;
