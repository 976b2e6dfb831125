-- Removes the row of a session that was on a dead node incarnation.
--
-- KEYS  1 the user's slot
-- ARGV  1 device  2 the dead incarnation  3 session
-- Result  1 if the session is lost (also if the row is gone already: whoever removed it may not have got further),
--         0 if the row names another incarnation or session

local field = 'session:' .. ARGV[1]
local row = redis.call('HGET', KEYS[1], field)
if not row then
  return 1
end
local node, session = string.match(row, '^(%S+) (%S+) %d+$')
if node ~= ARGV[2] or session ~= ARGV[3] then
  return 0
end
redis.call('HDEL', KEYS[1], 'away:' .. ARGV[1])
return redis.call('HDEL', KEYS[1], field)
