-- All listed node incarnations.
--
-- KEYS  1 the list of all
-- Result  {Unix ms now, node id, Unix ms of its renewal, ...}

local now = redis.call('TIME')
local listed = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local result = {now[1] * 1000 + math.floor(now[2] / 1000)}
for i = 1, #listed, 2 do
  result[#result + 1] = listed[i]
  result[#result + 1] = tonumber(listed[i + 1])
end
return result
