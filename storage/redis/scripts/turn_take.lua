-- Takes visits that are due, so that for the length of a lease nobody else does.
--
-- KEYS[1]  visits of a partition  sorted set: `<call> <due>`
-- ARGV[1]  now, Unix ms   ARGV[2]  how many at most   ARGV[3]  the end of the lease, Unix ms
-- Result   the members

local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, member in ipairs(due) do
  redis.call('ZADD', KEYS[1], 'XX', ARGV[3], member)
end
return due
