-- Forgets the events of a pool that its owner has read; whoever owns it next begins with the tickets themselves.
--
-- KEYS[1] {q}:arrivals    KEYS[2] {q}:owner
-- ARGV[1] the owner's token    ARGV[2] id of the last event read
-- Result: how many were forgotten
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[2])
