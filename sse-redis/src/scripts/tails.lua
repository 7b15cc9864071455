-- Returns {id, stamp} of each log's newest record, or {} if the key does not contain a log.
-- The topics are open, so this script also postpones the expiry of their logs.
-- KEYS: the logs

local tails = {}
for at, log in ipairs(KEYS) do
  tails[at] = {}
  local ok, top = pcall(newest, log)
  if ok and top then
    tails[at] = {top[1], stamp_of(top)}
    local left = redis.call('PTTL', log)
    if left >= 0 and left < SPARE_TIME / 2 then
      redis.pcall('PEXPIRE', log, SPARE_TIME)
    end
  end
end
return tails
