-- What people say about each other.

CREATE SCHEMA safety;

CREATE TABLE safety.blocks (
    id uuid PRIMARY KEY,
    blocker_id uuid NOT NULL REFERENCES accounts.users (id) ON DELETE CASCADE,
    blocked_id uuid NOT NULL REFERENCES accounts.users (id) ON DELETE CASCADE,
    -- The call in which it happened. No foreign key: the call is written after its end, the block before.
    call_id uuid,
    created_at timestamptz NOT NULL,
    -- Taken back. The row stays, so that a block that is written again by its id stays taken back.
    removed_at timestamptz,
    CHECK (blocker_id <> blocked_id)
);

-- Blocking twice is blocking once.
CREATE UNIQUE INDEX blocks_pair_key ON safety.blocks (blocker_id, blocked_id) WHERE removed_at IS NULL;
CREATE INDEX blocks_blocker_id_idx ON safety.blocks (blocker_id, created_at DESC);
CREATE INDEX blocks_blocked_id_idx ON safety.blocks (blocked_id);

CREATE TABLE safety.reports (
    id uuid PRIMARY KEY,
    -- A case outlives the accounts of those in it.
    reporter_id uuid REFERENCES accounts.users (id) ON DELETE SET NULL,
    reported_id uuid REFERENCES accounts.users (id) ON DELETE SET NULL,
    call_id uuid,
    category text NOT NULL CHECK (char_length(category) BETWEEN 1 AND 40),
    note text NOT NULL DEFAULT '' CHECK (char_length(note) <= 2000),
    created_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CHECK (reporter_id <> reported_id)
);

CREATE INDEX reports_reporter_id_idx ON safety.reports (reporter_id);
CREATE INDEX reports_reported_id_idx ON safety.reports (reported_id, created_at DESC);
CREATE INDEX reports_call_id_idx ON safety.reports (call_id) WHERE call_id IS NOT NULL;
CREATE INDEX reports_created_at_idx ON safety.reports (created_at DESC, id DESC);
