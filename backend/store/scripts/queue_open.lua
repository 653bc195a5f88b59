-- A consumer connects, or takes over from its own older connection.
-- ARGV: queue, group, consumer, session, gateway, lease ms, window, auto commit (1|0), index only (1|0), tags,
--       start index, take over (1|0). Answers 'ok', 'taken', or 'ended'.
--@include queue_groups
local queue, group, consumer, session, gateway = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local at = queue_now()
redis.call('SET', P.gateway .. gateway, '1', 'PX', ARGV[6])
redis.call('SADD', P.queue_hosts .. queue, gateway)
queue_reap(queue, at)
local q = redis.call('HMGET', P.queue .. queue, 'ended', 'last')
if q[1] == '1' and redis.call('ZCARD', P.queue_order .. queue) == 0 then return 'ended' end
local part = queue_part(queue, group, consumer)
local record = P.queue_consumer .. part
local old = redis.call('HMGET', record, 'session', 'start', 'tags')
if old[1] and old[1] ~= '' and old[1] ~= session then
  if ARGV[12] == '0' then return 'taken' end
  queue_release(queue, group, consumer, true, 'its connection was replaced', at)
end
queue_add_group(queue, group)
local start = ARGV[11]
if start == '-1' then
  -- A client that reconnects asks for "only new" again: what came while it was away is new to it.
  start = old[3] == ARGV[10] and old[2] or queue_number(tonumber(q[2] or '0') + 1)
end
redis.call('HSET', P.queue_consumers .. queue, part, cjson.encode({ group, consumer }))
redis.call('HSET', record, 'session', session, 'gateway', gateway, 'window', ARGV[7], 'auto', ARGV[8],
  'index_only', ARGV[9], 'tags', ARGV[10], 'start', start, 'left_at', '', 'active_at', at, 'full', '0')
redis.call('SET', P.queue_group .. queue_part(queue, group), at)
queue_signal({ queue = queue, group = group, consumer = consumer })
return 'ok'
