-- Removes a match whose call is live, with both its tickets.
--
-- KEYS[1] {q}:tickets    KEYS[2] {q}:matches    KEYS[3] {q}:counts
-- ARGV[1] call
-- Result: 1, or 0 if there is no such match any more
local match = redis.call('HGET', KEYS[2], ARGV[1])
if not match then
  return 0
end
local ticket_a, ticket_b = string.match(match, '^[^|]*|[^|]*|([^|]*)|([^|]*)|')
for _, ticket in ipairs({ticket_a, ticket_b}) do
  local stored = redis.call('HGET', KEYS[1], ticket)
  if stored then
    local state, side = string.match(stored, '^([^|]*)|([^|]*)|')
    if state == 'm:' .. ARGV[1] then
      redis.call('HDEL', KEYS[1], ticket)
      redis.call('HINCRBY', KEYS[3], side .. ':m', -1)
    end
  end
end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
