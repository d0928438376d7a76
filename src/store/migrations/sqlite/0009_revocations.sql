-- A revocation leaves its request as it is, and yet whoever follows requests is told of it: it is
-- logged as one of the entities of the revision that takes away what the approval gave. An event
-- alone takes no revision, so nothing is logged outside of one.
CREATE TRIGGER access_request_revoked_log AFTER INSERT ON access_request_event WHEN NEW.kind = 'revoked' BEGIN
    INSERT INTO change_log (account_id, revision, kind, resource_type, id)
        SELECT account_id, revision, 'access_request', '', NEW.access_request_id FROM account_head
        WHERE account_id = NEW.account_id AND writing = 1 ON CONFLICT DO NOTHING;
END;
