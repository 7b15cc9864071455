-- Claims the run of a topic.
-- KEYS: the log, the run, the leases
-- ARGV: the topic, the new owner, the milliseconds until the lease expires, '1' to start a run that
--   does not exist, '1' to continue a lost run rather than end it, '1' to take over a run whose lease
--   has expired, the milliseconds after the expiry during which a resumable run can be continued but
--   not ended, '1' to treat a topic that has records but no owner as a lost run
-- Returns 'new', 'taken over', 'held', 'expired', 'ended' or 'no run'.

local log, run, leases = KEYS[1], KEYS[2], KEYS[3]
local topic, owner, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local starts, resumes, can_expire = ARGV[4] == '1', ARGV[5] == '1', ARGV[6] == '1'

local top, foreign = newest(log)
if not top and #foreign > 0 then
  return not_a_log()
end
if top and is_end(top) then
  redis.pcall('ZREM', leases, topic)
  return 'ended'
end
local now = now_in_ms()
local current, failed = call_for_run('HMGET', run, 'owner', 'resumable')
if failed then
  return failed
end
local score, failed = call_for_run('ZSCORE', leases, topic)
if failed then
  return failed
end
local result = 'new'
local has_records = top and key_of(top) ~= ''
if not current[1] and has_records and not score and ARGV[8] ~= '1' then
  return 'no run'
end
if current[1] or has_records then
  local expiry = tonumber(score or '')
  if not expiry then
    -- The server may have lost the lease of an owner that is still alive. Give the owner time to
    -- renew it.
    redis.call('ZADD', leases, now + ttl, topic)
    return 'held'
  end
  if current[2] == '1' and not resumes then
    expiry = expiry + tonumber(ARGV[7])
  end
  if expiry > now then
    return 'held'
  end
  if not can_expire then
    return 'expired'
  end
  result = 'taken over'
elseif not starts then
  redis.pcall('ZREM', leases, topic)
  return 'no run'
end
redis.call('HSET', run, 'owner', owner, 'resumable', resumes and '1' or '0')
redis.call('ZADD', leases, now + ttl, topic)
return result
