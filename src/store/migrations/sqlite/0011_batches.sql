-- Bulks of assignments: how far each has come, and what it did to which resource, so that a broken
-- one is taken up and a finished one undone. Beside the account: nothing here takes a revision.

CREATE TABLE assignment_batch (
    account_id     TEXT NOT NULL,
    batch_id       TEXT NOT NULL,
    request_digest BLOB NOT NULL CHECK (length(request_digest) = 32),
    kind           TEXT NOT NULL CHECK (kind IN ('assign', 'unpartition', 'undo_batch', 'undo_import')),
    -- The last resource that was looked at.
    reached_type   TEXT,
    reached_id     TEXT,
    is_done        INTEGER NOT NULL CHECK (is_done IN (0, 1)),
    changed        INTEGER NOT NULL CHECK (changed >= 0),
    unchanged      INTEGER NOT NULL CHECK (unchanged >= 0),
    refused        INTEGER NOT NULL CHECK (refused >= 0),
    orphaned       INTEGER NOT NULL CHECK (orphaned >= 0),
    actor          TEXT,
    begun_at       INTEGER NOT NULL,
    -- Where the account stood after the last step.
    revision       INTEGER NOT NULL,
    nonce          BLOB NOT NULL CHECK (length(nonce) = 8),
    PRIMARY KEY (account_id, batch_id),
    CHECK ((reached_type IS NULL) = (reached_id IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX assignment_batch_by_age ON assignment_batch (begun_at);

CREATE TABLE assignment_batch_entry (
    account_id    TEXT NOT NULL,
    batch_id      TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    -- JSON: rows added and removed, whether it was and is partitioned, what was refused.
    entry         TEXT NOT NULL,
    PRIMARY KEY (account_id, batch_id, resource_type, resource_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER assignment_batch_inserted_rules AFTER INSERT ON assignment_batch BEGIN
    SELECT RAISE(ABORT, 'dangling reference: the account of this row does not exist, insert it first')
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account_id = NEW.account_id);
END;

CREATE TRIGGER account_deleted_batches AFTER DELETE ON account BEGIN
    DELETE FROM assignment_batch_entry WHERE account_id = OLD.account_id;
    DELETE FROM assignment_batch WHERE account_id = OLD.account_id;
END;
