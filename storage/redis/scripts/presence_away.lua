-- Notes on the row of a session whether its user is away, if the row is still of that session and generation.
--
-- KEYS  1 the user's slot
-- ARGV  1 device  2 session  3 generation  4 1 if away
-- Result  1 if it did

local row = redis.call('HGET', KEYS[1], 'session:' .. ARGV[1])
if not row then
  return 0
end
local _, session, generation = string.match(row, '^(%S+) (%S+) (%d+)$')
if session ~= ARGV[2] or generation ~= ARGV[3] then
  return 0
end
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[1], 'away:' .. ARGV[1], session)
else
  redis.call('HDEL', KEYS[1], 'away:' .. ARGV[1])
end
return 1
