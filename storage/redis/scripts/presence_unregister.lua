-- Removes the row of a session, if it is still of that session and generation.
--
-- KEYS  1 the user's slot
-- ARGV  1 device  2 session  3 generation
-- Result  1 if it did

local field = 'session:' .. ARGV[1]
local row = redis.call('HGET', KEYS[1], field)
if not row then
  return 0
end
local _, session, generation = string.match(row, '^(%S+) (%S+) (%d+)$')
if session ~= ARGV[2] or generation ~= ARGV[3] then
  return 0
end
redis.call('HDEL', KEYS[1], 'away:' .. ARGV[1])
return redis.call('HDEL', KEYS[1], field)
