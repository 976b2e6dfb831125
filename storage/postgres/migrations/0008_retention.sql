-- What was kept for good until now goes when it has been kept for long enough: calls with what hangs on them, feedback,
-- resolved reports, blocks that were taken back, and lines of the audit log. Releases before this one run on with it.

-- Each finds the oldest of what may go. Writers wait while an index is built, some seconds for some million rows: ended calls
-- wait in Redis meanwhile, as for a database that is away.
CREATE INDEX calls_purge_idx ON calls.calls (ended_at) WHERE consent_purged_at IS NOT NULL;
CREATE INDEX reports_resolved_at_idx ON safety.reports (resolved_at) WHERE resolved_at IS NOT NULL;
CREATE INDEX blocks_removed_at_idx ON safety.blocks (removed_at) WHERE removed_at IS NOT NULL;

-- Append-only but for the one way out below.
CREATE OR REPLACE FUNCTION safety.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Set by safety.purge_audit_log for its own transaction, and by nothing else.
    IF TG_OP = 'DELETE' AND current_setting('minuet.purging_audit_log', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

-- Deletes at most so many lines from before a moment, oldest first, but none about a report that is open; answers how many.
CREATE FUNCTION safety.purge_audit_log(before timestamptz, at_most integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    purged integer;
BEGIN
    PERFORM set_config('minuet.purging_audit_log', 'on', true);
    WITH due AS (
        SELECT l.id
        FROM safety.audit_log l
        WHERE l.at < before
            AND NOT EXISTS (SELECT FROM safety.reports r WHERE r.id = l.report_id AND r.resolved_at IS NULL)
        ORDER BY l.at, l.id
        LIMIT at_most
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM safety.audit_log l USING due WHERE l.id = due.id;
    GET DIAGNOSTICS purged = ROW_COUNT;
    PERFORM set_config('minuet.purging_audit_log', 'off', true);
    RETURN purged;
END
$$;
