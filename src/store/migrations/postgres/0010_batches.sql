-- Bulks of assignments: how far each has come, and what it did to which resource, so that a broken
-- one is taken up and a finished one undone. Beside the account: nothing here takes a revision.

CREATE TABLE ambit.assignment_batch (
    account_id     text COLLATE "C" NOT NULL,
    batch_id       text COLLATE "C" NOT NULL,
    request_digest bytea NOT NULL CHECK (octet_length(request_digest) = 32),
    kind           text COLLATE "C" NOT NULL
        CHECK (kind IN ('assign', 'unpartition', 'undo_batch', 'undo_import')),
    -- The last resource that was looked at.
    reached_type   text COLLATE "C",
    reached_id     text COLLATE "C",
    is_done        boolean NOT NULL,
    changed        bigint NOT NULL CHECK (changed >= 0),
    unchanged      bigint NOT NULL CHECK (unchanged >= 0),
    refused        bigint NOT NULL CHECK (refused >= 0),
    orphaned       bigint NOT NULL CHECK (orphaned >= 0),
    actor          text COLLATE "C",
    begun_at       timestamptz NOT NULL,
    -- Where the account stood after the last step.
    revision       bigint NOT NULL,
    nonce          bytea NOT NULL CHECK (octet_length(nonce) = 8),
    PRIMARY KEY (account_id, batch_id),
    CHECK ((reached_type IS NULL) = (reached_id IS NULL)),
    CONSTRAINT "assignment_batch.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE
);
CREATE INDEX assignment_batch_by_age ON ambit.assignment_batch (begun_at);

CREATE TABLE ambit.assignment_batch_entry (
    account_id    text COLLATE "C" NOT NULL,
    batch_id      text COLLATE "C" NOT NULL,
    resource_type text COLLATE "C" NOT NULL,
    resource_id   text COLLATE "C" NOT NULL,
    -- JSON: rows added and removed, whether it was and is partitioned, what was refused.
    entry         text NOT NULL,
    PRIMARY KEY (account_id, batch_id, resource_type, resource_id),
    CONSTRAINT "assignment_batch_entry.batch_id exists"
        FOREIGN KEY (account_id, batch_id) REFERENCES ambit.assignment_batch ON DELETE CASCADE
);

-- The rules' texts, as in 0001.
COMMENT ON CONSTRAINT "assignment_batch.account_id exists" ON ambit.assignment_batch
    IS 'dangling reference: the account of this row does not exist, insert it first';
COMMENT ON CONSTRAINT "assignment_batch_entry.batch_id exists" ON ambit.assignment_batch_entry
    IS 'dangling reference: the account of this row does not exist, insert it first';

-- Beside ambit.empty_account: table by table rather than row by row.
CREATE FUNCTION ambit.empty_account_of_batches() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM ambit.assignment_batch_entry WHERE account_id = OLD.account_id;
    DELETE FROM ambit.assignment_batch WHERE account_id = OLD.account_id;
    RETURN OLD;
END $$;

CREATE TRIGGER emptied_of_batches BEFORE DELETE ON ambit.account
    FOR EACH ROW EXECUTE FUNCTION ambit.empty_account_of_batches();

REVOKE EXECUTE ON FUNCTION ambit.empty_account_of_batches() FROM PUBLIC;

-- A version of before follows this schema: it knows nothing of batches, and needs to know nothing.
UPDATE ambit.store_identity SET schema_version = 10;
