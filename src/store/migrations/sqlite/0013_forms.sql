-- Forms: to whom what is submitted is assigned (P8). Settings beside the account: nothing here takes
-- a revision, since no decision rests on it.

CREATE TABLE form (
    account_id    TEXT NOT NULL,
    form_id       TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    -- A JSON array of principals, as documents write them.
    targets       TEXT NOT NULL,
    -- The user whose authority was checked at the set-up; null: an operator's.
    author        TEXT,
    -- Whether that authority closes records that are open to everyone.
    may_close     INTEGER NOT NULL CHECK (may_close IN (0, 1)),
    PRIMARY KEY (account_id, form_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER form_inserted_rules AFTER INSERT ON form BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
END;

CREATE TRIGGER account_deleted_forms AFTER DELETE ON account BEGIN
    DELETE FROM form WHERE account_id = OLD.account_id;
END;
