-- The log is trimmed by age beside its bound by count.
CREATE INDEX revision_log_by_age ON revision_log (at);
