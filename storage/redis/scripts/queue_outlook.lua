-- Publishes what the pool's owner says of it, for some seconds.
--
-- KEYS[1] {q}:outlook    KEYS[2] {q}:owner
-- ARGV[1] the owner's token    ARGV[2] payload    ARGV[3] for how long, ms
-- Result: 1, or 0 if the pool has another owner by now
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
