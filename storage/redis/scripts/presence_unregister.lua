-- Removes the row of a session, if it is still of that session and generation.
--
-- KEYS  1 the user's slot  2 the list of the node's sessions, where one server has both
-- ARGV  1 device  2 session  3 generation  4 as the session stands on the list, which it leaves in any case
-- Result  1 if it did

if KEYS[2] then
  redis.call('SREM', KEYS[2], ARGV[4])
end
local field = 'session:' .. ARGV[1]
local row = redis.call('HGET', KEYS[1], field)
if not row then
  return 0
end
local _, session, generation = string.match(row, '^(%S+) (%S+) (%d+)$')
if session ~= ARGV[2] or generation ~= ARGV[3] then
  return 0
end
return redis.call('HDEL', KEYS[1], field, 'away:' .. ARGV[1]) > 0 and 1 or 0
