-- Renews the lease of a node, and applies the changes to its members.
-- ARGV[12]..: the node, the number of this update, the number of the last update that was confirmed,
--   the duration of the lease in ms, '1' to remove the lease afterwards, and then each member that
--   has changed, followed by '1' if it has joined or '0' if it has left
-- Returns {'valid', other nodes whose leases have expired...} or {'lost'}.

local node, number, confirmed = ARGV[12], tonumber(ARGV[13]), tonumber(ARGV[14])
local nodes, failed = read_nodes()
if failed then
  return failed
end
-- If the lease's number is too small, the lease has been removed, or the server has lost updates that
-- it had confirmed, for example in a failover. If the number is too large, this update was delayed,
-- and the server has already received a newer one.
local lease = nodes[node] or {number = 0}
if lease.expiry == 0 or lease.number < confirmed or lease.number >= number then
  return {'lost'}
end
local time = now_in_ms()
nodes[node] = {expiry = time + tonumber(ARGV[15]), number = number}
-- A server that is out of memory can reject only a script's first write, so it rejects this one.
write_nodes(nodes)
for at = 17, #ARGV, 2 do
  local who = ARGV[at]
  if ARGV[at + 1] == '1' then
    failed = join(who, node)
  else
    local present = redis.call('HGET', members, who)
    failed = present and leave(who, present, {[node] = true})
  end
  if failed then
    return failed
  end
end
if ARGV[16] == '1' then
  nodes[node] = nil
  write_nodes(nodes)
end
local reply = {'valid'}
for other, lease in pairs(nodes) do
  if lease.expiry <= time then
    reply[#reply + 1] = other
  end
end
return reply
