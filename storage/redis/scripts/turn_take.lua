-- Takes visits that are due, so that for the length of a lease nobody else does.
--
-- KEYS[1]  visits of a partition  sorted set: `<call> <due>`
-- ARGV[1]  now, Unix ms   ARGV[2]  how many at most
-- ARGV[3]  the end of the lease, Unix ms with a fraction of its own, never .000: when visits are due is whole
-- Result   the members

-- The same taking again, after an answer that got lost on its way.
local taken = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[3], ARGV[3])
if #taken > 0 then
  return taken
end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, member in ipairs(due) do
  redis.call('ZADD', KEYS[1], 'XX', ARGV[3], member)
end
return due
