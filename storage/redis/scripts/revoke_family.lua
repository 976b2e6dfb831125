-- Voids one sign-in of a user for as long as its last access token could live.
--
-- KEYS[1]  the user          hash: revoked_before (Unix ms), revoked:<family> (Unix ms until which it is kept)
-- ARGV[1]  family id
-- ARGV[2]  for how long it is kept, ms
-- ARGV[3]  how many are kept at most
-- Result   1; 0 when there were too many, so that everything issued to the user until now is void instead

-- As presence_register.lua has it, and longer than any access token lives.
local KEPT_S = 90 * 86400

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local fields = redis.call('HGETALL', KEYS[1])
local kept = 0
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 8) == 'revoked:' then
    if tonumber(fields[i + 1]) <= now then
      redis.call('HDEL', KEYS[1], fields[i])
    else
      kept = kept + 1
    end
  end
end

if kept >= tonumber(ARGV[3]) then
  local stored = tonumber(redis.call('HGET', KEYS[1], 'revoked_before') or 0)
  redis.call('HSET', KEYS[1], 'revoked_before', string.format('%.0f', math.max(stored, now + 1)))
  redis.call('EXPIRE', KEYS[1], KEPT_S)
  return 0
end
redis.call('HSET', KEYS[1], 'revoked:' .. ARGV[1], string.format('%.0f', now + tonumber(ARGV[2])))
redis.call('EXPIRE', KEYS[1], KEPT_S)
return 1
