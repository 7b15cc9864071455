-- Renews the lease of an owner. If the server has lost the lease, creates it again.
-- KEYS: the log, the run, the leases
-- ARGV: the topic, the owner, the milliseconds until the lease expires, '1' if the run can be continued
-- Returns {'held', milliseconds since the topic last had readers, or -1}, {'lost'} or {'ended'}.

local log, run, leases = KEYS[1], KEYS[2], KEYS[3]
local topic, owner, ttl, resumable = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

local top = newest(log)
if top and is_end(top) then
  return {'ended'}
end
local current, failed = call_for_run('HMGET', run, 'owner', 'read')
if failed then
  return failed
end
if current[1] and current[1] ~= owner then
  return {'lost'}
end
local now = now_in_ms()
if not current[1] then
  redis.call('HSET', run, 'owner', owner, 'resumable', resumable)
end
local _, failed = call_for_run('ZADD', leases, now + ttl, topic)
if failed then
  return failed
end
return {'held', current[2] and now - tonumber(current[2]) or -1}
