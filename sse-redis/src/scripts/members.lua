-- Functions shared by the scripts members_update and members_sweep, which follow this file. The
-- script append is available as the function `append`.
-- KEYS: the members of a presence, the log of its changes, the index of the log's keys
-- ARGV: the epoch of a new log, the number of events to keep, the bytes to keep, the milliseconds to
--   keep or '', the log's channel, the largest body that is sent to the channel, the frame and the
--   value of the event if a member joins, the frame and the value if it leaves, a random string
--
-- The members are a hash:
--   'nodes' -> a line '<node> <expiry> <number>' for each node. The expiry is the time in ms at which
--     its lease expires, or 0 if the node is being removed. The number is that of its last update.
--   any other field is a member, as JSON -> the nodes at which it is present, separated by spaces
-- The leases and the members are in one key, so neither can be lost without the other.

local members = KEYS[1]
local JOINED = {ARGV[7], ARGV[8]}
local LEFT = {ARGV[9], ARGV[10]}

-- Returns the nodes, or nil and an error if the key contains a value of another type.
local function read_nodes()
  local lines = redis.pcall('HGET', members, 'nodes')
  if type(lines) == 'table' and lines.err then
    local is_other = string.find(lines.err, 'WRONGTYPE', 1, true)
    return nil, redis.error_reply(is_other and 'NOMEMBERS the key is not a hash' or lines.err)
  end
  local nodes = {}
  for node, expiry, number in string.gmatch(lines or '', '(%S+) (%d+) (%d+)') do
    nodes[node] = {expiry = tonumber(expiry), number = tonumber(number)}
  end
  return nodes
end

local function write_nodes(nodes)
  local lines = {}
  for node, lease in pairs(nodes) do
    lines[#lines + 1] = string.format('%s %.0f %.0f', node, lease.expiry, lease.number)
  end
  redis.call('HSET', members, 'nodes', table.concat(lines, '\n'))
end

local function body_of(event, who)
  local count = string.format('%.0f', redis.call('HLEN', members) - 1)
  local parts = {['\0'] = who, ['\1'] = count}
  local frame = string.gsub(event[1], '[%z\1]', parts)
  local value = string.gsub(event[2], '[%z\1]', parts)
  local len = {}
  for place = 3, 0, -1 do
    len[#len + 1] = string.char(math.floor(#frame / 256 ^ place) % 256)
  end
  return '\1' .. table.concat(len) .. frame .. value
end

local events = 0

-- Returns a key of 16 bytes for the next event.
local function next_key()
  events = events + 1
  local hash = redis.sha1hex(ARGV[11] .. events)
  local key = string.gsub(string.sub(hash, 1, 32), '..', function(digits)
    return string.char(tonumber(digits, 16))
  end)
  return key
end

-- Appends an event to the log. If the event cannot be stored, calls `undo` and returns an error.
local function publish(event, who, undo)
  local done, reply = pcall(append, {KEYS[2], KEYS[3], '', ''}, {ARGV[1], next_key(), 'b',
    body_of(event, who), ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], '0', '', ''})
  if done and reply[1] == 'new' then
    return nil
  end
  undo()
  if type(reply) == 'table' then
    reply = reply.err or 'ERR the topic of the changes has ended'
  end
  return redis.error_reply(reply)
end

-- Adds a node to a member.
local function join(who, node)
  local nodes = redis.call('HGET', members, who)
  if not nodes then
    redis.call('HSET', members, who, node)
    return publish(JOINED, who, function() redis.call('HDEL', members, who) end)
  end
  if not string.find(' ' .. nodes .. ' ', ' ' .. node .. ' ', 1, true) then
    redis.call('HSET', members, who, nodes .. ' ' .. node)
  end
end

-- Removes nodes from a member. `nodes` are the member's nodes, and `gone` contains those to remove.
local function leave(who, nodes, gone)
  local rest = {}
  for node in string.gmatch(nodes, '%S+') do
    if not gone[node] then
      rest[#rest + 1] = node
    end
  end
  rest = table.concat(rest, ' ')
  if rest == '' then
    redis.call('HDEL', members, who)
    return publish(LEFT, who, function() redis.call('HSET', members, who, nodes) end)
  end
  if rest ~= nodes then
    redis.call('HSET', members, who, rest)
  end
end
