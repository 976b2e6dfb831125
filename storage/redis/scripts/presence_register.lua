-- Writes the row of a device's session, with a generation above all before.
--
-- KEYS  1 the user's slot
-- ARGV  1 device  2 node  3 session  4 Unix ms of the token  5 how many devices may have a row
--       6... nodes whose rows do not count
-- Result  {"registered", generation, the row before or false, activity or false, its device or false, 1 if blocks known,
--         1 if the session before was away, as this one is now}
--         {"revoked"}
--         {"full", device, row, ...} with the rows that count

local user, device, node, session = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

local revoked_before = redis.call('HGET', user, 'revoked_before')
if revoked_before and tonumber(ARGV[4]) < tonumber(revoked_before) then
  return {'revoked'}
end

local before = redis.call('HGET', user, 'session:' .. device)
if not before then
  local ignored = {}
  for i = 6, #ARGV do
    ignored[ARGV[i]] = true
  end
  local full = {'full'}
  local fields = redis.call('HGETALL', user)
  for i = 1, #fields, 2 do
    local other = string.match(fields[i], '^session:(.*)$')
    if other and not ignored[string.match(fields[i + 1], '^%S+')] then
      full[#full + 1] = other
      full[#full + 1] = fields[i + 1]
    end
  end
  if (#full - 1) / 2 >= tonumber(ARGV[5]) then
    return full
  end
end

-- Microseconds: above every generation of rows that are gone, and exact as a Lua number until the year 2255.
local now = redis.call('TIME')
local generation = now[1] * 1000000 + now[2]
if before then
  generation = math.max(generation, tonumber(string.match(before, '%d+$')) + 1)
end
redis.call('HSET', user, 'session:' .. device, string.format('%s %s %.0f', node, session, generation))
local away = 0
if before and redis.call('HGET', user, 'away:' .. device) == string.match(before, '^%S+ (%S+) %d+$') then
  redis.call('HSET', user, 'away:' .. device, session)
  away = 1
else
  redis.call('HDEL', user, 'away:' .. device)
end
local rest = redis.call('HMGET', user, 'activity', 'device', 'blocks_known')
return {'registered', string.format('%.0f', generation), before, rest[1], rest[2], rest[3] and 1 or 0, away}
