-- Voids what was issued to a user before a moment. Never takes such a word back.
--
-- KEYS[1]  the user          hash: revoked_before (Unix ms), revoked:<family> (Unix ms until which it is kept)
-- ARGV[1]  before, Unix ms
-- Result   the moment that stands now, Unix ms

local stored = tonumber(redis.call('HGET', KEYS[1], 'revoked_before') or 0)
local before = math.max(stored, tonumber(ARGV[1]))
redis.call('HSET', KEYS[1], 'revoked_before', string.format('%.0f', before))
-- As presence_register.lua has it, and longer than any access token lives.
redis.call('EXPIRE', KEYS[1], 90 * 86400)
return before
