-- Reads what a user does, with the time at which that was so.
--
-- KEYS[1] {u}:user
-- Result: {now ms, activity or '', device or '', queued_at ms or 0}
local time = redis.call('TIME')
local slot = redis.call('HMGET', KEYS[1], 'activity', 'device', 'queued_at')
return {
  time[1] * 1000 + math.floor(time[2] / 1000), slot[1] or '', slot[2] or '', tonumber(slot[3] or 0),
}
