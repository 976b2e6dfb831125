-- Tells where tickets stand, without what is stored of them.
--
-- KEYS[1] {q}:tickets
-- ARGV tickets, not more than a thousand
-- Result: a letter for each in their order: 'w' (waiting), 'p' (paused), 'm' (matched) or '-' (absent)
local letters = {}
for i, stored in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV))) do
  letters[i] = stored and string.sub(stored, 1, 1) or '-'
end
return table.concat(letters)
