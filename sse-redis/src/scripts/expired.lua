-- Returns up to 100 topics whose leases have expired.
-- KEYS: the leases
-- ARGV: the milliseconds until a new lease expires, the number of topics to skip

-- This command changes nothing, but fails if the server rejects all writes.
redis.call('ZADD', KEYS[1], 'XX', 0, '')
local now, ttl = now_in_ms(), tonumber(ARGV[1])
-- If the server's clock was set back, or if a server whose clock is slow has become the master, some
-- leases would expire much too late. Shorten these leases.
local far = redis.call('ZRANGEBYSCORE', KEYS[1], now + 10 * ttl, '+inf', 'LIMIT', 0, 100)
for _, topic in ipairs(far) do
  redis.call('ZADD', KEYS[1], now + ttl, topic)
end
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', ARGV[2], 100)
