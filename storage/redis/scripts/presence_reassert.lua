-- Writes the row of a session again: for another incarnation of its node, after a loss, or when its device is back.
--
-- KEYS  1 the user's slot  2 the list of the node's sessions, where one server has both
-- ARGV  1 device  2 node  3 session  4 Unix ms of the token  5 the token's family  6 as the session stands on the list
--       7 the generation that the session was registered under
-- Result  {"registered", generation, 1 if blocks known, the row of an older session of the device or false};
--         {"revoked"}; {"other"} if the row is of a newer session, or of another generation of this one
--
-- The row of an older session stands there only after a loss, when that session was quicker to put itself back. Which is
-- the newer tells the id, which begins with the time (UUIDv7).

-- As in presence_register.lua.
local KEPT_S = 90 * 86400

local user, node, session = KEYS[1], ARGV[2], ARGV[3]
local field = 'session:' .. ARGV[1]

local function refused(why)
  if KEYS[2] then
    redis.call('SREM', KEYS[2], ARGV[6])
  end
  return {why}
end

local known = redis.call('HMGET', user, 'revoked_before', 'revoked:' .. ARGV[5], field, 'blocks_known')
if known[2] or (known[1] and tonumber(ARGV[4]) < tonumber(known[1])) then
  return refused('revoked')
end

local row = known[3]
local older, least = false, tonumber(ARGV[7]) + 1
if row then
  local of_node, of_session, generation = string.match(row, '^(%S+) (%S+) (%d+)$')
  if of_session > session then
    return refused('other')
  end
  if of_session < session then
    older, least = row, math.max(least, tonumber(generation) + 1)
    redis.call('HDEL', user, 'away:' .. ARGV[1])
  elseif generation ~= ARGV[7] then
    if of_node == node then
      -- A repeat, whose first answer was lost.
      return {'registered', generation, known[4] and 1 or 0, false}
    end
    return refused('other')
  end
end

if KEYS[2] then
  redis.call('SADD', KEYS[2], ARGV[6])
end
local now = redis.call('TIME')
local generation = string.format('%.0f', math.max(now[1] * 1000000 + now[2], least))
redis.call('HSET', user, field, node .. ' ' .. session .. ' ' .. generation)
redis.call('EXPIRE', user, KEPT_S)
return {'registered', generation, known[4] and 1 or 0, older}
