-- Records that topics have readers.
-- KEYS: the runs of these topics

for _, run in ipairs(KEYS) do
  local owner = redis.pcall('HGET', run, 'owner')
  if type(owner) == 'string' then
    redis.call('HSET', run, 'read', now_in_ms())
  end
end
