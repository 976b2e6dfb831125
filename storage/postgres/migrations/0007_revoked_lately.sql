-- What was taken back lately is looked up after Redis has lost it: with every sign-in that ever was, that must not be a
-- walk over all of them.
CREATE INDEX token_families_revoked_at_idx ON accounts.token_families (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX users_banned_at_idx ON accounts.users (banned_at) WHERE banned_at IS NOT NULL;
