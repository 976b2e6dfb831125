-- Removes the row of a session, if it is still of that session and generation.
--
-- KEYS  1 the user's slot  2 the list of the node's sessions, where one server has both
-- ARGV  1 device  2 session  3 generation  4 as the session stands on the list, which it leaves unless its row stays there
--       5 node
-- Result  1 if it did; 2 if the session has its row there under another generation, and stays on the list by which that
--         row is found once the node is dead; else 0

local field = 'session:' .. ARGV[1]
local row = redis.call('HGET', KEYS[1], field)
local node, session, generation
if row then
  node, session, generation = string.match(row, '^(%S+) (%S+) (%d+)$')
end
local is_its_own = session == ARGV[2] and generation == ARGV[3]
if not is_its_own and session == ARGV[2] and node == ARGV[5] then
  return 2
end
if KEYS[2] then
  redis.call('SREM', KEYS[2], ARGV[4])
end
if not is_its_own then
  return 0
end
return redis.call('HDEL', KEYS[1], field, 'away:' .. ARGV[1]) > 0 and 1 or 0
