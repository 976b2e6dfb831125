-- Takes a call off the recorder's list if its content is still what was recorded.
--
-- KEYS[1]  the call          hash: rev, state, version, payload
-- KEYS[2]  ended             sorted set of the partition
-- ARGV[1]  call id
-- ARGV[2]  rev that was recorded; empty where the call was found to be gone
-- ARGV[3]  for how long the call stays readable, ms
-- Result   1 when it is off the list, 0 when it has other content by now and must be recorded again

local rev = redis.call('HGET', KEYS[1], 'rev') or ''
if rev ~= ARGV[2] then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
if rev ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
