-- Reads the records of a log, and creates the log if it does not exist.
-- KEYS: the log
-- ARGV: the epoch of a new log, the number of the record before the first one, the bytes to read
-- Returns {time in ms, id and stamp of the newest record, number of foreign entries, records}. The
-- record with the number ARGV[2] is included if it still exists.

local log = KEYS[1]
local after, bytes = ARGV[2], tonumber(ARGV[3])
local top, foreign = newest(log)
if not top then
  if #foreign > 0 then
    return not_a_log()
  end
  top = {ARGV[1] .. '-0', {'s', ''}}
  local failed = add(log, top[1], function() redis.call('DEL', log) end, 's', '')
  if failed then
    return failed
  end
  redis.call('PEXPIRE', log, SPARE_TIME)
end
local epoch = split(top[1])
local first = epoch .. '-' .. after
local records, size, count, from = {}, 0, 8, first
local is_full = tonumber(after) > select(2, split(top[1]))
while not is_full do
  local page = redis.call('XRANGE', log, from, top[1], 'COUNT', count)
  for _, entry in ipairs(page) do
    from = '(' .. entry[1]
    if is_own(entry) and not is_full then
      records[#records + 1] = entry
      if entry[1] ~= first and key_of(entry) ~= '' then
        size = size + #entry[2][8]
        is_full = size >= bytes
      end
    end
  end
  is_full = is_full or #page < count
  if size > 0 then
    count = math.max(1, math.min(256, math.floor((bytes - size) * #records / size) + 1))
  end
end
return {string.format('%.0f', now_in_ms()), top[1], stamp_of(top), #foreign, records}
