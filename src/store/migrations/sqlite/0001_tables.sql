-- The rows of an account.
--
-- Every table of account data is keyed (account_id, ...) first. Ids are TEXT under the BINARY
-- collation: they compare bytewise and are never folded. Times are microseconds since
-- 1970-01-01T00:00:00Z. STRICT keeps a plain SQL writer from storing a number or a blob where
-- text belongs; the names of the checks are what that writer is told.
--
-- There is no unique key beside the primary keys but those over whole rows: INSERT OR REPLACE can
-- so never remove a row other than the one that it writes, which no trigger would see.

CREATE TABLE store_identity (
    one       INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch     BLOB NOT NULL CHECK (length(epoch) = 8),
    token_key BLOB NOT NULL CHECK (length(token_key) = 32)
) STRICT;

CREATE TABLE account (
    account_id           TEXT NOT NULL PRIMARY KEY
        CONSTRAINT "account.account_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(account_id AS BLOB)) BETWEEN 1 AND 256 AND instr(account_id, char(0)) = 0
            AND account_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    -- The name of a built-in catalog, or else the YAML text of the account's own.
    catalog              TEXT
        CONSTRAINT "account.catalog is 1 to 256 bytes without control characters"
        CHECK (length(CAST(catalog AS BLOB)) BETWEEN 1 AND 256 AND instr(catalog, char(0)) = 0
            AND catalog NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    catalog_source       TEXT,
    plan                 TEXT NOT NULL
        CONSTRAINT "account.plan is 1 to 256 bytes without control characters"
        CHECK (length(CAST(plan AS BLOB)) BETWEEN 1 AND 256 AND instr(plan, char(0)) = 0
            AND plan NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    partner_program      TEXT NOT NULL DEFAULT 'none'
        CONSTRAINT "account.partner_program is none, solutions or provider"
        CHECK (partner_program IN ('none', 'solutions', 'provider')),
    payment_method_valid INTEGER NOT NULL DEFAULT 1
        CONSTRAINT "account.payment_method_valid is 0 or 1" CHECK (payment_method_valid IN (0, 1)),
    CONSTRAINT "account has either catalog or catalog_source"
        CHECK ((catalog IS NULL) <> (catalog_source IS NULL))
) STRICT, WITHOUT ROWID;

-- Where each account stands. Moved by triggers only. `writing` is never seen other than 0 outside
-- of the transaction that sets it: 1, the transaction has taken its revision, rows are only
-- logged; 2, they aren't logged either, since the log says "reload"; 3, the account is being
-- deleted, so that nothing cascades within it.
CREATE TABLE account_head (
    account_id TEXT NOT NULL PRIMARY KEY,
    revision   INTEGER NOT NULL CHECK (revision >= 1),
    nonce      BLOB NOT NULL CHECK (length(nonce) = 8),
    writing    INTEGER NOT NULL DEFAULT 0 CHECK (writing IN (0, 1, 2, 3))
) STRICT, WITHOUT ROWID;

-- partition_mode and unpartitioned by type (type_key: a type, or the word default), the request
-- settings with an empty type_key and a decimal number.
CREATE TABLE account_setting (
    account_id TEXT NOT NULL,
    name       TEXT NOT NULL,
    type_key   TEXT NOT NULL DEFAULT '',
    value      TEXT NOT NULL,
    PRIMARY KEY (account_id, name, type_key),
    CONSTRAINT "account_setting.value fits its name"
        CHECK (CASE name
            WHEN 'partition_mode' THEN value IN ('wall', 'share')
            WHEN 'unpartitioned' THEN value IN ('everyone', 'creator_and_team', 'no_one')
            WHEN 'request_ttl_seconds' THEN value GLOB '[0-9]*' AND value NOT GLOB '*[^0-9]*' AND length(value) <= 20
            WHEN 'request_cool_down_seconds' THEN value GLOB '[0-9]*' AND value NOT GLOB '*[^0-9]*' AND length(value) <= 20
            WHEN 'request_limit_per_user' THEN value GLOB '[0-9]*' AND value NOT GLOB '*[^0-9]*' AND length(value) <= 10
            ELSE 0 END),
    CONSTRAINT "account_setting.type_key is a type or default for the settings by type, else empty"
        CHECK (CASE WHEN name IN ('partition_mode', 'unpartitioned')
            THEN length(CAST(type_key AS BLOB)) BETWEEN 1 AND 256 AND instr(type_key, char(0)) = 0
                AND type_key NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')
            ELSE type_key = '' END)
) STRICT, WITHOUT ROWID;

CREATE TABLE team (
    account_id TEXT NOT NULL,
    team_id    TEXT NOT NULL
        CONSTRAINT "team.team_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(team_id AS BLOB)) BETWEEN 1 AND 256 AND instr(team_id, char(0)) = 0
            AND team_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    parent     TEXT,
    PRIMARY KEY (account_id, team_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX team_by_parent ON team (account_id, parent) WHERE parent IS NOT NULL;

CREATE TABLE permission_set (
    account_id        TEXT NOT NULL,
    permission_set_id TEXT NOT NULL
        CONSTRAINT "permission_set.permission_set_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(permission_set_id AS BLOB)) BETWEEN 1 AND 256 AND instr(permission_set_id, char(0)) = 0
            AND permission_set_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    PRIMARY KEY (account_id, permission_set_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE permission_set_grant (
    account_id         TEXT NOT NULL,
    permission_set_id  TEXT NOT NULL,
    resource_type      TEXT NOT NULL
        CONSTRAINT "permission_set_grant.resource_type is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resource_type AS BLOB)) BETWEEN 1 AND 256 AND instr(resource_type, char(0)) = 0
            AND resource_type NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    permission         TEXT NOT NULL
        CONSTRAINT "permission_set_grant.permission is 1 to 256 bytes without control characters"
        CHECK (length(CAST(permission AS BLOB)) BETWEEN 1 AND 256 AND instr(permission, char(0)) = 0
            AND permission NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    level              TEXT NOT NULL
        CONSTRAINT "permission_set_grant.level is none, owned, team or everything"
        CHECK (level IN ('none', 'owned', 'team', 'everything')),
    include_unassigned INTEGER NOT NULL DEFAULT 0
        CONSTRAINT "permission_set_grant.include_unassigned is 0 or 1" CHECK (include_unassigned IN (0, 1)),
    not_before         INTEGER
        CONSTRAINT "permission_set_grant.not_before lies in the years 1 to 9999"
        CHECK (not_before BETWEEN -62135596800000000 AND 253402300799999999),
    expires_at         INTEGER
        CONSTRAINT "permission_set_grant.expires_at lies in the years 1 to 9999"
        CHECK (expires_at BETWEEN -62135596800000000 AND 253402300799999999),
    provenance         TEXT NOT NULL DEFAULT 'manual'
        CONSTRAINT "permission_set_grant.provenance is manual, default, segment:ID, import:ID, form:ID or request:ID"
        CHECK (provenance IN ('manual', 'default')
            OR (substr(provenance, 1, instr(provenance, ':')) IN ('segment:', 'import:', 'form:', 'request:')
                AND length(CAST(substr(provenance, instr(provenance, ':') + 1) AS BLOB)) BETWEEN 1 AND 256
                AND instr(provenance, char(0)) = 0
                AND provenance NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'))),
    granted_by         TEXT
        CONSTRAINT "permission_set_grant.granted_by is 1 to 256 bytes without control characters"
        CHECK (length(CAST(granted_by AS BLOB)) BETWEEN 1 AND 256 AND instr(granted_by, char(0)) = 0
            AND granted_by NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'))
) STRICT;
-- A holder may have several grants of one permission; only the very same one twice says nothing.
CREATE UNIQUE INDEX permission_set_grant_whole ON permission_set_grant (
    account_id, permission_set_id, resource_type, permission, provenance, level, include_unassigned,
    ifnull(not_before, ''), ifnull(expires_at, ''), ifnull(granted_by, ''));

CREATE TABLE app_user (
    account_id      TEXT NOT NULL,
    user_id         TEXT NOT NULL
        CONSTRAINT "app_user.user_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(user_id AS BLOB)) BETWEEN 1 AND 256 AND instr(user_id, char(0)) = 0
            AND user_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    status          TEXT NOT NULL DEFAULT 'active'
        CONSTRAINT "app_user.status is invited, active, deactivated or removed"
        CHECK (status IN ('invited', 'active', 'deactivated', 'removed')),
    kind            TEXT NOT NULL DEFAULT 'internal'
        CONSTRAINT "app_user.kind is internal, partner_employee or contractor"
        CHECK (kind IN ('internal', 'partner_employee', 'contractor')),
    account_owner   INTEGER NOT NULL DEFAULT 0
        CONSTRAINT "app_user.account_owner is 0 or 1" CHECK (account_owner IN (0, 1)),
    super_admin     INTEGER NOT NULL DEFAULT 0
        CONSTRAINT "app_user.super_admin is 0 or 1" CHECK (super_admin IN (0, 1)),
    partner_admin   INTEGER NOT NULL DEFAULT 0
        CONSTRAINT "app_user.partner_admin is 0 or 1" CHECK (partner_admin IN (0, 1)),
    main_team       TEXT,
    person          TEXT
        CONSTRAINT "app_user.person is 1 to 256 bytes without control characters"
        CHECK (length(CAST(person AS BLOB)) BETWEEN 1 AND 256 AND instr(person, char(0)) = 0
            AND person NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    -- The partner side of a partner user: another account, so no reference.
    partner_account TEXT
        CONSTRAINT "app_user.partner_account is 1 to 256 bytes without control characters"
        CHECK (length(CAST(partner_account AS BLOB)) BETWEEN 1 AND 256 AND instr(partner_account, char(0)) = 0
            AND partner_account NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    partner_user    TEXT
        CONSTRAINT "app_user.partner_user is 1 to 256 bytes without control characters"
        CHECK (length(CAST(partner_user AS BLOB)) BETWEEN 1 AND 256 AND instr(partner_user, char(0)) = 0
            AND partner_user NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    partner_role    TEXT
        CONSTRAINT "app_user.partner_role is admin, employee or contractor"
        CHECK (partner_role IN ('admin', 'employee', 'contractor')),
    partnership     TEXT
        CONSTRAINT "app_user.partnership is active or ended" CHECK (partnership IN ('active', 'ended')),
    PRIMARY KEY (account_id, user_id),
    CONSTRAINT "app_user has all of partner_account, partner_user, partner_role and partnership, or none"
        CHECK ((partner_account IS NULL) = (partner_user IS NULL)
            AND (partner_account IS NULL) = (partner_role IS NULL)
            AND (partner_account IS NULL) = (partnership IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX app_user_by_main_team ON app_user (account_id, main_team) WHERE main_team IS NOT NULL;
CREATE INDEX app_user_owning ON app_user (account_id) WHERE account_owner = 1;

-- Additional teams.
CREATE TABLE user_team (
    account_id TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    team_id    TEXT NOT NULL,
    PRIMARY KEY (account_id, user_id, team_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_team_by_team ON user_team (account_id, team_id);

CREATE TABLE user_seat (
    account_id TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    seat       TEXT NOT NULL
        CONSTRAINT "user_seat.seat is 1 to 256 bytes without control characters"
        CHECK (length(CAST(seat AS BLOB)) BETWEEN 1 AND 256 AND instr(seat, char(0)) = 0
            AND seat NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    PRIMARY KEY (account_id, user_id, seat)
) STRICT, WITHOUT ROWID;

CREATE TABLE user_permission_set (
    account_id        TEXT NOT NULL,
    user_id           TEXT NOT NULL,
    permission_set_id TEXT NOT NULL,
    PRIMARY KEY (account_id, user_id, permission_set_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_permission_set_by_set ON user_permission_set (account_id, permission_set_id);

CREATE TABLE user_grant (
    account_id         TEXT NOT NULL,
    user_id            TEXT NOT NULL,
    resource_type      TEXT NOT NULL
        CONSTRAINT "user_grant.resource_type is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resource_type AS BLOB)) BETWEEN 1 AND 256 AND instr(resource_type, char(0)) = 0
            AND resource_type NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    permission         TEXT NOT NULL
        CONSTRAINT "user_grant.permission is 1 to 256 bytes without control characters"
        CHECK (length(CAST(permission AS BLOB)) BETWEEN 1 AND 256 AND instr(permission, char(0)) = 0
            AND permission NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    level              TEXT NOT NULL
        CONSTRAINT "user_grant.level is none, owned, team or everything"
        CHECK (level IN ('none', 'owned', 'team', 'everything')),
    include_unassigned INTEGER NOT NULL DEFAULT 0
        CONSTRAINT "user_grant.include_unassigned is 0 or 1" CHECK (include_unassigned IN (0, 1)),
    not_before         INTEGER
        CONSTRAINT "user_grant.not_before lies in the years 1 to 9999"
        CHECK (not_before BETWEEN -62135596800000000 AND 253402300799999999),
    expires_at         INTEGER
        CONSTRAINT "user_grant.expires_at lies in the years 1 to 9999"
        CHECK (expires_at BETWEEN -62135596800000000 AND 253402300799999999),
    provenance         TEXT NOT NULL DEFAULT 'manual'
        CONSTRAINT "user_grant.provenance is manual, default, segment:ID, import:ID, form:ID or request:ID"
        CHECK (provenance IN ('manual', 'default')
            OR (substr(provenance, 1, instr(provenance, ':')) IN ('segment:', 'import:', 'form:', 'request:')
                AND length(CAST(substr(provenance, instr(provenance, ':') + 1) AS BLOB)) BETWEEN 1 AND 256
                AND instr(provenance, char(0)) = 0
                AND provenance NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'))),
    -- Kept after that user is gone, so no reference.
    granted_by         TEXT
        CONSTRAINT "user_grant.granted_by is 1 to 256 bytes without control characters"
        CHECK (length(CAST(granted_by AS BLOB)) BETWEEN 1 AND 256 AND instr(granted_by, char(0)) = 0
            AND granted_by NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'))
) STRICT;
CREATE UNIQUE INDEX user_grant_whole ON user_grant (
    account_id, user_id, resource_type, permission, provenance, level, include_unassigned,
    ifnull(not_before, ''), ifnull(expires_at, ''), ifnull(granted_by, ''));

CREATE TABLE object_grant (
    account_id    TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    action        TEXT NOT NULL
        CONSTRAINT "object_grant.action is 1 to 256 bytes without control characters"
        CHECK (length(CAST(action AS BLOB)) BETWEEN 1 AND 256 AND instr(action, char(0)) = 0
            AND action NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    not_before    INTEGER
        CONSTRAINT "object_grant.not_before lies in the years 1 to 9999"
        CHECK (not_before BETWEEN -62135596800000000 AND 253402300799999999),
    expires_at    INTEGER
        CONSTRAINT "object_grant.expires_at lies in the years 1 to 9999"
        CHECK (expires_at BETWEEN -62135596800000000 AND 253402300799999999),
    provenance    TEXT NOT NULL DEFAULT 'manual'
        CONSTRAINT "object_grant.provenance is manual, default, segment:ID, import:ID, form:ID or request:ID"
        CHECK (provenance IN ('manual', 'default')
            OR (substr(provenance, 1, instr(provenance, ':')) IN ('segment:', 'import:', 'form:', 'request:')
                AND length(CAST(substr(provenance, instr(provenance, ':') + 1) AS BLOB)) BETWEEN 1 AND 256
                AND instr(provenance, char(0)) = 0
                AND provenance NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'))),
    granted_by    TEXT
        CONSTRAINT "object_grant.granted_by is 1 to 256 bytes without control characters"
        CHECK (length(CAST(granted_by AS BLOB)) BETWEEN 1 AND 256 AND instr(granted_by, char(0)) = 0
            AND granted_by NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'))
) STRICT;
CREATE UNIQUE INDEX object_grant_whole ON object_grant (
    account_id, user_id, resource_type, resource_id, action, provenance,
    ifnull(not_before, ''), ifnull(expires_at, ''), ifnull(granted_by, ''));
CREATE INDEX object_grant_by_resource ON object_grant (account_id, resource_type, resource_id);

CREATE TABLE access_group (
    account_id      TEXT NOT NULL,
    access_group_id TEXT NOT NULL
        CONSTRAINT "access_group.access_group_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(access_group_id AS BLOB)) BETWEEN 1 AND 256 AND instr(access_group_id, char(0)) = 0
            AND access_group_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    PRIMARY KEY (account_id, access_group_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE access_group_member (
    account_id      TEXT NOT NULL,
    access_group_id TEXT NOT NULL,
    principal_kind  TEXT NOT NULL
        CONSTRAINT "access_group_member.principal_kind is user or team" CHECK (principal_kind IN ('user', 'team')),
    principal_id    TEXT NOT NULL,
    -- The mask: a JSON array of actions, which may be empty.
    actions         TEXT NOT NULL
        CONSTRAINT "access_group_member.actions is a JSON array of actions"
        CHECK (CASE WHEN json_valid(actions) THEN json_type(actions) = 'array' ELSE 0 END),
    PRIMARY KEY (account_id, access_group_id, principal_kind, principal_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX access_group_member_by_principal ON access_group_member (account_id, principal_kind, principal_id);

CREATE TABLE segment (
    account_id    TEXT NOT NULL,
    segment_id    TEXT NOT NULL
        CONSTRAINT "segment.segment_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(segment_id AS BLOB)) BETWEEN 1 AND 256 AND instr(segment_id, char(0)) = 0
            AND segment_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    resource_type TEXT NOT NULL
        CONSTRAINT "segment.resource_type is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resource_type AS BLOB)) BETWEEN 1 AND 256 AND instr(resource_type, char(0)) = 0
            AND resource_type NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    criteria      TEXT NOT NULL,
    enabled       INTEGER NOT NULL DEFAULT 1
        CONSTRAINT "segment.enabled is 0 or 1" CHECK (enabled IN (0, 1)),
    PRIMARY KEY (account_id, segment_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE segment_target (
    account_id     TEXT NOT NULL,
    segment_id     TEXT NOT NULL,
    principal_kind TEXT NOT NULL
        CONSTRAINT "segment_target.principal_kind is user, team or group" CHECK (principal_kind IN ('user', 'team', 'group')),
    principal_id   TEXT NOT NULL,
    PRIMARY KEY (account_id, segment_id, principal_kind, principal_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX segment_target_by_principal ON segment_target (account_id, principal_kind, principal_id);

CREATE TABLE resource (
    account_id    TEXT NOT NULL,
    resource_type TEXT NOT NULL
        CONSTRAINT "resource.resource_type is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resource_type AS BLOB)) BETWEEN 1 AND 256 AND instr(resource_type, char(0)) = 0
            AND resource_type NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    resource_id   TEXT NOT NULL
        CONSTRAINT "resource.resource_id is 1 to 256 bytes without control characters"
        CHECK (length(CAST(resource_id AS BLOB)) BETWEEN 1 AND 256 AND instr(resource_id, char(0)) = 0
            AND resource_id NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')),
    owning_team   TEXT,
    partitioned   INTEGER NOT NULL DEFAULT 0
        CONSTRAINT "resource.partitioned is 0 or 1" CHECK (partitioned IN (0, 1)),
    PRIMARY KEY (account_id, resource_type, resource_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX resource_by_owning_team ON resource (account_id, owning_team) WHERE owning_team IS NOT NULL;

-- Beside the resource rather than in it: loading a graph reads every resource and no attribute.
CREATE TABLE resource_attributes (
    account_id    TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    attributes    TEXT NOT NULL
        CONSTRAINT "resource_attributes.attributes is a JSON object"
        CHECK (CASE WHEN json_valid(attributes) THEN json_type(attributes) = 'object' ELSE 0 END),
    PRIMARY KEY (account_id, resource_type, resource_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE resource_owner (
    account_id    TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    PRIMARY KEY (account_id, resource_type, resource_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX resource_owner_by_user ON resource_owner (account_id, user_id);

CREATE TABLE assignment (
    account_id     TEXT NOT NULL,
    resource_type  TEXT NOT NULL,
    resource_id    TEXT NOT NULL,
    principal_kind TEXT NOT NULL
        CONSTRAINT "assignment.principal_kind is user, team or group" CHECK (principal_kind IN ('user', 'team', 'group')),
    principal_id   TEXT NOT NULL,
    provenance     TEXT NOT NULL DEFAULT 'manual'
        CONSTRAINT "assignment.provenance is manual, default, segment:ID, import:ID, form:ID or request:ID"
        CHECK (provenance IN ('manual', 'default')
            OR (substr(provenance, 1, instr(provenance, ':')) IN ('segment:', 'import:', 'form:', 'request:')
                AND length(CAST(substr(provenance, instr(provenance, ':') + 1) AS BLOB)) BETWEEN 1 AND 256
                AND instr(provenance, char(0)) = 0
                AND provenance NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'))),
    expires_at     INTEGER
        CONSTRAINT "assignment.expires_at lies in the years 1 to 9999"
        CHECK (expires_at BETWEEN -62135596800000000 AND 253402300799999999),
    PRIMARY KEY (account_id, resource_type, resource_id, principal_kind, principal_id, provenance)
) STRICT, WITHOUT ROWID;
CREATE INDEX assignment_by_principal ON assignment (account_id, principal_kind, principal_id);

-- Which entities a revision changed: keys only, a reader looks up how they are now. The kind
-- `reload` says that more changed than was worth logging.
CREATE TABLE change_log (
    account_id    TEXT NOT NULL,
    revision      INTEGER NOT NULL,
    kind          TEXT NOT NULL
        CHECK (kind IN ('account', 'team', 'permission_set', 'user', 'access_group', 'segment', 'resource', 'reload')),
    resource_type TEXT NOT NULL,
    id            TEXT NOT NULL,
    PRIMARY KEY (account_id, revision, kind, resource_type, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE revision_log (
    account_id TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    nonce      BLOB NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (account_id, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    account_id     TEXT NOT NULL,
    key            TEXT NOT NULL,
    request_digest BLOB NOT NULL CHECK (length(request_digest) = 32),
    revision       INTEGER NOT NULL,
    nonce          BLOB NOT NULL CHECK (length(nonce) = 8),
    at             INTEGER NOT NULL,
    PRIMARY KEY (account_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (account_id, at);
