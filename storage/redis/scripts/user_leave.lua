-- Makes a user idle if the slot still says what the caller has ended.
--
-- KEYS[1] {u}:user
-- ARGV[1] activity that is over    ARGV[2] 1 if it was a call in which the two talked: declines before it are forgiven
-- Result: 1 if the user is idle because of this, 0 if the slot said something else
if redis.call('HGET', KEYS[1], 'activity') ~= ARGV[1] then
  return 0
end
redis.call('HDEL', KEYS[1], 'activity', 'device', 'queued_at', 'returned')
if ARGV[2] == '1' then
  redis.call('HDEL', KEYS[1], 'declines', 'may_queue_at')
end
return 1
