-- Functions shared by all scripts. A topic's log is a stream whose ids are <epoch>-<number>.
--   {'k', key, 't', time in ms, 'c', size of all bodies up to this one, 'b' or 'e', body}
--     is a record. 'e' marks the end of the topic.
--   {'s', ''} with the number 0 is the start of a log that has no records yet.
-- All other entries were added by another program.

local MOST_FOREIGN = 10000

local function is_own(entry)
  local fields = entry[2]
  if #fields == 8 then
    return fields[1] == 'k' and #fields[2] == 16 and fields[3] == 't' and fields[5] == 'c'
      and (fields[7] == 'b' or fields[7] == 'e')
  end
  return #fields == 2 and fields[1] == 's' and string.sub(entry[1], -2) == '-0'
end

local function key_of(entry)
  return entry[2][1] == 'k' and entry[2][2] or ''
end

local function is_end(entry)
  return entry[2][7] == 'e'
end

local function split(id)
  local epoch, number = string.match(id, '^(%d+)-(%d+)$')
  return epoch, tonumber(number)
end

local function id_of(epoch, number)
  return epoch .. '-' .. string.format('%.0f', number)
end

local function not_a_log()
  return redis.error_reply('NOTALOG the stream contains only entries of another program')
end

-- Returns the newest entry that is our own, and the ids of the entries after it. Returns nil if the
-- log has no entries of our own.
local function newest(log)
  local foreign, from = {}, '+'
  repeat
    local count = #foreign == 0 and 1 or 64
    local page = redis.call('XREVRANGE', log, from, '-', 'COUNT', count)
    for _, entry in ipairs(page) do
      if is_own(entry) then
        return entry, foreign
      end
      foreign[#foreign + 1] = entry[1]
    end
    if #page > 0 then
      from = '(' .. page[#page][1]
    end
  until #page < count or #foreign > MOST_FOREIGN
  return nil, foreign
end

local function entry_at(log, id)
  local entry = redis.call('XRANGE', log, id, id)[1]
  return entry and is_own(entry) and entry or nil
end

-- Adds an entry. If another program has given the log a greater id, or has removed our newest
-- entries, calls `repair` and tries again. Returns the error, if any. Nothing must be written before
-- this call, because a server that is out of memory rejects only a script's first write.
local function add(log, id, repair, ...)
  local added = redis.pcall('XADD', log, id, ...)
  local message = type(added) == 'table' and added.err
  if message and (string.find(message, 'equal or smaller', 1, true)
    or string.find(message, 'exhausted', 1, true)) then
    repair()
    added = redis.pcall('XADD', log, id, ...)
    message = type(added) == 'table' and added.err
  end
  return message and redis.error_reply(message)
end
