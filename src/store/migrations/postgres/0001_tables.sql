-- The rows of an account.
--
-- The tables and columns are those of SQLite. Everything is written with its schema, since a pooler
-- keeps no search_path. Every table of account data is keyed (account_id, ...) first. Ids are text
-- under the collation "C": they compare bytewise and are never folded.
--
-- How a writer is told which rule a statement breaks, and how the server finds the same text:
-- * A trigger raises check_violation (23514) or foreign_key_violation (23503) without the name of a
--   constraint: the message is the rule's text.
-- * A constraint is violated (23514, 23503, or 23P01 for the one account owner): the rule's text is
--   the comment on the constraint of that name, or the name itself where it has no comment. Names
--   are unique in the schema, so obj_description(oid, 'pg_constraint') by conname is enough. A name
--   holds 63 bytes at most, hence the abbreviations, which the end of this file spells out.
-- * A column is left out (23502): the error names table and column.

DO $$ BEGIN
    IF (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()) <> 'UTF8' THEN
        RAISE EXCEPTION USING MESSAGE = 'the database must have the encoding UTF8, or ids would not be what was written';
    END IF;
END $$;

-- Inlined by the planner into the checks that use them.

CREATE FUNCTION ambit.is_id(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN octet_length(value) BETWEEN 1 AND 256 AND value !~ '[\u0001-\u001f\u007f-\u009f]';

CREATE FUNCTION ambit.is_provenance(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN value IN ('manual', 'default')
        OR (value ~ '^(segment|import|form|request):'
            AND octet_length(substr(value, strpos(value, ':') + 1)) BETWEEN 1 AND 256
            AND value !~ '[\u0001-\u001f\u007f-\u009f]');

CREATE FUNCTION ambit.is_time(value timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN value >= timestamptz '0001-01-01 00:00:00+00' AND value < timestamptz '10000-01-01 00:00:00+00';

-- A plain list: of one dimension, counted from 1, no element missing.
CREATE FUNCTION ambit.are_ids(list text[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN cardinality(list) = 0
        OR (array_ndims(list) = 1 AND array_lower(list, 1) = 1
            AND (SELECT bool_and(item IS NOT NULL AND ambit.is_id(item)) FROM unnest(list) AS item));

-- `schema_version` is the number of the newest migration. A binary that knows an older one works on
-- this schema as long as it knows `compatible_from` or later.
CREATE TABLE ambit.store_identity (
    one             integer NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch           bytea NOT NULL CHECK (octet_length(epoch) = 8),
    token_key       bytea NOT NULL CHECK (octet_length(token_key) = 32),
    schema_version  integer NOT NULL,
    compatible_from integer NOT NULL CHECK (compatible_from <= schema_version)
);

-- gen_random_uuid() draws from the operating system's cryptographic randomness, 122 bits each.
INSERT INTO ambit.store_identity (one, epoch, token_key, schema_version, compatible_from)
    SELECT 1, substring(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) FROM 1 FOR 8),
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
            || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
        1, 1;

CREATE TABLE ambit.account (
    account_id            text COLLATE "C" NOT NULL PRIMARY KEY
        CONSTRAINT "account.account_id is an id" CHECK (ambit.is_id(account_id)),
    -- The name of a built-in catalog, or else the YAML text of the account's own.
    catalog               text COLLATE "C"
        CONSTRAINT "account.catalog is an id" CHECK (ambit.is_id(catalog)),
    catalog_source        text,
    plan                  text COLLATE "C" NOT NULL
        CONSTRAINT "account.plan is an id" CHECK (ambit.is_id(plan)),
    partner_program       text COLLATE "C" NOT NULL DEFAULT 'none'
        CONSTRAINT "account.partner_program is none, solutions or provider"
        CHECK (partner_program IN ('none', 'solutions', 'provider')),
    payment_method_valid  boolean NOT NULL DEFAULT true,
    -- D9: whether an active account owner is enough where the last super admin goes. The server keeps
    -- what the account's catalog says.
    owner_may_stand_alone boolean NOT NULL DEFAULT false,
    CONSTRAINT "account has either catalog or catalog_source"
        CHECK ((catalog IS NULL) <> (catalog_source IS NULL))
);

-- partition_mode and unpartitioned by type (type_key: a type, or the word default), the request
-- settings with an empty type_key and a decimal number.
CREATE TABLE ambit.account_setting (
    account_id text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    type_key   text COLLATE "C" NOT NULL DEFAULT '',
    value      text NOT NULL,
    PRIMARY KEY (account_id, name, type_key),
    CONSTRAINT "account_setting.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE,
    CONSTRAINT "account_setting.value fits its name"
        CHECK (CASE name
            WHEN 'partition_mode' THEN value IN ('wall', 'share')
            WHEN 'unpartitioned' THEN value IN ('everyone', 'creator_and_team', 'no_one')
            WHEN 'request_ttl_seconds' THEN value ~ '^[0-9]{1,20}$'
            WHEN 'request_cool_down_seconds' THEN value ~ '^[0-9]{1,20}$'
            WHEN 'request_limit_per_user' THEN value ~ '^[0-9]{1,10}$'
            ELSE false END),
    CONSTRAINT "account_setting.type_key fits its name"
        CHECK (CASE WHEN name IN ('partition_mode', 'unpartitioned') THEN ambit.is_id(type_key)
            ELSE type_key = '' END)
);

-- That the parent exists is for a trigger to say rather than for a foreign key, whose own trigger
-- would come before the one that moves the children of a deleted team up.
CREATE TABLE ambit.team (
    account_id text COLLATE "C" NOT NULL,
    team_id    text COLLATE "C" NOT NULL
        CONSTRAINT "team.team_id is an id" CHECK (ambit.is_id(team_id)),
    parent     text COLLATE "C",
    PRIMARY KEY (account_id, team_id),
    CONSTRAINT "team.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE,
    CONSTRAINT "P11: a team cannot be its own ancestor" CHECK (parent <> team_id)
);
CREATE INDEX team_by_parent ON ambit.team (account_id, parent) WHERE parent IS NOT NULL;

CREATE TABLE ambit.permission_set (
    account_id        text COLLATE "C" NOT NULL,
    permission_set_id text COLLATE "C" NOT NULL
        CONSTRAINT "permission_set.permission_set_id is an id" CHECK (ambit.is_id(permission_set_id)),
    PRIMARY KEY (account_id, permission_set_id),
    CONSTRAINT "permission_set.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE
);

CREATE TABLE ambit.permission_set_grant (
    account_id         text COLLATE "C" NOT NULL,
    permission_set_id  text COLLATE "C" NOT NULL,
    resource_type      text COLLATE "C" NOT NULL
        CONSTRAINT "permission_set_grant.resource_type is an id" CHECK (ambit.is_id(resource_type)),
    permission         text COLLATE "C" NOT NULL
        CONSTRAINT "permission_set_grant.permission is an id" CHECK (ambit.is_id(permission)),
    level              text COLLATE "C" NOT NULL
        CONSTRAINT "permission_set_grant.level is none, owned, team or everything"
        CHECK (level IN ('none', 'owned', 'team', 'everything')),
    include_unassigned boolean NOT NULL DEFAULT false,
    not_before         timestamptz
        CONSTRAINT "permission_set_grant.not_before is a time" CHECK (ambit.is_time(not_before)),
    expires_at         timestamptz
        CONSTRAINT "permission_set_grant.expires_at is a time" CHECK (ambit.is_time(expires_at)),
    provenance         text COLLATE "C" NOT NULL DEFAULT 'manual'
        CONSTRAINT "permission_set_grant.provenance is a provenance" CHECK (ambit.is_provenance(provenance)),
    granted_by         text COLLATE "C"
        CONSTRAINT "permission_set_grant.granted_by is an id" CHECK (ambit.is_id(granted_by)),
    CONSTRAINT "permission_set_grant.permission_set_id exists"
        FOREIGN KEY (account_id, permission_set_id) REFERENCES ambit.permission_set ON DELETE CASCADE
);
-- A holder may have several grants of one permission; only the very same one twice says nothing.
CREATE UNIQUE INDEX permission_set_grant_whole ON ambit.permission_set_grant (
    account_id, permission_set_id, resource_type, permission, provenance, level, include_unassigned,
    not_before, expires_at, granted_by) NULLS NOT DISTINCT;

CREATE TABLE ambit.app_user (
    account_id      text COLLATE "C" NOT NULL,
    user_id         text COLLATE "C" NOT NULL
        CONSTRAINT "app_user.user_id is an id" CHECK (ambit.is_id(user_id)),
    status          text COLLATE "C" NOT NULL DEFAULT 'active'
        CONSTRAINT "app_user.status is invited, active, deactivated or removed"
        CHECK (status IN ('invited', 'active', 'deactivated', 'removed')),
    kind            text COLLATE "C" NOT NULL DEFAULT 'internal'
        CONSTRAINT "app_user.kind is internal, partner_employee or contractor"
        CHECK (kind IN ('internal', 'partner_employee', 'contractor')),
    account_owner   boolean NOT NULL DEFAULT false,
    super_admin     boolean NOT NULL DEFAULT false,
    partner_admin   boolean NOT NULL DEFAULT false,
    main_team       text COLLATE "C",
    person          text COLLATE "C"
        CONSTRAINT "app_user.person is an id" CHECK (ambit.is_id(person)),
    -- The partner side of a partner user: another account, so no reference.
    partner_account text COLLATE "C"
        CONSTRAINT "app_user.partner_account is an id" CHECK (ambit.is_id(partner_account)),
    partner_user    text COLLATE "C"
        CONSTRAINT "app_user.partner_user is an id" CHECK (ambit.is_id(partner_user)),
    partner_role    text COLLATE "C"
        CONSTRAINT "app_user.partner_role is admin, employee or contractor"
        CHECK (partner_role IN ('admin', 'employee', 'contractor')),
    partnership     text COLLATE "C"
        CONSTRAINT "app_user.partnership is active or ended"
        CHECK (partnership IN ('active', 'ended')),
    PRIMARY KEY (account_id, user_id),
    CONSTRAINT "app_user.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE,
    CONSTRAINT "app_user.main_team exists"
        FOREIGN KEY (account_id, main_team) REFERENCES ambit.team ON DELETE SET NULL (main_team),
    CONSTRAINT "app_user has all of its partner columns, or none"
        CHECK (num_nulls(partner_account, partner_user, partner_role, partnership) IN (0, 4)),
    CONSTRAINT "an account has at most one account owner"
        EXCLUDE (account_id WITH =) WHERE (account_owner)
);
CREATE INDEX app_user_by_main_team ON ambit.app_user (account_id, main_team) WHERE main_team IS NOT NULL;
CREATE INDEX app_user_super_admins ON ambit.app_user (account_id) WHERE super_admin AND status = 'active';

-- Additional teams.
CREATE TABLE ambit.user_team (
    account_id text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    team_id    text COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, user_id, team_id),
    CONSTRAINT "user_team.user_id exists"
        FOREIGN KEY (account_id, user_id) REFERENCES ambit.app_user ON DELETE CASCADE,
    CONSTRAINT "user_team.team_id exists"
        FOREIGN KEY (account_id, team_id) REFERENCES ambit.team ON DELETE CASCADE
);
CREATE INDEX user_team_by_team ON ambit.user_team (account_id, team_id);

CREATE TABLE ambit.user_seat (
    account_id text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    seat       text COLLATE "C" NOT NULL
        CONSTRAINT "user_seat.seat is an id" CHECK (ambit.is_id(seat)),
    PRIMARY KEY (account_id, user_id, seat),
    CONSTRAINT "user_seat.user_id exists"
        FOREIGN KEY (account_id, user_id) REFERENCES ambit.app_user ON DELETE CASCADE
);

CREATE TABLE ambit.user_permission_set (
    account_id        text COLLATE "C" NOT NULL,
    user_id           text COLLATE "C" NOT NULL,
    permission_set_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, user_id, permission_set_id),
    CONSTRAINT "user_permission_set.user_id exists"
        FOREIGN KEY (account_id, user_id) REFERENCES ambit.app_user ON DELETE CASCADE,
    CONSTRAINT "user_permission_set.permission_set_id exists"
        FOREIGN KEY (account_id, permission_set_id) REFERENCES ambit.permission_set ON DELETE CASCADE
);
CREATE INDEX user_permission_set_by_set ON ambit.user_permission_set (account_id, permission_set_id);

CREATE TABLE ambit.user_grant (
    account_id         text COLLATE "C" NOT NULL,
    user_id            text COLLATE "C" NOT NULL,
    resource_type      text COLLATE "C" NOT NULL
        CONSTRAINT "user_grant.resource_type is an id" CHECK (ambit.is_id(resource_type)),
    permission         text COLLATE "C" NOT NULL
        CONSTRAINT "user_grant.permission is an id" CHECK (ambit.is_id(permission)),
    level              text COLLATE "C" NOT NULL
        CONSTRAINT "user_grant.level is none, owned, team or everything"
        CHECK (level IN ('none', 'owned', 'team', 'everything')),
    include_unassigned boolean NOT NULL DEFAULT false,
    not_before         timestamptz
        CONSTRAINT "user_grant.not_before is a time" CHECK (ambit.is_time(not_before)),
    expires_at         timestamptz
        CONSTRAINT "user_grant.expires_at is a time" CHECK (ambit.is_time(expires_at)),
    provenance         text COLLATE "C" NOT NULL DEFAULT 'manual'
        CONSTRAINT "user_grant.provenance is a provenance" CHECK (ambit.is_provenance(provenance)),
    -- Kept after that user is gone, so no reference.
    granted_by         text COLLATE "C"
        CONSTRAINT "user_grant.granted_by is an id" CHECK (ambit.is_id(granted_by)),
    CONSTRAINT "user_grant.user_id exists"
        FOREIGN KEY (account_id, user_id) REFERENCES ambit.app_user ON DELETE CASCADE
);
CREATE UNIQUE INDEX user_grant_whole ON ambit.user_grant (
    account_id, user_id, resource_type, permission, provenance, level, include_unassigned,
    not_before, expires_at, granted_by) NULLS NOT DISTINCT;

CREATE TABLE ambit.access_group (
    account_id      text COLLATE "C" NOT NULL,
    access_group_id text COLLATE "C" NOT NULL
        CONSTRAINT "access_group.access_group_id is an id" CHECK (ambit.is_id(access_group_id)),
    PRIMARY KEY (account_id, access_group_id),
    CONSTRAINT "access_group.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE
);

CREATE TABLE ambit.access_group_member (
    account_id      text COLLATE "C" NOT NULL,
    access_group_id text COLLATE "C" NOT NULL,
    principal_kind  text COLLATE "C" NOT NULL
        CONSTRAINT "access_group_member.principal_kind is user or team"
        CHECK (principal_kind IN ('user', 'team')),
    principal_id    text COLLATE "C" NOT NULL,
    -- The mask, which may be empty.
    actions         text[] NOT NULL
        CONSTRAINT "access_group_member.actions is an array of actions" CHECK (ambit.are_ids(actions)),
    PRIMARY KEY (account_id, access_group_id, principal_kind, principal_id),
    CONSTRAINT "access_group_member.access_group_id exists"
        FOREIGN KEY (account_id, access_group_id) REFERENCES ambit.access_group ON DELETE CASCADE
);
CREATE INDEX access_group_member_by_principal ON ambit.access_group_member (account_id, principal_kind, principal_id);

CREATE TABLE ambit.segment (
    account_id    text COLLATE "C" NOT NULL,
    segment_id    text COLLATE "C" NOT NULL
        CONSTRAINT "segment.segment_id is an id" CHECK (ambit.is_id(segment_id)),
    resource_type text COLLATE "C" NOT NULL
        CONSTRAINT "segment.resource_type is an id" CHECK (ambit.is_id(resource_type)),
    criteria      text NOT NULL,
    enabled       boolean NOT NULL DEFAULT true,
    PRIMARY KEY (account_id, segment_id),
    CONSTRAINT "segment.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE
);

CREATE TABLE ambit.segment_target (
    account_id     text COLLATE "C" NOT NULL,
    segment_id     text COLLATE "C" NOT NULL,
    principal_kind text COLLATE "C" NOT NULL
        CONSTRAINT "segment_target.principal_kind is user, team or group"
        CHECK (principal_kind IN ('user', 'team', 'group')),
    principal_id   text COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, segment_id, principal_kind, principal_id),
    CONSTRAINT "segment_target.segment_id exists"
        FOREIGN KEY (account_id, segment_id) REFERENCES ambit.segment ON DELETE CASCADE
);
CREATE INDEX segment_target_by_principal ON ambit.segment_target (account_id, principal_kind, principal_id);

CREATE TABLE ambit.resource (
    account_id    text COLLATE "C" NOT NULL,
    resource_type text COLLATE "C" NOT NULL
        CONSTRAINT "resource.resource_type is an id" CHECK (ambit.is_id(resource_type)),
    resource_id   text COLLATE "C" NOT NULL
        CONSTRAINT "resource.resource_id is an id" CHECK (ambit.is_id(resource_id)),
    owning_team   text COLLATE "C",
    partitioned   boolean NOT NULL DEFAULT false,
    -- With all that a load reads, so that it reads the index alone, in its order.
    PRIMARY KEY (account_id, resource_type, resource_id) INCLUDE (owning_team, partitioned),
    CONSTRAINT "resource.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE,
    CONSTRAINT "resource.owning_team exists"
        FOREIGN KEY (account_id, owning_team) REFERENCES ambit.team ON DELETE SET NULL (owning_team)
);
CREATE INDEX resource_by_owning_team ON ambit.resource (account_id, owning_team) WHERE owning_team IS NOT NULL;

CREATE TABLE ambit.object_grant (
    account_id    text COLLATE "C" NOT NULL,
    user_id       text COLLATE "C" NOT NULL,
    resource_type text COLLATE "C" NOT NULL,
    resource_id   text COLLATE "C" NOT NULL,
    action        text COLLATE "C" NOT NULL
        CONSTRAINT "object_grant.action is an id" CHECK (ambit.is_id(action)),
    not_before    timestamptz
        CONSTRAINT "object_grant.not_before is a time" CHECK (ambit.is_time(not_before)),
    expires_at    timestamptz
        CONSTRAINT "object_grant.expires_at is a time" CHECK (ambit.is_time(expires_at)),
    provenance    text COLLATE "C" NOT NULL DEFAULT 'manual'
        CONSTRAINT "object_grant.provenance is a provenance" CHECK (ambit.is_provenance(provenance)),
    granted_by    text COLLATE "C"
        CONSTRAINT "object_grant.granted_by is an id" CHECK (ambit.is_id(granted_by)),
    CONSTRAINT "object_grant.user_id exists"
        FOREIGN KEY (account_id, user_id) REFERENCES ambit.app_user ON DELETE CASCADE,
    CONSTRAINT "object_grant.resource exists"
        FOREIGN KEY (account_id, resource_type, resource_id) REFERENCES ambit.resource ON DELETE CASCADE
);
CREATE UNIQUE INDEX object_grant_whole ON ambit.object_grant (
    account_id, user_id, resource_type, resource_id, action, provenance, not_before, expires_at,
    granted_by) NULLS NOT DISTINCT;
CREATE INDEX object_grant_by_resource ON ambit.object_grant (account_id, resource_type, resource_id);

-- Beside the resource rather than in it: loading a graph reads every resource and no attribute.
CREATE TABLE ambit.resource_attributes (
    account_id    text COLLATE "C" NOT NULL,
    resource_type text COLLATE "C" NOT NULL,
    resource_id   text COLLATE "C" NOT NULL,
    -- Not jsonb, which knows no \u0000 and writes numbers anew.
    attributes    json NOT NULL
        CONSTRAINT "resource_attributes.attributes is a JSON object"
        CHECK (json_typeof(attributes) = 'object'),
    PRIMARY KEY (account_id, resource_type, resource_id),
    CONSTRAINT "resource_attributes.resource exists"
        FOREIGN KEY (account_id, resource_type, resource_id) REFERENCES ambit.resource ON DELETE CASCADE
);

CREATE TABLE ambit.resource_owner (
    account_id    text COLLATE "C" NOT NULL,
    resource_type text COLLATE "C" NOT NULL,
    resource_id   text COLLATE "C" NOT NULL,
    user_id       text COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, resource_type, resource_id, user_id),
    CONSTRAINT "resource_owner.resource exists"
        FOREIGN KEY (account_id, resource_type, resource_id) REFERENCES ambit.resource ON DELETE CASCADE,
    CONSTRAINT "resource_owner.user_id exists"
        FOREIGN KEY (account_id, user_id) REFERENCES ambit.app_user ON DELETE CASCADE
);
CREATE INDEX resource_owner_by_user ON ambit.resource_owner (account_id, user_id);

CREATE TABLE ambit.assignment (
    account_id     text COLLATE "C" NOT NULL,
    resource_type  text COLLATE "C" NOT NULL,
    resource_id    text COLLATE "C" NOT NULL,
    principal_kind text COLLATE "C" NOT NULL
        CONSTRAINT "assignment.principal_kind is user, team or group"
        CHECK (principal_kind IN ('user', 'team', 'group')),
    principal_id   text COLLATE "C" NOT NULL,
    provenance     text COLLATE "C" NOT NULL DEFAULT 'manual'
        CONSTRAINT "assignment.provenance is a provenance" CHECK (ambit.is_provenance(provenance)),
    expires_at     timestamptz
        CONSTRAINT "assignment.expires_at is a time" CHECK (ambit.is_time(expires_at)),
    PRIMARY KEY (account_id, resource_type, resource_id, principal_kind, principal_id, provenance) INCLUDE (expires_at),
    CONSTRAINT "assignment.resource exists"
        FOREIGN KEY (account_id, resource_type, resource_id) REFERENCES ambit.resource ON DELETE CASCADE
);
CREATE INDEX assignment_by_principal ON ambit.assignment (account_id, principal_kind, principal_id);

-- Where each account stands. Moved at COMMIT, by the trigger commit_revision only.
CREATE TABLE ambit.account_head (
    account_id      text COLLATE "C" NOT NULL PRIMARY KEY,
    revision        bigint NOT NULL CHECK (revision >= 1),
    nonce           bytea NOT NULL CHECK (octet_length(nonce) = 8),
    -- D9: whether it had an active super admin at this revision, so that it must keep one.
    has_super_admin boolean NOT NULL
    -- Room beside each row: the next revision goes there and no index changes.
) WITH (fillfactor = 25);

-- Which entities a transaction changed: keys only, a reader looks up how they are now. A row holds
-- at most 1,000 keys of one kind and type. The kind `reload` says that more changed than was worth
-- logging; its resource_type is then the kind of what changed, or empty where nobody knows.
CREATE TABLE ambit.change_log (
    account_id    text COLLATE "C" NOT NULL,
    txid          xid8 NOT NULL,
    ordinal       bigint GENERATED ALWAYS AS IDENTITY,
    kind          text COLLATE "C" NOT NULL
        CHECK (kind IN ('account', 'team', 'permission_set', 'user', 'access_group', 'segment', 'resource', 'reload')),
    resource_type text COLLATE "C" NOT NULL,
    ids           text[] NOT NULL,
    PRIMARY KEY (account_id, txid, ordinal)
);

-- Which transaction made a revision. One that took several has several rows.
CREATE TABLE ambit.revision_log (
    account_id text COLLATE "C" NOT NULL,
    revision   bigint NOT NULL,
    nonce      bytea NOT NULL CHECK (octet_length(nonce) = 8),
    txid       xid8 NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (account_id, revision)
);
CREATE INDEX revision_log_by_age ON ambit.revision_log (at);

-- What the running transaction has changed and not yet numbered. A row never outlives its
-- transaction, so no other one ever sees it, and a crash has nothing to lose.
CREATE UNLOGGED TABLE ambit.commit_pending (
    txid       xid8 NOT NULL,
    account_id text COLLATE "C" NOT NULL,
    -- The account was deleted; it may be there again.
    deleted    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (txid, account_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

CREATE TABLE ambit.idempotency (
    account_id     text COLLATE "C" NOT NULL,
    key            text COLLATE "C" NOT NULL,
    request_digest bytea NOT NULL CHECK (octet_length(request_digest) = 32),
    revision       bigint NOT NULL,
    nonce          bytea NOT NULL CHECK (octet_length(nonce) = 8),
    at             timestamptz NOT NULL,
    PRIMARY KEY (account_id, key),
    CONSTRAINT "idempotency.account_id exists"
        FOREIGN KEY (account_id) REFERENCES ambit.account ON DELETE CASCADE
);
CREATE INDEX idempotency_by_age ON ambit.idempotency (account_id, at);

-- The rules' texts.
DO $$
DECLARE
    rule record;
BEGIN
    FOR rule IN
        SELECT conrelid::regclass AS "table", conname AS name, CASE
            WHEN conname LIKE '% is an id'
                THEN replace(conname, ' is an id', ' is 1 to 256 bytes without control characters')
            WHEN conname LIKE '% is a time'
                THEN replace(conname, ' is a time', ' lies in the years 1 to 9999')
            WHEN conname LIKE '% is a provenance'
                THEN replace(conname, ' is a provenance', ' is manual, default, segment:ID, import:ID, form:ID or request:ID')
            WHEN conname LIKE '%.account_id exists'
                THEN 'dangling reference: the account of this row does not exist, insert it first'
            WHEN conname LIKE '%.resource exists'
                THEN format('dangling reference: %s names a resource that the account does not have',
                    split_part(conname, '.', 1))
            WHEN contype = 'f' THEN format('dangling reference: %s is not %s of the account',
                replace(conname, ' exists', ''), CASE confrelid
                    WHEN 'ambit.team'::regclass THEN 'a team'
                    WHEN 'ambit.permission_set'::regclass THEN 'a permission set'
                    WHEN 'ambit.app_user'::regclass THEN 'an user'
                    WHEN 'ambit.access_group'::regclass THEN 'an access group'
                    WHEN 'ambit.segment'::regclass THEN 'a segment' END)
            WHEN conname = 'account_setting.type_key fits its name'
                THEN 'account_setting.type_key is a type or default for the settings by type, else empty'
            WHEN conname = 'access_group_member.actions is an array of actions'
                THEN 'access_group_member.actions is an array of actions, each 1 to 256 bytes without control characters'
            WHEN conname = 'app_user has all of its partner columns, or none'
                THEN 'app_user has all of partner_account, partner_user, partner_role and partnership, or none'
            END AS text
        FROM pg_constraint WHERE connamespace = 'ambit'::regnamespace
    LOOP
        IF rule.text IS NOT NULL THEN
            EXECUTE format('COMMENT ON CONSTRAINT %I ON %s IS %L', rule.name, rule."table", rule.text);
        END IF;
    END LOOP;
END $$;
