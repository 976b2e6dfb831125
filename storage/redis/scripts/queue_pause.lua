-- Pauses those of some tickets that wait; they keep their place.
--
-- KEYS[1] {q}:tickets    KEYS[2] {q}:arrivals    KEYS[3] {q}:counts
-- ARGV[1] stream length at most, about    ARGV[2...] tickets
-- Result: how many were paused
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local paused = 0
for i = 2, #ARGV do
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  if stored then
    local side, rest = string.match(stored, '^w|([^|]*)(|.*)$')
    if side then
      redis.call('HSET', KEYS[1], ARGV[i], 'p:' .. now .. '|' .. side .. rest)
      redis.call('HINCRBY', KEYS[3], side .. ':w', -1)
      redis.call('HINCRBY', KEYS[3], side .. ':p', 1)
      local number = redis.call('HINCRBY', KEYS[3], 'events', 1)
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'n', number, 'e', 'p', 't', ARGV[i], 'v', now)
      paused = paused + 1
    end
  end
end
return paused
