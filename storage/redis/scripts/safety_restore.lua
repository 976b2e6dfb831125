-- Adds to a user's blocks what the archive knows, and notes in the user's slot that they are known now.
--
-- KEYS  1 the user's slot  2 the user's blocks
-- ARGV  user ids, at most a few thousand
-- Result  nothing

if #ARGV > 0 then
  redis.call('SADD', KEYS[2], unpack(ARGV))
end
redis.call('HSET', KEYS[1], 'blocks_known', 1)
return false
