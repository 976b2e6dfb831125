-- Writes the row of a device's session, with a generation above all before.
--
-- KEYS  1 the user's slot  2 the list of the node's sessions, where one server has both
-- ARGV  1 device  2 node  3 session  4 Unix ms of the token  5 the token's family  6 as the session stands on the list
--       7 how many devices may have a row  8 the row that has to stand there, or ''  9... nodes whose rows do not count
-- Result  {"registered", generation, the row before or false, activity or false, its device or false, 1 if blocks known,
--         1 if the session before was away, as this one is now}
--         {"revoked"}
--         {"other"} if another row stands there, that is not of this session
--         {"full", device, row, ...} with the rows that count

-- The slot goes 90 days after the last session began, or everybody who was ever here would stay: what it says is over by
-- then, and blocks, which are a key of their own, are held against the archive as soon as `blocks_known` is missing.
local KEPT_S = 90 * 86400

local user, device, node, session = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local field, away_field = 'session:' .. device, 'away:' .. device

local known = redis.call('HMGET', user, 'revoked_before', 'revoked:' .. ARGV[5], field, away_field, 'activity', 'device',
  'blocks_known')
if known[2] or (known[1] and tonumber(ARGV[4]) < tonumber(known[1])) then
  return {'revoked'}
end

local before = known[3]
if ARGV[8] ~= '' and before ~= ARGV[8] and (not before or string.match(before, '^%S+ (%S+) %d+$') ~= session) then
  return {'other'}
end
if not before then
  local ignored = {}
  for i = 9, #ARGV do
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
  if (#full - 1) / 2 >= tonumber(ARGV[7]) then
    return full
  end
end

if KEYS[2] then
  redis.call('SADD', KEYS[2], ARGV[6])
end
-- Microseconds: above every generation of rows that are gone, and exact as a Lua number until the year 2255.
local now = redis.call('TIME')
local generation = now[1] * 1000000 + now[2]
if before then
  generation = math.max(generation, tonumber(string.match(before, '%d+$')) + 1)
end
local written = string.format('%.0f', generation)
local row = node .. ' ' .. session .. ' ' .. written
local away = 0
if known[4] and before and known[4] == string.match(before, '^%S+ (%S+) %d+$') then
  redis.call('HSET', user, field, row, away_field, session)
  away = 1
else
  redis.call('HSET', user, field, row)
  if known[4] then
    redis.call('HDEL', user, away_field)
  end
end
redis.call('EXPIRE', user, KEPT_S)
return {'registered', written, before, known[5], known[6], known[7] and 1 or 0, away}
