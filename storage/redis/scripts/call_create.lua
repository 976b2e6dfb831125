-- Stores a call unless it is there, and answers with what is stored.
--
-- KEYS[1]  the call          hash: rev, state, version, payload
-- KEYS[2]  deadlines         sorted set of the partition
-- KEYS[3]  states            hash of the partition: how many calls stand in each state but `ended`
-- ARGV[1]  call id
-- ARGV[2]  when the match was claimed, Unix ms on this server's clock
-- ARGV[3]  for how long a claim may become a call, ms
-- ARGV[4]  rev: random, names this content
-- ARGV[5]  state
-- ARGV[6]  version
-- ARGV[7]  earliest timer, Unix ms
-- ARGV[8]  payload
-- Result   {rev, payload} as stored; {} where the call is absent and the claim too old

local stored = redis.call('HMGET', KEYS[1], 'rev', 'payload')
if stored[1] then
  return stored
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now - tonumber(ARGV[2]) > tonumber(ARGV[3]) then
  return {}
end

redis.call('HSET', KEYS[1], 'rev', ARGV[4], 'state', ARGV[5], 'version', ARGV[6], 'payload', ARGV[8])
redis.call('ZADD', KEYS[2], ARGV[7], ARGV[1])
redis.call('HINCRBY', KEYS[3], ARGV[5], 1)
return {ARGV[4], ARGV[8]}
