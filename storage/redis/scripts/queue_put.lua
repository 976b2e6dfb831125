-- Lets a ticket wait in its pool: stores it if it is absent, else replaces what is stored and ends its pause; or, where
-- that is asked for, stores it paused and pauses it.
-- A matched ticket is left alone. A stored ticket is `<state>|<side>|<kept apart>|<payload>`, where state is `w`
-- (waiting), `p:<Unix ms>` (paused) or `m:<call>` (matched) and `kept apart` lists users met in vain since it queued.
--
-- KEYS[1] {q}:tickets    KEYS[2] {q}:arrivals    KEYS[3] {q}:counts
-- ARGV[1] ticket    ARGV[2] side    ARGV[3] payload    ARGV[4] Unix ms of issue, or ''
-- ARGV[5] 1 to store an absent one    ARGV[6] stream length at most, about
-- ARGV[7] 1 to have it paused; one that is paused already goes on with its pause
-- Result: 'stored', 'updated', 'unchanged', 'matched', 'absent' or 'late'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local apart, result = '', 'stored'
local wanted = 'w'
if ARGV[7] == '1' then
  wanted = string.format('p:%.0f', now)
end
if stored then
  local state, side, kept, payload = string.match(stored, '^([^|]*)|([^|]*)|([^|]*)|(.*)$')
  if string.sub(state, 1, 1) == 'm' then
    return 'matched'
  end
  if ARGV[7] == '1' and string.sub(state, 1, 1) == 'p' then
    wanted = state
  end
  if state == wanted and side == ARGV[2] and payload == ARGV[3] then
    return 'unchanged'
  end
  redis.call('HINCRBY', KEYS[3], side .. ':' .. string.sub(state, 1, 1), -1)
  apart, result = kept, 'updated'
elseif ARGV[5] ~= '1' then
  return 'absent'
-- A join that was held up for so long may have been given up, and left, by its client.
elseif ARGV[4] ~= '' and now - tonumber(ARGV[4]) > 5000 then
  return 'late'
end
local letter = string.sub(wanted, 1, 1)
local value = wanted .. '|' .. ARGV[2] .. '|' .. apart .. '|' .. ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], value)
redis.call('HINCRBY', KEYS[3], ARGV[2] .. ':' .. letter, 1)
local number = redis.call('HINCRBY', KEYS[3], 'events', 1)
local event, told = '+', value
if letter == 'p' then
  event, told = 'p', string.sub(wanted, 3)
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*', 'n', number, 'e', event, 't', ARGV[1], 'v', told)
return result
