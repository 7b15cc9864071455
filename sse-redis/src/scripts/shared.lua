-- Functions shared by the scripts. A topic's log is a stream whose ids are
-- <epoch>-<number>.
--   {'k', key, 't', time in ms, 'c', size of all bodies including this one, 'b' or 'e', body}
--     is a record. 'e' marks the end of the topic.
--   {'s', ''} with the number 0 is the start of a log that was created before it had any records.
-- All other entries were added by another program.

-- The number of foreign entries after which the search for the newest entry of our own stops.
local MAX_FOREIGN = 10000

-- The time in ms for which a topic that is not open is kept after its newest event has become too
-- old or, if the topic has no events, after it was last opened. While a topic is open, the nodes
-- extend this time whenever they compare positions.
local SPARE_TIME = 60 * 60 * 1000

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

-- Returns the key and the time of a record, from which its mark is computed, or '' for the start of a
-- log.
local function stamp_of(entry)
  return entry[2][1] == 'k' and entry[2][2] .. entry[2][4] or ''
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

local function now_in_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function not_a_log()
  return redis.error_reply('NOTALOG the stream contains entries of another program')
end

-- Returns the newest entry of our own, and the ids of the entries after it. The entry is nil if the
-- log contains no entries of our own, or if more than MAX_FOREIGN entries follow it.
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
  until #page < count or #foreign > MAX_FOREIGN
  return nil, foreign
end

local function entry_at(log, id)
  local entry = redis.call('XRANGE', log, id, id)[1]
  return entry and is_own(entry) and entry or nil
end

-- Adds an entry. If another program has given the log a greater id, or has removed our newest
-- entries, calls `repair` and tries again. Returns the error, if any. A server that is out of
-- memory can reject only a script's first write, so a write that it never rejects, such as `DEL`,
-- must not precede this call.
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

-- Calls a command for the key of a run or for the leases. Returns the reply, or nil and an error. If the
-- key contains another type of value, the error names the key. Otherwise, the log's key, which is
-- intact, would be reported.
local function call_for_run(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  local message = type(reply) == 'table' and reply.err
  if message and string.find(message, 'WRONGTYPE', 1, true) then
    return nil, redis.error_reply('NOTARUN the key ' .. key
      .. ' contains a value that another program has written; delete or rename it')
  end
  return not message and reply, message and reply
end
