-- Moves a user's slot back from a call that failed to the ticket it came from, and keeps the two apart for a while.
--
-- KEYS[1] {u}:user    KEYS[2] {u}:recent
-- ARGV[1] activity of the ticket    ARGV[2] activity of the call    ARGV[3] the peer's user id
-- ARGV[4] for how long the two do not meet again, ms
-- Result: 1 if the slot names the ticket now, 0 if the user does something else
-- It is nobody's session that asks: the place is the device's, and whoever ends the call returns it, also for the other.
-- Whoever may be met again is remembered for a day more, to come last.
local KEPT_MS = 86400000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HGET', KEYS[1], 'activity')
if held ~= ARGV[1] and held ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'activity', ARGV[1], 'returned', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - KEPT_MS)
redis.call('ZADD', KEYS[2], 'GT', now + ARGV[4], ARGV[3])
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[2], last[2] + KEPT_MS)
return 1
