-- Removes a ticket that waits or is paused; a matched one stays.
--
-- KEYS[1] {q}:tickets    KEYS[2] {q}:arrivals    KEYS[3] {q}:counts
-- ARGV[1] ticket    ARGV[2] stream length at most, about
-- Result: 'left', 'absent' or 'matched'
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored then
  return 'absent'
end
local state, side = string.match(stored, '^([^|]*)|([^|]*)|')
local letter = string.sub(state, 1, 1)
if letter == 'm' then
  return 'matched'
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HINCRBY', KEYS[3], side .. ':' .. letter, -1)
local number = redis.call('HINCRBY', KEYS[3], 'events', 1)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'n', number, 'e', '-', 't', ARGV[1])
return 'left'
