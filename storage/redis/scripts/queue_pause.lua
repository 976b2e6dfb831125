-- Pauses those of some tickets that wait; they keep their place. One that is paused already may begin its pause anew.
--
-- KEYS[1] {q}:tickets    KEYS[2] {q}:arrivals    KEYS[3] {q}:counts
-- ARGV[1] stream length at most, about    ARGV[2] 1 if a pause begins anew    ARGV[3...] tickets
-- Result: list of each ticket's state now: 'p', 'm' or '' (absent)
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local states = {}
for i = 3, #ARGV do
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  local letter = ''
  if stored then
    local side, rest
    letter = string.sub(stored, 1, 1)
    side, rest = string.match(stored, '^[^|]*|([^|]*)(|.*)$')
    if letter == 'w' or (letter == 'p' and ARGV[2] == '1') then
      redis.call('HSET', KEYS[1], ARGV[i], 'p:' .. now .. '|' .. side .. rest)
      redis.call('HINCRBY', KEYS[3], side .. ':' .. letter, -1)
      redis.call('HINCRBY', KEYS[3], side .. ':p', 1)
      local number = redis.call('HINCRBY', KEYS[3], 'events', 1)
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'n', number, 'e', 'p', 't', ARGV[i], 'v', now)
      letter = 'p'
    end
  end
  states[#states + 1] = letter
end
return states
