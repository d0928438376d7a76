-- P1: whether a rule may assign records that nobody is assigned to yet, and so close them.
ALTER TABLE ambit.segment ADD COLUMN may_partition boolean NOT NULL DEFAULT true;

-- How far the rules of segments have been brought to the records. It is no account data: it is in no
-- export, logs no change and takes no revision, and it goes with the account.

-- Up to which revision whatever changed has been looked at, and who looks.
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
