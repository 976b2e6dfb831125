-- Lets a matched ticket wait again at its place, paused or not, or removes it; the match goes when both sides are
-- resolved.
--
-- KEYS[1] {q}:tickets    KEYS[2] {q}:arrivals    KEYS[3] {q}:counts    KEYS[4] {q}:matches
-- ARGV[1] call    ARGV[2] seat, a or b    ARGV[3] ticket    ARGV[4] 'w' if it waits again, 'p' if paused, else ''
-- ARGV[5] user to be kept apart from    ARGV[6] stream length at most, about
-- Result: the ticket's state now: 'w', 'p', 'm' (of another match) or '' (absent)
local APART_AT_MOST = 64 * 37
local stored = redis.call('HGET', KEYS[1], ARGV[3])
local letter = ''
if stored then
  local state, side, apart, payload = string.match(stored, '^([^|]*)|([^|]*)|([^|]*)|(.*)$')
  letter = string.sub(state, 1, 1)
  if state == 'm:' .. ARGV[1] then
    redis.call('HINCRBY', KEYS[3], side .. ':m', -1)
    letter = ARGV[4]
    if letter ~= '' then
      -- The oldest go first: a ticket that fails again and again must not grow for ever.
      apart = string.sub(ARGV[5] .. ',' .. apart, 1, APART_AT_MOST)
      local state = letter
      if letter == 'p' then
        local time = redis.call('TIME')
        state = string.format('p:%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
      end
      local value = state .. '|' .. side .. '|' .. apart .. '|' .. payload
      redis.call('HSET', KEYS[1], ARGV[3], value)
      redis.call('HINCRBY', KEYS[3], side .. ':' .. letter, 1)
      local number = redis.call('HINCRBY', KEYS[3], 'events', 1)
      if letter == 'p' then
        local since = string.sub(state, 3)
        redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*', 'n', number, 'e', 'p', 't', ARGV[3], 'v', since)
      else
        redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*', 'n', number, 'e', '+', 't', ARGV[3], 'v', value)
      end
    else
      redis.call('HDEL', KEYS[1], ARGV[3])
    end
  end
end
local match = redis.call('HGET', KEYS[4], ARGV[1])
if match then
  local a, b, rest = string.match(match, '^(.)(.)(.*)$')
  if ARGV[2] == 'a' then
    a = 'r'
  else
    b = 'r'
  end
  if a == 'r' and b == 'r' then
    redis.call('HDEL', KEYS[4], ARGV[1])
  else
    redis.call('HSET', KEYS[4], ARGV[1], a .. b .. rest)
  end
end
return letter
