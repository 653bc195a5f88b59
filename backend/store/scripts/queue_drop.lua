-- Remove a queue with everything it holds. ARGV: queue
--@include queue_base
local queue = ARGV[1]
for _, group in ipairs(queue_groups(queue)) do
  local part = queue_part(queue, group)
  for _, kind in ipairs({ 'queue_todo', 'queue_pending', 'queue_owner', 'queue_tries', 'queue_group' }) do
    redis.call('UNLINK', P[kind] .. part)
  end
end
local consumers = redis.call('HGETALL', P.queue_consumers .. queue)
for i = 1, #consumers, 2 do
  redis.call('UNLINK', P.queue_consumer .. consumers[i], P.queue_held .. consumers[i])
  local who = cjson.decode(consumers[i + 1])
  queue_signal({ queue = queue, group = who[1], consumer = who[2] })
end
for _, pair in ipairs(redis.call('SMEMBERS', P.queue_wanted .. queue)) do
  queue_signal({ queue = queue, pair = pair })
end
for _, kind in ipairs({ 'queue', 'queue_order', 'queue_items', 'queue_tag_index', 'queue_seen', 'queue_wanted',
  'queue_hosts', 'queue_consumers' }) do
  redis.call('UNLINK', P[kind] .. queue)
end
return 1
