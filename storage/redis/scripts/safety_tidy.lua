-- Forgets recorders that are long gone and have nothing left to write.
--
-- KEYS  1 the stream of records
-- ARGV  1 the group  2 idle for this long, ms
-- Result  how many were forgotten
--
-- In one step: forgetting a recorder that has entries would lose their places in the queue.

local forgotten = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local of = {}
  for i = 1, #consumer, 2 do
    of[consumer[i]] = consumer[i + 1]
  end
  if of.pending == 0 and of.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of.name)
    forgotten = forgotten + 1
  end
end
return forgotten
