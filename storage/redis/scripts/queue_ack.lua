-- Notes that one side's node knows of a match.
--
-- KEYS[1] {q}:matches
-- ARGV[1] call    ARGV[2] seat, a or b
-- Result: 1, or 0 if there is no such match any more
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored then
  return 0
end
local a, b, rest = string.match(stored, '^(.)(.)(.*)$')
if ARGV[2] == 'a' and a == '-' then
  a = 'k'
elseif ARGV[2] == 'b' and b == '-' then
  b = 'k'
else
  return 1
end
redis.call('HSET', KEYS[1], ARGV[1], a .. b .. rest)
return 1
