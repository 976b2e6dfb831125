-- Takes a user's slot for a ticket, if the user is idle or the slot still says what the caller has found to be over.
--
-- KEYS[1] {u}:user    KEYS[2] {u}:blocks    KEYS[3] {u}:recent
-- ARGV[1] activity to store    ARGV[2] device    ARGV[3] activity that may be replaced, or ''
-- ARGV[4] Unix ms since when the ticket counts, or '' for now    ARGV[5] for how long a partner who may be met again
-- comes last, ms, at most a day
-- ARGV[6] session of the device, if its row has to be there    ARGV[7] its generation
-- Result: 'stranger' where that row is missing or another's; else {taken 0|1, now ms, activity, device, queued_at ms, {blocked users}, {partners not to be met}, {partners to come last},
--   ms until the user may queue again, after declines}
local slot = redis.call(
  'HMGET', KEYS[1], 'activity', 'device', 'queued_at', 'may_queue_at', 'declines', 'returned', 'session:' .. ARGV[2]
)
if ARGV[6] then
  local session, generation = string.match(slot[7] or '', '^%S+ (%S+) (%S+)')
  if session ~= ARGV[6] or generation ~= ARGV[7] then
    return 'stranger'
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held, device, queued_at = slot[1], slot[2] or '', tonumber(slot[3] or 0)
local taken, pause = 0, 0
-- What is over is not kept for ever.
if slot[4] then
  pause = tonumber(slot[4]) - now
  if pause <= 0 then
    pause = 0
    redis.call('HDEL', KEYS[1], 'may_queue_at')
  end
end
if slot[5] and now > tonumber(string.match(slot[5], '^%d+ (%d+) ') or 0) then
  redis.call('HDEL', KEYS[1], 'declines')
end
-- Whoever is put back where they were does not begin anew.
if held or ARGV[4] ~= '' then
  pause = 0
end
if pause == 0 and (not held or held == ARGV[3]) then
  local since = ARGV[4]
  if since == '' then
    since = string.format('%.0f', now)
  end
  redis.call('HSET', KEYS[1], 'activity', ARGV[1], 'device', ARGV[2], 'queued_at', since)
  redis.call('EXPIRE', KEYS[1], 90 * 86400) -- as presence_register.lua has it
  if slot[6] then
    redis.call('HDEL', KEYS[1], 'returned')
  end
  held, device, queued_at, taken = ARGV[1], ARGV[2], tonumber(since), 1
elseif held == ARGV[1] then
  taken = 1
end
local apart, last = {}, {}
local met = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. string.format('%.0f', now - ARGV[5]), '+inf', 'WITHSCORES')
for i = 1, #met, 2 do
  local those = tonumber(met[i + 1]) > now and apart or last
  those[#those + 1] = met[i]
end
return {taken, now, held, device, queued_at, redis.call('SMEMBERS', KEYS[2]), apart, last, pause}
