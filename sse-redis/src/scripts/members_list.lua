-- Returns {id and stamp of the newest record in the log of a presence's changes, members}. The id is ''
-- if the log does not exist.
-- KEYS: the members, the log

local fields = redis.pcall('HKEYS', KEYS[1])
if fields.err then
  local is_other = string.find(fields.err, 'WRONGTYPE', 1, true)
  return redis.error_reply(is_other and 'NOMEMBERS the key is not a hash' or fields.err)
end
local top = newest(KEYS[2])
local present = {}
for _, field in ipairs(fields) do
  if field ~= 'nodes' then
    present[#present + 1] = field
  end
end
return {top and top[1] or '', top and stamp_of(top) or '', present}
