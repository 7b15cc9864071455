-- Returns {id, key} of each log's newest record, or {} if the key does not contain a log.
-- KEYS: the logs

local tails = {}
for at, log in ipairs(KEYS) do
  tails[at] = {}
  local ok, top = pcall(newest, log)
  if ok and top then
    tails[at] = {top[1], key_of(top)}
  end
end
return tails
