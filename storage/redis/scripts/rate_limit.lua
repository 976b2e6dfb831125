-- Takes one token of a bucket that refills evenly, if there is one.
--
-- KEYS[1]  the bucket        hash: tokens (a fraction is kept), at (Unix ms of that count)
-- ARGV[1]  capacity: tokens in a full bucket, and tokens refilled in a window
-- ARGV[2]  window, ms
-- Result   {1 when taken else 0, whole tokens left, ms until full, ms until the next token (0 when taken)}
--
-- Done twice, after an answer that got lost on its way, it takes two tokens: that is left so, since a bucket is full of them,
-- and remembering who took them would cost more than it is worth.

local capacity = tonumber(ARGV[1])
local window = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local stored = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = capacity
if stored[1] then
  -- A clock that stepped back must not take tokens away.
  local passed = math.max(0, now - tonumber(stored[2]))
  tokens = math.min(capacity, tonumber(stored[1]) + passed * capacity / window)
end

local taken = 0
local wait = 0
if tokens >= 1 then
  tokens = tokens - 1
  taken = 1
else
  wait = math.ceil((1 - tokens) * window / capacity)
end
local until_full = math.ceil((capacity - tokens) * window / capacity)

redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', now)
-- A full bucket need not be remembered.
redis.call('PEXPIRE', KEYS[1], math.max(1, until_full))
return {taken, math.floor(tokens), until_full, wait}
