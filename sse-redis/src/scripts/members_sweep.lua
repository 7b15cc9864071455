-- Removes nodes whose leases have expired from some of the members.
-- ARGV[12]..: the cursor, or '' to begin, the number of members to check, and then the nodes
-- Returns {cursor, nodes...}, or {} if the nodes have been removed from all members.

local cursor = ARGV[12]
local nodes, failed = read_nodes()
if failed then
  return failed
end
local gone, reply = {}, {}
local time = now_in_ms()
for at = 14, #ARGV do
  local node = ARGV[at]
  local lease = nodes[node]
  -- Skip nodes that have renewed their leases in the meantime. The expiry of the others is set to 0,
  -- so that they cannot renew their leases during the sweep and need new ids.
  if lease and lease.expiry <= time then
    lease.expiry = 0
    gone[node] = true
    reply[#reply + 1] = node
  end
end
if #reply == 0 then
  return {}
end
write_nodes(nodes)
local page = redis.call('HSCAN', members, cursor == '' and '0' or cursor, 'COUNT', ARGV[13])
for at = 1, #page[2], 2 do
  local who, present = page[2][at], page[2][at + 1]
  failed = who ~= 'nodes' and leave(who, present, gone)
  if failed then
    return failed
  end
end
if page[1] == '0' then
  for node in pairs(gone) do
    nodes[node] = nil
  end
  write_nodes(nodes)
  return {}
end
table.insert(reply, 1, page[1])
return reply
