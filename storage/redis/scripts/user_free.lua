-- Makes a user idle whose match or call is over, and keeps the two apart for a while.
--
-- KEYS[1] {u}:user    KEYS[2] {u}:recent
-- ARGV[1] activity of the ticket    ARGV[2] activity of the call    ARGV[3] the peer's user id
-- ARGV[4] for how long the two do not meet again, ms; 0 to leave that alone
-- ARGV[5] for how long a decline counts, ms; 0 if the user did not decline
-- ARGV[6...] for how long the user may not queue after the first decline in a row, the second, ... ms
-- Result: 1 if the user is idle because of this, 0 if the slot said something else
-- Whoever may be met again is remembered for a day more, to come last.
local KEPT_MS = 86400000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(ARGV[4]) > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - KEPT_MS)
  redis.call('ZADD', KEYS[2], 'GT', now + ARGV[4], ARGV[3])
  local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', KEYS[2], last[2] + KEPT_MS)
end
-- Before it is asked what the slot says: whoever declined and was quick to do something else has declined all the same.
if tonumber(ARGV[5]) > 0 and #ARGV > 5 then
  local stored = redis.call('HGET', KEYS[1], 'declines') or ''
  local count, ends, call = string.match(stored, '^(%d+) (%d+) (.*)$')
  if not count or now > tonumber(ends) then
    count = 0
  end
  -- One decline is one, however often it is told.
  if call ~= ARGV[2] then
    count = tonumber(count) + 1
    local pause = tonumber(ARGV[5 + math.min(count, #ARGV - 5)])
    redis.call('HSET', KEYS[1], 'declines', string.format('%d %.0f ', count, now + ARGV[5]) .. ARGV[2])
    redis.call('HSET', KEYS[1], 'may_queue_at', string.format('%.0f', now + pause))
  end
end
local held = redis.call('HGET', KEYS[1], 'activity')
-- Who went back to the queue from this very call waits with the same ticket: that one is not over.
local over = held == ARGV[2] or (held == ARGV[1] and redis.call('HGET', KEYS[1], 'returned') ~= ARGV[2])
if not over then
  return 0
end
redis.call('HDEL', KEYS[1], 'activity', 'device', 'queued_at', 'returned')
return 1
