-- Lets a matchmaker be known for some time, or not any more, and tells who is.
--
-- KEYS[1] {matchmakers}:all
-- ARGV[1] member    ARGV[2] for how long, ms; 0 to leave
-- Result: list of members
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(ARGV[2]) > 0 then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
return redis.call('ZRANGE', KEYS[1], 0, -1)
