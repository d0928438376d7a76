-- Agencies and their clients (S4, D1).

-- Which users of which clients are of an agency: with the links, the one thing that is looked up
-- across accounts.
CREATE INDEX app_user_of_partner ON app_user (partner_account, account_id, user_id)
    WHERE partner_account IS NOT NULL;
CREATE INDEX app_user_of_partner_user ON app_user (partner_account, partner_user, account_id)
    WHERE partner_account IS NOT NULL;

-- Personal access links, of the agency's account. No decision rests on them: nothing here takes a
-- revision.
CREATE TABLE access_link (
    account_id  TEXT NOT NULL,
    link_id     TEXT NOT NULL,
    -- The agency's user whose link it is. Kept after that user is gone.
    user_id     TEXT NOT NULL,
    -- SHA-256 of the link: the link itself is kept nowhere.
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    issued_at   INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    revoked_at  INTEGER,
    PRIMARY KEY (account_id, link_id)
) STRICT, WITHOUT ROWID;

-- Which client let the user of a link in, and when: once a client and link.
CREATE TABLE access_link_approval (
    account_id     TEXT NOT NULL,
    link_id        TEXT NOT NULL,
    -- Another account, so no reference.
    client_account TEXT NOT NULL,
    client_user    TEXT NOT NULL,
    approved_by    TEXT NOT NULL,
    approved_at    INTEGER NOT NULL,
    PRIMARY KEY (account_id, link_id, client_account)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER access_link_inserted_rules AFTER INSERT ON access_link BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
END;

CREATE TRIGGER access_link_approval_inserted_rules AFTER INSERT ON access_link_approval BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the access link of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM access_link
            WHERE account_id = NEW.account_id AND link_id = NEW.link_id);
END;

CREATE TRIGGER access_link_deleted AFTER DELETE ON access_link BEGIN
    DELETE FROM access_link_approval WHERE account_id = OLD.account_id AND link_id = OLD.link_id;
END;

CREATE TRIGGER account_deleted_access_links AFTER DELETE ON account BEGIN
    DELETE FROM access_link WHERE account_id = OLD.account_id;
END;
