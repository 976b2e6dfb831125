-- Stores a call unless it is there: a new one, or one that the store has lost, with its place in every index.
--
-- KEYS[1]  the call          hash: rev, state, version, payload
-- KEYS[2]  deadlines         sorted set of the partition
-- KEYS[3]  ended             sorted set of the partition: what waits for the recorder
-- KEYS[4]  states            hash of the partition: how many calls stand in each state but `ended`
-- KEYS[5]  visits            sorted set of the partition: `<call> <due>`, when to look for allocations of which call
-- ARGV[1]  call id
-- ARGV[2]  rev: random, names this content
-- ARGV[3]  state
-- ARGV[4]  version
-- ARGV[5]  earliest timer, Unix ms; empty in state `ended`
-- ARGV[6]  payload
-- ARGV[7]  of a new call, when the match was claimed, Unix ms on this server's clock; else empty
-- ARGV[8]  for how long a claim may become a call, ms
-- ARGV[9..] when to look for its allocations, ms from now; none while its media is on
-- Result   'stored' where it was put there; 'late' where it is absent and the claim too old; 'same' where this very content
--          stands there; else {rev, payload} of what does

local stored = redis.call('HMGET', KEYS[1], 'rev', 'payload')
if stored[1] == ARGV[2] then
  -- The same request again, after its first answer was lost on the way; or the store has lost nothing.
  return 'same'
end
if stored[1] then
  return stored
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[7] ~= '' and now - tonumber(ARGV[7]) > tonumber(ARGV[8]) then
  return 'late'
end

redis.call('HSET', KEYS[1], 'rev', ARGV[2], 'state', ARGV[3], 'version', ARGV[4], 'payload', ARGV[6])
if ARGV[3] == 'ended' then
  -- It may be in history already: the recorder knows it by its id and version.
  redis.call('ZADD', KEYS[3], 'NX', now, ARGV[1])
else
  redis.call('ZADD', KEYS[2], ARGV[5], ARGV[1])
  redis.call('HINCRBY', KEYS[4], ARGV[3], 1)
end
for i = 9, #ARGV do
  local due = now + ARGV[i]
  redis.call('ZADD', KEYS[5], due, ARGV[1] .. ' ' .. string.format('%.0f', due))
  redis.call('PEXPIRE', KEYS[5], 10800000)
end
return 'stored'
