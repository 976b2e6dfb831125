-- Moves a user's slot from the ticket of a match to its call.
--
-- KEYS[1] {u}:user    KEYS[2] {u}:blocks
-- ARGV[1] activity of the ticket    ARGV[2] activity of the call    ARGV[3] the peer's user id
-- ARGV[4] device, ARGV[5] its session and ARGV[6] that one's generation, if its row has to be there
-- Result: 'entered' (again: the same), 'blocked', 'gone' when the user does something else by now, or 'stranger' where that
-- row is missing or another's
if ARGV[5] then
  local row = redis.call('HGET', KEYS[1], 'session:' .. ARGV[4])
  local session, generation = string.match(row or '', '^%S+ (%S+) (%S+)')
  if session ~= ARGV[5] or generation ~= ARGV[6] then
    return 'stranger'
  end
end
local held = redis.call('HGET', KEYS[1], 'activity')
if held == ARGV[2] then
  return 'entered'
end
-- A ticket keeps its id when it goes back: a late step of the call it came back from must not take it there again.
if held ~= ARGV[1] or redis.call('HGET', KEYS[1], 'returned') == ARGV[2] then
  return 'gone'
end
if redis.call('SISMEMBER', KEYS[2], ARGV[3]) == 1 then
  return 'blocked'
end
redis.call('HSET', KEYS[1], 'activity', ARGV[2])
return 'entered'
