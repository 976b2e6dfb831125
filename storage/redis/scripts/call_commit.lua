-- Replaces a call's content if it is still the one that the caller has seen.
--
-- KEYS[1]  the call          hash: rev, state, version, payload
-- KEYS[2]  deadlines         sorted set of the partition
-- KEYS[3]  ended             sorted set of the partition: what waits for the recorder
-- KEYS[4]  states            hash of the partition: how many calls stand in each state but `ended`
-- KEYS[5]  visits            sorted set of the partition: `<call> <due>`, when to look for allocations of which call
-- KEYS[6]  untold            sorted set of the partition: which node has to acknowledge which change, by when to tell again
-- ARGV[1]  call id
-- ARGV[2]  rev that the caller has seen
-- ARGV[3]  rev of the new content
-- ARGV[4]  state
-- ARGV[5]  version
-- ARGV[6]  earliest timer, Unix ms; empty in state `ended`
-- ARGV[7]  payload
-- ARGV[8]  how many nodes have to hear of it
-- ARGV[9..] a member of `untold` for each of them; then when to look for the call's allocations, ms from now: none
--          unless this commit ends its media
-- Result   1 when the new content stands, 0 when the call has other content or is gone

local stored = redis.call('HMGET', KEYS[1], 'rev', 'state')
if stored[1] == ARGV[3] then
  -- The same request again, after its first answer was lost on the way.
  return 1
end
if stored[1] ~= ARGV[2] then
  return 0
end

redis.call('HSET', KEYS[1], 'rev', ARGV[3], 'state', ARGV[4], 'version', ARGV[5], 'payload', ARGV[7])

if stored[2] ~= ARGV[4] then
  if stored[2] ~= 'ended' and redis.call('HINCRBY', KEYS[4], stored[2], -1) <= 0 then
    redis.call('HDEL', KEYS[4], stored[2])
  end
  if ARGV[4] ~= 'ended' then
    redis.call('HINCRBY', KEYS[4], ARGV[4], 1)
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local nodes = tonumber(ARGV[8])

if nodes > 0 then
  -- With the commit: whoever dies after it, or whose message is lost, has left this to tell.
  for i = 9, 8 + nodes do
    redis.call('ZADD', KEYS[6], now + 1000, ARGV[i])
  end
  -- Bounded, should nobody ever do it.
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now - 300000)
  local beyond = redis.call('ZCARD', KEYS[6]) - 10000
  if beyond > 0 then
    redis.call('ZREMRANGEBYRANK', KEYS[6], 0, beyond - 1)
  end
  redis.call('PEXPIRE', KEYS[6], 600000)
end

if #ARGV > 8 + nodes then
  -- As above, and as bounded.
  for i = 9 + nodes, #ARGV do
    local due = now + ARGV[i]
    redis.call('ZADD', KEYS[5], due, ARGV[1] .. ' ' .. string.format('%.0f', due))
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - 3600000)
  redis.call('PEXPIRE', KEYS[5], 10800000)
end

if ARGV[4] == 'ended' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  -- Facts that are added after the end wait again, at the place of the first ones. The record must outlive that wait.
  redis.call('ZADD', KEYS[3], 'NX', now, ARGV[1])
  redis.call('PERSIST', KEYS[1])
else
  redis.call('ZADD', KEYS[2], ARGV[6], ARGV[1])
end
return 1
