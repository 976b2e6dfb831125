-- Takes or renews the lease of a node incarnation, stores its counts, and sends its inbox a canary.
--
-- KEYS  1 lease  2 list of sessions  3 counts
-- ARGV  1 "acquire" or "renew"  2 value of the lease  3 lifetime of the lease, ms  4 lifetime of the list, ms
--       5 "PUBLISH", or "SPUBLISH" on a cluster  6 the inbox's channel  7... names and numbers of the counts
-- Result  {1 if the lease is held, seconds, microseconds}
--
-- An id belongs to one incarnation only, so that acquiring is safe to repeat; renewing never brings a lease back.

local now = redis.call('TIME')
if ARGV[1] == 'acquire' then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
elseif redis.call('PEXPIRE', KEYS[1], ARGV[3]) == 0 then
  return {0, tonumber(now[1]), tonumber(now[2])}
end
-- The reaper empties the list of a dead incarnation; should nobody do so, it goes away by itself.
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('DEL', KEYS[3])
if #ARGV > 6 then
  redis.call('HSET', KEYS[3], unpack(ARGV, 7))
  redis.call('PEXPIRE', KEYS[3], ARGV[3])
end
-- A canary is told from frames by its first byte, which begins no MessagePack array.
redis.call(ARGV[5], ARGV[6], '~' .. now[1] .. string.format('%06d', tonumber(now[2])))
return {1, tonumber(now[1]), tonumber(now[2])}
