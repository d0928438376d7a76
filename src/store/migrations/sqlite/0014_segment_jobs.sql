-- P1: whether a rule may assign records that nobody is assigned to yet, and so close them.
ALTER TABLE segment ADD COLUMN may_partition INTEGER NOT NULL DEFAULT 1
    CONSTRAINT "segment.may_partition is 0 or 1" CHECK (may_partition IN (0, 1));

-- How far the rules of segments have been brought to the records. It is no account data: it is in no
-- export, logs no change and takes no revision, and it goes with the account.

-- The accounts with segments, or that had any: up to which revision whatever changed has been looked
-- at, and who looks.
CREATE TABLE segment_follow (
    account_id  TEXT NOT NULL PRIMARY KEY,
    -- 0: none yet.
    revision    INTEGER NOT NULL CHECK (revision >= 0),
    nonce       BLOB NOT NULL CHECK (length(nonce) = 8),
    -- The server that has it in hand, until its lease ends.
    holder      BLOB CHECK (length(holder) = 16),
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO segment_follow (account_id, revision, nonce, holder, lease_until)
    SELECT DISTINCT account_id, 0, zeroblob(8), NULL, 0 FROM segment;

-- The first segment of an account makes it one that is followed, whoever writes it. Not by ON
-- CONFLICT, which a writer's INSERT OR REPLACE would turn into its own.
CREATE TRIGGER segment_inserted_follow AFTER INSERT ON segment BEGIN
    INSERT INTO segment_follow (account_id, revision, nonce, holder, lease_until)
        SELECT NEW.account_id, 0, zeroblob(8), NULL, 0
            WHERE NOT EXISTS (SELECT 1 FROM segment_follow WHERE account_id = NEW.account_id);
END;

-- One for each time that a rule is run over all records.
CREATE TABLE segment_job (
    account_id TEXT NOT NULL,
    segment_id TEXT NOT NULL,
    -- The revision of the account at which it became due.
    revision   INTEGER NOT NULL CHECK (revision > 0),
    state      TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed', 'replaced')),
    -- Its cause, how far it is and what it came to.
    record     TEXT NOT NULL CHECK (json_valid(record)),
    PRIMARY KEY (account_id, segment_id, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX segment_job_to_do ON segment_job (account_id) WHERE state IN ('pending', 'running');

-- Beside account_deleted_cascade, in whatever order the two run.
CREATE TRIGGER account_deleted_segment_jobs AFTER DELETE ON account BEGIN
    DELETE FROM segment_job WHERE account_id = OLD.account_id;
    DELETE FROM segment_follow WHERE account_id = OLD.account_id;
END;
