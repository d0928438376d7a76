-- P1: whether a rule may assign records that nobody is assigned to yet, and so close them.
ALTER TABLE ambit.segment ADD COLUMN may_partition boolean NOT NULL DEFAULT true;

-- How far the rules of segments have been brought to the records. It is no account data: it is in no
-- export, logs no change and takes no revision, and it goes with the account.

-- The accounts with segments, or that had any: up to which revision whatever changed has been looked
-- at, and who looks.
CREATE TABLE ambit.segment_follow (
    account_id  text COLLATE "C" NOT NULL PRIMARY KEY,
    -- 0: none yet.
    revision    bigint NOT NULL CHECK (revision >= 0),
    nonce       bytea NOT NULL CHECK (octet_length(nonce) = 8),
    -- The server that has it in hand, until its lease ends.
    holder      bytea CHECK (octet_length(holder) = 16),
    lease_until timestamptz NOT NULL,
    CONSTRAINT "segment_follow.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE
);

INSERT INTO ambit.segment_follow (account_id, revision, nonce, lease_until)
    SELECT DISTINCT account_id, 0, '\x0000000000000000'::bytea, 'epoch'::timestamptz FROM ambit.segment;

-- The first segment of an account makes it one that is followed, whoever writes it.
CREATE FUNCTION ambit.follow_segments() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO ambit.segment_follow (account_id, revision, nonce, lease_until)
        SELECT DISTINCT account_id, 0, '\x0000000000000000'::bytea, 'epoch'::timestamptz FROM made
        ON CONFLICT (account_id) DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER followed AFTER INSERT ON ambit.segment REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION ambit.follow_segments();

-- One for each time that a rule is run over all records.
CREATE TABLE ambit.segment_job (
    account_id text COLLATE "C" NOT NULL,
    segment_id text COLLATE "C" NOT NULL,
    -- The revision of the account at which it became due.
    revision   bigint NOT NULL CHECK (revision > 0),
    state      text COLLATE "C" NOT NULL
        CHECK (state IN ('pending', 'running', 'done', 'failed', 'replaced')),
    -- Its cause, how far it is and what it came to.
    record     json NOT NULL,
    PRIMARY KEY (account_id, segment_id, revision),
    CONSTRAINT "segment_job.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE
);
CREATE INDEX segment_job_to_do ON ambit.segment_job (account_id) WHERE state IN ('pending', 'running');

COMMENT ON CONSTRAINT "segment_follow.account_id exists" ON ambit.segment_follow
    IS 'dangling reference: the account of this row does not exist, insert it first';
COMMENT ON CONSTRAINT "segment_job.account_id exists" ON ambit.segment_job
    IS 'dangling reference: the account of this row does not exist, insert it first';

-- A version of before runs no rules and reads none of this.
UPDATE ambit.store_identity SET schema_version = 13;
