-- Remembers a partner whom a user does not meet again for a while (never shortens), and where their call is over for the
-- user, makes them idle if the slot still says so.
--
-- KEYS[1] {u}:user    KEYS[2] {u}:recent
-- ARGV[1] the partner's user id    ARGV[2] for how long, ms
-- ARGV[3] activity that is over, or '': declines before it are forgiven, since the two talked
-- Result: 1 if the user is idle because of this, else 0
-- Whoever may be met again is remembered for a day more, to come last.
local KEPT_MS = 86400000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local apart_until = now + ARGV[2]
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - KEPT_MS)
redis.call('ZADD', KEYS[2], 'GT', apart_until, ARGV[1])
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[2], last[2] + KEPT_MS)
if ARGV[3] == '' or redis.call('HGET', KEYS[1], 'activity') ~= ARGV[3] then
  return 0
end
redis.call('HDEL', KEYS[1], 'activity', 'device', 'queued_at', 'returned', 'declines', 'may_queue_at')
return 1
