-- The first members of sorted sets that stand in many partitions, for a server that has all of these. Run as one that
-- writes nothing, so that it is answered while writes are paused, as during a failover.
--
-- KEYS     the sorted sets
-- ARGV[1]  up to which score, or '+inf'
-- ARGV[2]  how many of each at most; or ARGV[2..] how many of each of them
-- Result   of each that has any: its number from 1, then {member, score, ...} in order
local found = {}
for i = 1, #KEYS do
  local limit = ARGV[i + 1] or ARGV[2]
  local first = redis.call('ZRANGE', KEYS[i], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
  if #first > 0 then
    found[#found + 1] = i
    found[#found + 1] = first
  end
end
return found
