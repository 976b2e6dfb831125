-- Takes, keeps or gives up the ownership of a pool. A token is `<number>-<nonce>`; numbers rise also when a failover
-- has lost the last one, and nonces keep two owners apart whose numbers are equal.
--
-- KEYS[1] {q}:owner    KEYS[2] {q}:counts    KEYS[3] {q}:arrivals
-- ARGV[1] 'take', 'keep' or 'drop'    ARGV[2] nonce (take) or token    ARGV[3] for how long, ms
-- Result: {token or '', now ms, ms that another's lease lasts, last stream id, number of the last event}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local owner = redis.call('GET', KEYS[1])
local token, held = '', 0
if ARGV[1] == 'take' then
  if not owner then
    local number = math.max(tonumber(redis.call('HGET', KEYS[2], 'token') or 0) + 1, time[1] * 1000000 + time[2])
    local text = string.format('%.0f', number)
    redis.call('HSET', KEYS[2], 'token', text)
    token = text .. '-' .. ARGV[2]
    redis.call('SET', KEYS[1], token, 'PX', ARGV[3])
  elseif string.match(owner, '^%d+%-(.*)$') == ARGV[2] then
    token = owner
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  else
    held = redis.call('PTTL', KEYS[1])
  end
elseif owner == ARGV[2] then
  if ARGV[1] == 'keep' then
    token = owner
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  else
    redis.call('DEL', KEYS[1])
  end
end
local last = '0-0'
if redis.call('EXISTS', KEYS[3]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[3])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last = info[i + 1]
    end
  end
end
return {token, now, held, last, tonumber(redis.call('HGET', KEYS[2], 'events') or 0)}
