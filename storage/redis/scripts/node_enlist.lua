-- Puts a node incarnation on the list of all, with the time of its renewal.
--
-- KEYS  1 the list of all
-- ARGV  1 node id
-- Result  nothing

local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
return false
