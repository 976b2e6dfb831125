-- Puts an answer in place of the reservation of an idempotency key, or gives the reservation up.
--
-- KEYS  1 the key
-- ARGV  1 the reservation as it was stored  2 the answer as it is stored, or ''  3 for how long to keep it, ms
-- Result  1 if it did, 0 if the reservation has run out: the key may be another request's by now

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
