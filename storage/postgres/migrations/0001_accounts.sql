-- People, and where they are signed in.

CREATE SCHEMA accounts;

CREATE TABLE accounts.users (
    id uuid PRIMARY KEY,
    email text NOT NULL CHECK (char_length(email) BETWEEN 3 AND 254),
    email_verified_at timestamptz,
    password_hash text NOT NULL,
    role text NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'moderator', 'admin', 'service')),
    first_name text NOT NULL CHECK (char_length(first_name) BETWEEN 1 AND 40),
    gender text NOT NULL CHECK (gender IN ('female', 'male', 'other')),
    birth_date date NOT NULL,
    languages text[] NOT NULL DEFAULT '{}' CHECK (cardinality(languages) <= 8),
    region text,
    locale text,
    terms_version text,
    privacy_version text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    banned_at timestamptz,
    ban_reason text,
    -- Access tokens issued before this moment are refused; Redis holds the copy that is asked.
    revoked_before timestamptz,
    deleted_at timestamptz,
    CHECK (banned_at IS NOT NULL OR ban_reason IS NULL)
);

-- An address is free again once its account was deleted.
CREATE UNIQUE INDEX users_email_key ON accounts.users (lower(email)) WHERE deleted_at IS NULL;
-- For the purge of deleted accounts, and for rebuilding the revocation list.
CREATE INDEX users_deleted_at_idx ON accounts.users (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX users_revoked_before_idx ON accounts.users (revoked_before) WHERE revoked_before IS NOT NULL;

-- One sign-in on one device: the chain of refresh tokens that began with it.
CREATE TABLE accounts.token_families (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES accounts.users (id) ON DELETE CASCADE,
    device_id text,
    device_name text,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoke_reason text CHECK (revoke_reason IN ('logout', 'logout_all', 'reuse', 'ban')),
    CHECK ((revoked_at IS NULL) = (revoke_reason IS NULL))
);

CREATE INDEX token_families_user_id_idx ON accounts.token_families (user_id, last_used_at DESC);
CREATE INDEX token_families_expires_at_idx ON accounts.token_families (expires_at);

-- Used tokens stay until they expire: presenting one again gives the theft away.
CREATE TABLE accounts.refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    family_id uuid NOT NULL REFERENCES accounts.token_families (id) ON DELETE CASCADE,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);

CREATE INDEX refresh_tokens_family_id_idx ON accounts.refresh_tokens (family_id);
CREATE INDEX refresh_tokens_expires_at_idx ON accounts.refresh_tokens (expires_at);
