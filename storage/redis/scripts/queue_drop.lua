-- Removes those of some tickets that have been paused for too long, for the pool's owner.
--
-- KEYS[1] {q}:tickets    KEYS[2] {q}:arrivals    KEYS[3] {q}:counts    KEYS[4] {q}:owner
-- ARGV[1] the owner's token    ARGV[2] pause that is too long, ms    ARGV[3] stream length at most, about
-- ARGV[4...] tickets
-- Result: list of what was stored of the tickets removed
--
-- Done twice, after an answer that got lost on its way, it answers with an empty list: the tickets are gone, and their
-- users' slots, which still name them, are put right when those users come to join again.
if redis.call('GET', KEYS[4]) ~= ARGV[1] then
  return {}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local dropped = {}
for i = 4, #ARGV do
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  if stored then
    local since, side = string.match(stored, '^p:(%d+)|([^|]*)|')
    if since and now - tonumber(since) >= tonumber(ARGV[2]) then
      redis.call('HDEL', KEYS[1], ARGV[i])
      redis.call('HINCRBY', KEYS[3], side .. ':p', -1)
      local number = redis.call('HINCRBY', KEYS[3], 'events', 1)
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'n', number, 'e', '-', 't', ARGV[i])
      dropped[#dropped + 1] = stored
    end
  end
end
return dropped
