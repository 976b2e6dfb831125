-- Admits an attempt unless it comes too early after failed ones, and counts it as failed until it is known better.
-- An attempt that is refused is not counted: else a client that retries would never be let in again.
--
-- KEYS[1]  the failures      hash: count, next_at (Unix ms before which no attempt is admitted), attempt (the last admitted)
-- ARGV[1]  how many failures are free
-- ARGV[2]  delay after the first one that is not, ms; doubled by each that follows
-- ARGV[3]  longest delay, ms
-- ARGV[4]  how long failures are remembered after the last, ms
-- ARGV[5]  the attempt: a text of its own
-- Result   0 when admitted, else for how many ms not

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local stored = redis.call('HMGET', KEYS[1], 'count', 'next_at', 'attempt')
if stored[3] == ARGV[5] then
  -- The same attempt again, after an answer that got lost on its way. Should another one have been admitted in between,
  -- this one is held to come too early: that errs on the safe side.
  return 0
end
local next_at = tonumber(stored[2] or 0)
local longest = tonumber(ARGV[3])
if now < next_at then
  return math.min(next_at - now, longest)
end

local count = tonumber(stored[1] or 0) + 1
local over = count - tonumber(ARGV[1])
local delay = 0
if over >= 0 then
  -- Beyond 2^30 the longest delay has long been reached.
  delay = math.min(longest, tonumber(ARGV[2]) * 2 ^ math.min(over, 30))
end
redis.call(
  'HSET', KEYS[1], 'count', count, 'next_at', string.format('%.0f', now + delay), 'attempt', ARGV[5]
)
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[4]))
return 0
