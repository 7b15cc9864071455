-- Withdraws a claim. If the topic has records, the lease expires at once. Otherwise, the run is
-- removed.
-- KEYS: the log, the run, the leases
-- ARGV: the topic, the owner

local log, run, leases = KEYS[1], KEYS[2], KEYS[3]
local topic, owner = ARGV[1], ARGV[2]

if redis.call('HGET', run, 'owner') ~= owner then
  return
end
local top = newest(log)
if top and key_of(top) ~= '' then
  redis.call('ZADD', leases, now_in_ms(), topic)
else
  redis.call('DEL', run)
  redis.call('ZREM', leases, topic)
end
