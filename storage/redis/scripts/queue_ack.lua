-- Notes that sides' nodes know of their matches.
--
-- KEYS[1] {q}:matches
-- ARGV[1] call    ARGV[2] seats, a, b or ab    and so on
-- Result: for each call 1, or 0 if there is no such match any more
local result = {}
for i = 1, #ARGV, 2 do
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  result[#result + 1] = stored and 1 or 0
  if stored then
    local before = string.sub(stored, 1, 2)
    local after = before
    if string.find(ARGV[i + 1], 'a', 1, true) then
      after = string.gsub(after, '^%-', 'k')
    end
    if string.find(ARGV[i + 1], 'b', 1, true) then
      after = string.gsub(after, '%-$', 'k')
    end
    if after ~= before then
      redis.call('HSET', KEYS[1], ARGV[i], after .. string.sub(stored, 3))
    end
  end
end
return result
