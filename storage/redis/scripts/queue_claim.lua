-- Turns pairs of waiting tickets into matches, each pair whole or not at all, for the pool's owner.
-- A stored match is `<progress a><progress b>|<claimed at>|<ticket a>|<ticket b>|<payload>`, where progress is `-`
-- (announced), `k` (acknowledged) or `r` (resolved).
--
-- KEYS[1] {q}:tickets    KEYS[2] {q}:matches    KEYS[3] {q}:counts    KEYS[4] {q}:owner
-- ARGV[1] the owner's token, then for each pair: ticket a, ticket b, call, payload
-- Result: {current 0|1, now ms, number of the last event, for each pair 0 claimed | 1 a does not wait | 2 b does not wait | 3 neither does}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('GET', KEYS[4]) ~= ARGV[1] then
  return {0, now, 0}
end
local result = {1, now, tonumber(redis.call('HGET', KEYS[3], 'events') or 0)}
local matched_of = {}
for i = 2, #ARGV, 4 do
  -- Pair by pair: one ticket in two of them is matched once.
  local stored = redis.call('HMGET', KEYS[1], ARGV[i], ARGV[i + 1])
  local stored_a, stored_b = stored[1] or '', stored[2] or ''
  local matched = 'm:' .. ARGV[i + 2] .. '|'
  local side_a = string.match(stored_a, '^w|([^|]*)|')
  local side_b = string.match(stored_b, '^w|([^|]*)|')
  local code = (side_a and 0 or 1) + (side_b and 0 or 2)
  if code == 0 then
    redis.call(
      'HSET', KEYS[1],
      ARGV[i], matched .. string.sub(stored_a, 3),
      ARGV[i + 1], matched .. string.sub(stored_b, 3)
    )
    matched_of[side_a] = (matched_of[side_a] or 0) + 1
    matched_of[side_b] = (matched_of[side_b] or 0) + 1
    redis.call(
      'HSET', KEYS[2], ARGV[i + 2],
      string.format('--|%.0f|%s|%s|', now, ARGV[i], ARGV[i + 1]) .. ARGV[i + 3]
    )
  -- The same claim again, after an answer that got lost on its way: it is this match.
  elseif string.sub(stored_a, 1, #matched) == matched and string.sub(stored_b, 1, #matched) == matched then
    code = 0
  end
  result[#result + 1] = code
end
for side, count in pairs(matched_of) do
  redis.call('HINCRBY', KEYS[3], side .. ':w', -count)
  redis.call('HINCRBY', KEYS[3], side .. ':m', count)
end
return result
