-- What people thought of their calls. Each sees only what they said themselves.

CREATE TABLE calls.feedback (
    -- No foreign key: people rate a call as soon as it is over, which is before the recorder has written it.
    call_id uuid NOT NULL,
    -- It goes with its author's account, at once.
    user_id uuid NOT NULL REFERENCES accounts.users (id) ON DELETE CASCADE,
    rating smallint NOT NULL CHECK (rating BETWEEN 1 AND 5),
    -- From a closed list of the release that wrote them; a later one may know others.
    tags text[] NOT NULL DEFAULT '{}' CHECK (cardinality(tags) <= 8),
    note text CHECK (char_length(note) BETWEEN 1 AND 1000),
    given_at timestamptz NOT NULL,
    -- One for each participant: saying it again replaces what was said.
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (call_id, user_id)
);

CREATE INDEX feedback_user_id_idx ON calls.feedback (user_id);
-- For retention, which runs by age.
CREATE INDEX feedback_given_at_idx ON calls.feedback (given_at);
