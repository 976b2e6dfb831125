-- Makes a user idle if the slot still says what the caller has ended.
--
-- KEYS[1] {u}:user
-- ARGV[1] activity that is over
-- Result: 1 if the user is idle because of this, 0 if the slot said something else
if redis.call('HGET', KEYS[1], 'activity') ~= ARGV[1] then
  return 0
end
redis.call('HDEL', KEYS[1], 'activity', 'device', 'queued_at', 'returned')
return 1
