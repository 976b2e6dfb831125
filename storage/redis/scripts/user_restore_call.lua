-- Puts back that a user is in a call, after a loss: where the slot is idle, or has fallen back to the ticket before it.
--
-- KEYS[1] {u}:user
-- ARGV[1] activity of the call    ARGV[2] activity of the ticket that it came from, or ''
-- ARGV[3] Unix ms since when that ticket counts
-- ARGV[4] device, ARGV[5] its session and ARGV[6] that one's generation: its row has to be there
-- Result: 1 if the slot names the call now, 0 if the user does something else, 'stranger' where that row is missing or
-- another's
if ARGV[5] then
  local row = redis.call('HGET', KEYS[1], 'session:' .. ARGV[4])
  local session, generation = string.match(row or '', '^%S+ (%S+) (%S+)')
  if session ~= ARGV[5] or generation ~= ARGV[6] then
    return 'stranger'
  end
end
local held = redis.call('HGET', KEYS[1], 'activity')
if held == ARGV[1] then
  return 1
end
-- Who went back from this very call has not fallen back: that came after it.
if held and (held ~= ARGV[2] or redis.call('HGET', KEYS[1], 'returned') == ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'activity', ARGV[1], 'device', ARGV[4], 'queued_at', ARGV[3])
return 1
