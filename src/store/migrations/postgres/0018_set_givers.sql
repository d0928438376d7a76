-- Who gave a user a permission set, as of grants: for the ceiling of whoever gave it (D5), and for who
-- may approve (R4). Kept after that user is gone, so no reference; not known of what plain SQL and
-- operators give.
ALTER TABLE ambit.user_permission_set ADD COLUMN granted_by text COLLATE "C"
    CONSTRAINT "user_permission_set.granted_by is an id" CHECK (ambit.is_id(granted_by));

-- The rule's text, as in 0001.
COMMENT ON CONSTRAINT "user_permission_set.granted_by is an id" ON ambit.user_permission_set
    IS 'user_permission_set.granted_by is 1 to 256 bytes without control characters';

-- A version of before follows this schema: a set that it writes has nobody on record who gave it.
UPDATE ambit.store_identity SET schema_version = 18;
