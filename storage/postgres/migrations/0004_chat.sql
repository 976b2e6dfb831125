-- Staying in touch: connections that end, what is said in them, and how far it was read.

-- A pair may part and find together again: then that is another connection, and nothing of the old one comes back.
-- The recorder of the release before this one cannot write connections without the constraint that goes here: a call in
-- which one was made fails the whole batch that it is in, so that others wait with it, as in an outage, for a recorder
-- of this release. Workers are therefore the first to be updated.
ALTER TABLE chat.connections DROP CONSTRAINT connections_user_low_user_high_key;

ALTER TABLE chat.connections
    -- The last call in which both wanted it; a later one of a pair that is connected already is told, too.
    ADD COLUMN agreed_call_id uuid,
    -- When somebody is to tell both of that, should whoever wrote it have died before; null once they were told.
    ADD COLUMN tell_at timestamptz,
    -- The last message, or else the making: what lists are ordered by.
    ADD COLUMN active_at timestamptz,
    ADD COLUMN last_number bigint NOT NULL DEFAULT 0 CHECK (last_number >= 0),
    -- How far each of the two has read, and how many messages of the other are beyond that.
    ADD COLUMN low_read bigint NOT NULL DEFAULT 0 CHECK (low_read BETWEEN 0 AND last_number),
    ADD COLUMN high_read bigint NOT NULL DEFAULT 0 CHECK (high_read BETWEEN 0 AND last_number),
    ADD COLUMN low_unread integer NOT NULL DEFAULT 0 CHECK (low_unread >= 0),
    ADD COLUMN high_unread integer NOT NULL DEFAULT 0 CHECK (high_unread >= 0),
    -- Ended for good. The row stays for a while, so that a call that is written late does not bring it back, and a
    -- report about it can be judged.
    ADD COLUMN closed_at timestamptz,
    ADD COLUMN close_reason text CHECK (close_reason IN ('deleted', 'blocked')),
    ADD CHECK ((closed_at IS NULL) = (close_reason IS NULL));

UPDATE chat.connections SET agreed_call_id = call_id, active_at = made_at;

ALTER TABLE chat.connections
    ALTER COLUMN agreed_call_id SET NOT NULL,
    ALTER COLUMN active_at SET NOT NULL,
    -- When an account is purged its connections go with it, and with them what was said.
    DROP CONSTRAINT connections_user_low_fkey,
    DROP CONSTRAINT connections_user_high_fkey,
    ADD CONSTRAINT connections_user_low_fkey
        FOREIGN KEY (user_low) REFERENCES accounts.users (id) ON DELETE CASCADE,
    ADD CONSTRAINT connections_user_high_fkey
        FOREIGN KEY (user_high) REFERENCES accounts.users (id) ON DELETE CASCADE;

CREATE UNIQUE INDEX connections_open_pair_key ON chat.connections (user_low, user_high) WHERE closed_at IS NULL;
CREATE INDEX connections_pair_idx ON chat.connections (user_low, user_high);
-- A person's list, from either side of the pair.
CREATE INDEX connections_low_active_idx ON chat.connections (user_low, active_at DESC, id DESC)
    WHERE closed_at IS NULL;
CREATE INDEX connections_high_active_idx ON chat.connections (user_high, active_at DESC, id DESC)
    WHERE closed_at IS NULL;
-- What a new session is told.
CREATE INDEX connections_low_unread_idx ON chat.connections (user_low)
    WHERE closed_at IS NULL AND low_unread > 0;
CREATE INDEX connections_high_unread_idx ON chat.connections (user_high)
    WHERE closed_at IS NULL AND high_unread > 0;
CREATE INDEX connections_tell_at_idx ON chat.connections (tell_at) WHERE tell_at IS NOT NULL;
CREATE INDEX connections_closed_at_idx ON chat.connections (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE chat.messages (
    connection_id uuid NOT NULL REFERENCES chat.connections (id) ON DELETE CASCADE,
    -- Its place in the connection: from 1, without gaps.
    number bigint NOT NULL CHECK (number > 0),
    id uuid NOT NULL,
    sender_id uuid NOT NULL REFERENCES accounts.users (id) ON DELETE CASCADE,
    -- The sender's own name for it: sent again, it is still the same message.
    client_id text NOT NULL CHECK (char_length(client_id) BETWEEN 1 AND 64),
    body text NOT NULL CHECK (char_length(body) BETWEEN 1 AND 2000),
    sent_at timestamptz NOT NULL,
    PRIMARY KEY (connection_id, number),
    UNIQUE (connection_id, sender_id, client_id)
);

CREATE UNIQUE INDEX messages_id_key ON chat.messages (id);
-- For the export and the purge of an account.
CREATE INDEX messages_sender_id_idx ON chat.messages (sender_id, sent_at);

-- What a report is about may be a chat. No foreign key: the case outlives it.
ALTER TABLE safety.reports ADD COLUMN connection_id uuid;
CREATE INDEX reports_connection_id_idx ON safety.reports (connection_id) WHERE connection_id IS NOT NULL;
