-- What calls leave behind, and the connections that came of them.

CREATE SCHEMA calls;
CREATE SCHEMA chat;

-- Two people who stay in touch; one row for each pair, for good.
CREATE TABLE chat.connections (
    id uuid PRIMARY KEY,
    user_low uuid NOT NULL REFERENCES accounts.users (id),
    user_high uuid NOT NULL REFERENCES accounts.users (id),
    -- The call in which it was made. Not a foreign key: calls are purged earlier than connections.
    call_id uuid NOT NULL,
    made_at timestamptz NOT NULL,
    CHECK (user_low < user_high),
    UNIQUE (user_low, user_high)
);

CREATE INDEX connections_user_high_idx ON chat.connections (user_high);

-- No check compares two moments: they may come from the clocks of two nodes.
CREATE TABLE calls.calls (
    id uuid PRIMARY KEY,
    intent text NOT NULL,
    -- Of the record that was written; a later one replaces it.
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    live_at timestamptz,
    ended_at timestamptz NOT NULL,
    duration_ms bigint NOT NULL CHECK (duration_ms >= 0),
    reason text NOT NULL CHECK (reason IN (
        'declined', 'no_answer', 'cancelled', 'connect_timeout', 'hangup', 'completed', 'connected',
        'network_lost', 'video_revoked', 'signaling_limit', 'moderation'
    )),
    connected boolean NOT NULL,
    -- The pair's connection: the one made here, or an earlier one.
    connection_id uuid REFERENCES chat.connections (id) ON DELETE SET NULL,
    extensions integer NOT NULL CHECK (extensions >= 0),
    resets integer NOT NULL CHECK (resets >= 0),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CHECK (connected OR connection_id IS NULL)
);

CREATE INDEX calls_connection_id_idx ON calls.calls (connection_id) WHERE connection_id IS NOT NULL;

CREATE TABLE calls.participants (
    call_id uuid NOT NULL REFERENCES calls.calls (id) ON DELETE CASCADE,
    seat text NOT NULL CHECK (seat IN ('a', 'b')),
    user_id uuid NOT NULL REFERENCES accounts.users (id),
    role text NOT NULL CHECK (role IN ('controller', 'guest', 'mutual')),
    queued_at timestamptz NOT NULL,
    requeued boolean NOT NULL,
    -- The last quality report: round trip, jitter, losses, time to media. Nothing that names a network.
    quality jsonb,
    -- The call's, repeated for the index by which a person's history is read.
    ended_at timestamptz NOT NULL,
    PRIMARY KEY (call_id, seat)
);

CREATE INDEX participants_history_idx ON calls.participants (user_id, ended_at DESC, call_id DESC);

-- Append-only: who asked for, gave and took back what, and when.
CREATE TABLE calls.consent_events (
    call_id uuid NOT NULL REFERENCES calls.calls (id) ON DELETE CASCADE,
    number integer NOT NULL CHECK (number >= 0),
    at timestamptz NOT NULL,
    kind text NOT NULL,
    -- Who did it; nobody where time ran out.
    by_seat text CHECK (by_seat IN ('a', 'b')),
    -- Whose video was allowed or revoked.
    sender_seat text CHECK (sender_seat IN ('a', 'b')),
    detail text,
    PRIMARY KEY (call_id, number)
);

-- Descriptions and candidates that the hub did not let pass.
CREATE TABLE calls.refusals (
    call_id uuid NOT NULL REFERENCES calls.calls (id) ON DELETE CASCADE,
    code text NOT NULL,
    count integer NOT NULL CHECK (count > 0),
    PRIMARY KEY (call_id, code)
);
