-- Writes the row of a session again: for another incarnation of its node, after a loss, or when its device is back.
--
-- KEYS  1 the user's slot
-- ARGV  1 device  2 node  3 session  4 Unix ms of the token  5 the generation that the session was registered under
-- Result  {"registered", generation, 1 if blocks known, the row of an older session of the device or false};
--         {"revoked"}; {"other"} if the row is of a newer session, or of another generation of this one
--
-- The row of an older session stands there only after a loss, when that session was quicker to put itself back. Which is
-- the newer tells the id, which begins with the time (UUIDv7).

local user, node, session = KEYS[1], ARGV[2], ARGV[3]
local field = 'session:' .. ARGV[1]

local revoked_before = redis.call('HGET', user, 'revoked_before')
if revoked_before and tonumber(ARGV[4]) < tonumber(revoked_before) then
  return {'revoked'}
end

local row = redis.call('HGET', user, field)
local older, least = false, tonumber(ARGV[5]) + 1
if row then
  local of_node, of_session, generation = string.match(row, '^(%S+) (%S+) (%d+)$')
  if of_session > session then
    return {'other'}
  end
  if of_session < session then
    older, least = row, math.max(least, tonumber(generation) + 1)
    redis.call('HDEL', user, 'away:' .. ARGV[1])
  elseif generation ~= ARGV[5] then
    if of_node == node then
      -- A repeat, whose first answer was lost.
      return {'registered', generation, redis.call('HEXISTS', user, 'blocks_known'), false}
    end
    return {'other'}
  end
end

local now = redis.call('TIME')
local generation = math.max(now[1] * 1000000 + now[2], least)
redis.call('HSET', user, field, string.format('%s %s %.0f', node, session, generation))
return {'registered', string.format('%.0f', generation), redis.call('HEXISTS', user, 'blocks_known'), older}
