-- Drops what is left of a dead node incarnation, if nobody is on its list of sessions any more.
--
-- KEYS  1 lease  2 list of sessions  3 counts
-- Result  1 if it is gone, 0 if it lives or has sessions on its list

if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('SCARD', KEYS[2]) > 0 then
  return 0
end
redis.call('DEL', KEYS[2], KEYS[3])
return 1
