-- A revocation leaves its request as it is, and yet whoever follows requests is told of it: it is
-- logged as one of the entities of the transaction that takes away what the approval gave. An event
-- alone takes no revision, so where nothing else was logged nothing is.
CREATE FUNCTION ambit.log_revocation() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO ambit.change_log (account_id, txid, kind, resource_type, ids)
        SELECT NEW.account_id, txid, 'access_request', '', ARRAY[NEW.access_request_id]
        FROM ambit.commit_pending
        WHERE account_id = NEW.account_id AND txid = pg_current_xact_id();
    RETURN NULL;
END $$;

CREATE TRIGGER revoked AFTER INSERT ON ambit.access_request_event
    FOR EACH ROW WHEN (NEW.kind = 'revoked') EXECUTE FUNCTION ambit.log_revocation();

REVOKE EXECUTE ON FUNCTION ambit.log_revocation() FROM PUBLIC;

-- A version of before follows this schema: it meets a request that is as it was.
UPDATE ambit.store_identity SET schema_version = 8;
