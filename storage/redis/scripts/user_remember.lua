-- Remembers a partner whom a user does not meet again for a while; never shortens.
--
-- KEYS[1] {u}:recent
-- ARGV[1] the partner's user id    ARGV[2] for how long, ms
-- Result: 1
-- Whoever may be met again is remembered for a day more, to come last.
local KEPT_MS = 86400000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - KEPT_MS)
redis.call('ZADD', KEYS[1], 'GT', now + ARGV[2], ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], last[2] + KEPT_MS)
return 1
