-- Who gave a user a permission set, as of grants: for the ceiling of whoever gave it (D5), and for who
-- may approve (R4). Kept after that user is gone, so no reference; not known of what plain SQL and
-- operators give.
ALTER TABLE user_permission_set ADD COLUMN granted_by TEXT
    CONSTRAINT "user_permission_set.granted_by is 1 to 256 bytes without control characters"
    CHECK (length(CAST(granted_by AS BLOB)) BETWEEN 1 AND 256 AND instr(granted_by, char(0)) = 0
        AND granted_by NOT GLOB ('*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'));
