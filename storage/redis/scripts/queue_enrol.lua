-- Lets everybody know for some time for which pools a matchmaker stands, or that it does not any more, and tells who does.
--
-- KEYS[1] {matchmakers}:all
-- ARGV[1] for how long, ms; 0 to leave    ARGV[2...] `<member> <pool>`
-- Result: list of `<member> <pool>`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do
  if tonumber(ARGV[1]) > 0 then
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[1]), ARGV[i])
  else
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
return redis.call('ZRANGE', KEYS[1], 0, -1)
