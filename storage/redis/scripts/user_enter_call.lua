-- Moves a user's slot from the ticket of a match to its call; or, after a loss, puts back that it is there.
--
-- KEYS[1] {u}:user    KEYS[2] {u}:blocks
-- ARGV[1] activity of the ticket, or '' where a user who is put back came without one    ARGV[2] activity of the call
-- ARGV[3] the peer's user id, or '' where it does not matter who is blocked
-- ARGV[4] device, or ''    ARGV[5] its session, or '' where its row need not be there    ARGV[6] that one's generation
-- ARGV[7] to put back, also where the slot is idle: Unix ms since when the ticket counts; else ''
-- Result: 'entered' (again: the same), 'blocked', 'gone' when the user does something else by now, or 'stranger' where that
-- row is missing or another's
local slot = redis.call('HMGET', KEYS[1], 'activity', 'returned', 'session:' .. ARGV[4])
if ARGV[5] ~= '' then
  local session, generation = string.match(slot[3] or '', '^%S+ (%S+) (%S+)')
  if session ~= ARGV[5] or generation ~= ARGV[6] then
    return 'stranger'
  end
end
local held = slot[1]
if held == ARGV[2] then
  return 'entered'
end
-- A ticket keeps its id when it goes back: a late step of the call it came back from must not take it there again.
if slot[2] == ARGV[2] then
  return 'gone'
end
if held ~= ARGV[1] and (held or ARGV[7] == '') then
  return 'gone'
end
if ARGV[3] ~= '' and redis.call('SISMEMBER', KEYS[2], ARGV[3]) == 1 then
  return 'blocked'
end
if ARGV[7] == '' then
  redis.call('HSET', KEYS[1], 'activity', ARGV[2])
else
  redis.call('HSET', KEYS[1], 'activity', ARGV[2], 'device', ARGV[4], 'queued_at', ARGV[7])
end
return 'entered'
