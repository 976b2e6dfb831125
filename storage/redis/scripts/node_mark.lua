-- Says of one part of the store what is different after it has lost something.
--
-- KEYS  1 epoch: a random word among the data of this part  2 set while nodes are asked to hold back
-- ARGV  1 the word to set where there is none
-- Result  {epoch, the server's name for the history of its data ('' where it may not be asked), ms to hold back,
--         1 if the word was set just now}

local epoch, is_new = redis.call('GET', KEYS[1]), 0
if not epoch then
  epoch, is_new = ARGV[1], 1
  redis.call('SET', KEYS[1], epoch)
end
-- Another after every restart and every promotion of a replica, with the data or without.
local info = redis.pcall('INFO', 'replication')
local history = type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ''
return {epoch, history, math.max(0, redis.call('PTTL', KEYS[2])), is_new}
