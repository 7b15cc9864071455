-- Records that the topic of a run has readers.
-- KEYS: the run

if redis.call('HGET', KEYS[1], 'owner') then
  redis.call('HSET', KEYS[1], 'read', now_in_ms())
end
