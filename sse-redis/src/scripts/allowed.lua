-- Calls each command that the other scripts use, without leaving any changes.
-- KEYS: a key that is not used for anything else
-- ARGV: a channel that is not used for anything else
-- Returns {command, message} for the first command that the user is not allowed to call, or {}.

local key = KEYS[1]
local commands = {
  {'TIME'},
  {'XREVRANGE', key, '+', '-', 'COUNT', 1},
  {'XRANGE', key, '-', '+', 'COUNT', 1},
  {'XLEN', key},
  {'XADD', key, 'NOMKSTREAM', '1-1', 'k', ''},
  {'XTRIM', key, 'MAXLEN', '=', 1},
  {'HSET', key, 'k', ''},
  {'HGET', key, 'k'},
  {'HMGET', key, 'k'},
  {'HKEYS', key},
  {'HLEN', key},
  {'HSCAN', key, '0'},
  {'HDEL', key, 'field'},
  {'RENAME', key, key},
  {'PTTL', key},
  {'PEXPIRE', key, 1000},
  {'PERSIST', key},
  {'DEL', key},
  {'ZADD', key, 1, 'k'},
  {'ZSCORE', key, 'k'},
  {'ZRANGEBYSCORE', key, '-inf', '+inf'},
  {'ZREM', key, 'k'},
  {'PUBLISH', ARGV[1], '1.'},
}
for _, command in ipairs(commands) do
  local reply = redis.pcall(unpack(command))
  local message = type(reply) == 'table' and reply.err
  if message and (string.find(message, 'NOPERM', 1, true)
    or string.find(message, 'ACL failure', 1, true)
    or string.find(message, "can't run this command", 1, true)
    or string.find(message, "can't access", 1, true)) then
    return {command[1], message}
  end
end
return {}
