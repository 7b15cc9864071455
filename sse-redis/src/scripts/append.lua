-- Appends a record to a log.
-- KEYS: the log, the index of the keys, the run, the leases of all runs
-- ARGV: the epoch of a new log, the record's key, 'b' or 'e', the body, the number of events to keep,
--   the bytes to keep, the milliseconds to keep or '', the channel, the largest body that is sent to
--   the channel, '1' if the script must write something even if the record is already stored, the
--   topic, the owner of the run that appends the record or ''
-- Returns {'new' or 'known', id, stamp of the record before, number of foreign entries, stamp}, {'ended'} or
-- {'fenced'}.

local log, index, run, leases, channel = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[8]
local topic, owner = ARGV[11], ARGV[12]
local key, kind, body = ARGV[2], ARGV[3], ARGV[4]
local top, foreign = newest(log)

-- The index maps the key of each record to the record's number. The fields 'at' and 'by' contain
-- the id and the key of the newest record. If they differ from those in the log, the index is
-- recreated.
local function create_index()
  -- A server that is out of memory can reject only a script's first write, and never rejects `DEL`.
  -- The first write is therefore an `HSET`, so that the script fails before it changes anything.
  redis.call('HSET', index, 'at', '')
  redis.call('DEL', index)
  local from = '-'
  repeat
    local page = redis.call('XRANGE', log, from, top[1], 'COUNT', 32)
    for _, entry in ipairs(page) do
      if is_own(entry) and key_of(entry) ~= '' then
        redis.call('HSET', index, key_of(entry), string.match(entry[1], '%d+$'))
      end
      from = '(' .. entry[1]
    end
  until #page < 32
  redis.call('HSET', index, 'at', top[1], 'by', key_of(top))
  local left = redis.call('PTTL', log)
  if left >= 0 then
    redis.call('PEXPIRE', index, left)
  end
end

-- Returns the stored record that has the same key as the record to append, or nil.
local function look_up()
  local known = redis.call('HMGET', index, 'at', 'by', key)
  local number = known[3]
  if known[1] ~= top[1] or known[2] ~= key_of(top) then
    create_index()
    number = redis.call('HGET', index, key)
  end
  local epoch = split(top[1])
  local found = number and entry_at(log, epoch .. '-' .. number)
  return found and key_of(found) == key and found or nil
end

local function size_up_to(entry)
  return tonumber(entry[2][6]) or 0
end

-- Removes the oldest records that exceed the limits, except the newest of these records. A call
-- removes at most 100 records, so after the limits have been lowered, several appends share the
-- work.
local function trim(total, now)
  local ending = kind == 'e' and 1 or 0
  local events, bytes, age = math.max(tonumber(ARGV[5]), 1), tonumber(ARGV[6]), tonumber(ARGV[7])
  for _ = 1, 100 do
    local stored = redis.call('XLEN', log) - ending
    local can_exceed = stored - 1 > events or total > bytes or age
    if stored <= 2 or not can_exceed then
      return
    end
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 2)
    local is_old = age and now - (tonumber(oldest[2][2][4]) or now) > age
    if stored - 1 <= events and total - size_up_to(oldest[1]) <= bytes and not is_old then
      return
    end
    redis.call('XTRIM', log, 'MINID', '=', oldest[2][1])
    redis.call('HDEL', index, key_of(oldest[1]))
  end
end

if top then
  local found = look_up()
  if found then
    local epoch, number = split(found[1])
    local before = entry_at(log, id_of(epoch, number - 1))
    if ARGV[10] == '1' then
      redis.call('PUBLISH', channel, '1.')
    end
    return {'known', found[1], before and stamp_of(before) or '', 0, stamp_of(found)}
  end
  if is_end(top) then
    return {'ended'}
  end
elseif #foreign > 0 then
  return not_a_log()
end

-- If no owner is stored, the server has lost it, and no other owner has taken over the run. The
-- owner is stored again when it renews its lease.
if owner ~= '' then
  local current, failed = call_for_run('HGET', run, 'owner')
  if failed then
    return failed
  end
  if (current or owner) ~= owner then
    return {'fenced'}
  end
end

local epoch, number, total, previous = ARGV[1], 0, 0, ''
if top then
  epoch, number = split(top[1])
  total, previous = size_up_to(top), stamp_of(top)
end
local id = id_of(epoch, number + 1)
total = total + #body
local now = now_in_ms()
local stamp = key .. string.format('%.0f', now)

-- Copies the records to a new stream, because the greatest id of a stream cannot be reduced. The
-- copy is created under the key of the index and then renamed.
local function repair()
  redis.call('DEL', index)
  if not top then
    redis.call('DEL', log)
    return
  end
  local from = '-'
  repeat
    local page = redis.call('XRANGE', log, from, top[1], 'COUNT', 32)
    for _, entry in ipairs(page) do
      if is_own(entry) then
        redis.call('XADD', index, entry[1], unpack(entry[2]))
      end
      from = '(' .. entry[1]
    end
  until #page < 32
  redis.call('RENAME', index, log)
  create_index()
end
local failed = add(log, id, repair, 'k', key, 't', string.format('%.0f', now),
  'c', string.format('%.0f', total), kind, body)
if failed then
  return failed
end

-- The record is stored, and a later error must not hide that. If the index is not updated, the next
-- append recreates it. If the message is not sent, the nodes notice when they compare positions.
pcall(function()
  if not top then
    redis.call('DEL', index)
  end
  redis.call('HSET', index, key, string.format('%.0f', number + 1), 'at', id, 'by', key)
end)
pcall(function()
  if ARGV[7] ~= '' then
    local time = string.format('%.0f', tonumber(ARGV[7]) + SPARE_TIME)
    redis.call('PEXPIRE', log, time)
    redis.call('PEXPIRE', index, time)
  elseif redis.call('PTTL', log) >= 0 then
    redis.call('PERSIST', log)
    redis.call('PERSIST', index)
  end
end)
if kind == 'e' then
  pcall(function()
    redis.call('DEL', run)
    redis.call('ZREM', leases, topic)
  end)
end
pcall(trim, total, now)
pcall(function()
  local message = '1?'
  if #body <= tonumber(ARGV[9]) then
    local before = previous == '' and string.rep('\0', 16) .. '0' or previous
    message = '1' .. kind .. stamp .. ' ' .. before .. ' ' .. id .. '\n' .. body
  end
  redis.call('PUBLISH', channel, message)
end)
return {'new', id, previous, #foreign, stamp}
