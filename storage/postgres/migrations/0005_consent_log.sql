-- The consent log becomes a chain that cannot be changed unseen, and moderators get reports that they can close, with the
-- logs of the calls that these are about.

-- Both are null where a release before this one has written the row.
ALTER TABLE calls.consent_events
    -- How often within about a second; above 1 only where the hub did not let something pass.
    ADD COLUMN count integer NOT NULL DEFAULT 1 CHECK (count > 0),
    -- SHA-256 over the hash of the entry before and this entry; the first is bound to the call and its people.
    ADD COLUMN hash bytea CHECK (octet_length(hash) = 32);

ALTER TABLE calls.calls
    -- How long the log is and the hash of its last entry: without them an end could be cut off unseen.
    ADD COLUMN consent_entries integer CHECK (consent_entries >= 0),
    ADD COLUMN consent_head bytea CHECK (octet_length(consent_head) = 32),
    -- When the log had been kept for as long as it is kept.
    ADD COLUMN consent_purged_at timestamptz,
    ADD CHECK ((consent_entries IS NULL) = (consent_head IS NULL));

CREATE INDEX calls_consent_kept_idx ON calls.calls (ended_at) WHERE consent_purged_at IS NULL;

-- A report is open until a moderator has resolved it.
ALTER TABLE safety.reports
    ADD COLUMN resolved_at timestamptz,
    ADD COLUMN resolved_by uuid REFERENCES accounts.users (id) ON DELETE SET NULL,
    ADD COLUMN resolution text CHECK (resolution IN ('no_action', 'warned', 'banned', 'other')),
    ADD COLUMN resolution_note text CHECK (char_length(resolution_note) BETWEEN 1 AND 2000),
    ADD CHECK ((resolved_at IS NULL) = (resolution IS NULL)),
    ADD CHECK (resolved_at IS NOT NULL OR (resolved_by IS NULL AND resolution_note IS NULL));

CREATE INDEX reports_open_idx ON safety.reports (created_at DESC, id DESC) WHERE resolved_at IS NULL;
CREATE INDEX reports_resolved_by_idx ON safety.reports (resolved_by);

-- What moderators and admins looked at and did. No foreign keys: it outlives all that it names.
CREATE TABLE safety.audit_log (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    actor_id uuid NOT NULL,
    action text NOT NULL CHECK (char_length(action) BETWEEN 1 AND 60),
    report_id uuid,
    call_id uuid,
    -- Whom it was about.
    user_id uuid,
    request_id text,
    detail text CHECK (char_length(detail) <= 2000)
);

CREATE INDEX audit_log_at_idx ON safety.audit_log (at DESC, id DESC);
CREATE INDEX audit_log_actor_id_idx ON safety.audit_log (actor_id, at DESC);
CREATE INDEX audit_log_call_id_idx ON safety.audit_log (call_id) WHERE call_id IS NOT NULL;
CREATE INDEX audit_log_report_id_idx ON safety.audit_log (report_id) WHERE report_id IS NOT NULL;

-- Append-only is held to here, so that no statement of ours, and none typed by hand in passing, can break it. Whoever owns
-- the database can still switch it off: that is what the chain is for.
CREATE FUNCTION safety.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

CREATE FUNCTION calls.refuse_consent_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Set by calls.purge_consent for its own transaction, and by nothing else.
    IF current_setting('minuet.purging_consent', true) = 'on' THEN
        IF TG_TABLE_NAME = 'calls' THEN
            RETURN NEW;
        ELSIF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the consent log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER consent_events_append_only BEFORE UPDATE OR DELETE ON calls.consent_events
    FOR EACH ROW EXECUTE FUNCTION calls.refuse_consent_change();
CREATE TRIGGER consent_events_not_emptied BEFORE TRUNCATE ON calls.consent_events
    FOR EACH STATEMENT EXECUTE FUNCTION calls.refuse_consent_change();
-- A log may grow: facts that reach the record after its end are written with its later version.
CREATE TRIGGER calls_consent_only_grows
    BEFORE UPDATE OF consent_entries, consent_head, consent_purged_at ON calls.calls
    FOR EACH ROW
    WHEN (
        OLD.consent_purged_at IS DISTINCT FROM NEW.consent_purged_at
        OR (
            OLD.consent_head IS DISTINCT FROM NEW.consent_head
            AND NOT coalesce(NEW.consent_entries > coalesce(OLD.consent_entries, -1), false)
        )
        OR (
            OLD.consent_entries IS DISTINCT FROM NEW.consent_entries
            AND OLD.consent_head IS NOT DISTINCT FROM NEW.consent_head
        )
    )
    EXECUTE FUNCTION calls.refuse_consent_change();

CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON safety.audit_log
    FOR EACH ROW EXECUTE FUNCTION safety.refuse_change();
CREATE TRIGGER audit_log_not_emptied BEFORE TRUNCATE ON safety.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION safety.refuse_change();

-- Deletes the logs of at most so many calls that ended before a moment, oldest first, but of no call that an open report is
-- about; answers how many. The one way in which entries go.
CREATE FUNCTION calls.purge_consent(ended_before timestamptz, at_most integer, purged_at timestamptz)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    due uuid[];
BEGIN
    due := ARRAY(
        SELECT c.id
        FROM calls.calls c
        WHERE c.consent_purged_at IS NULL
            AND c.ended_at < ended_before
            AND NOT EXISTS (SELECT FROM safety.reports r WHERE r.call_id = c.id AND r.resolved_at IS NULL)
        ORDER BY c.ended_at
        LIMIT at_most
        FOR UPDATE SKIP LOCKED
    );
    PERFORM set_config('minuet.purging_consent', 'on', true);
    DELETE FROM calls.consent_events WHERE call_id = ANY (due);
    -- The sums by code are part of the log.
    DELETE FROM calls.refusals WHERE call_id = ANY (due);
    UPDATE calls.calls c
    SET consent_entries = NULL, consent_head = NULL, consent_purged_at = purge_consent.purged_at
    WHERE c.id = ANY (due);
    PERFORM set_config('minuet.purging_consent', 'off', true);
    RETURN cardinality(due);
END
$$;
