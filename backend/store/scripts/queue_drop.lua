-- Remove a queue with everything it holds. ARGV: queue
--@include queue_base
local queue = ARGV[1]
for _, group in ipairs(queue_groups(queue)) do
  local part = queue_part(queue, group)
  for _, kind in ipairs({ 'queue_todo', 'queue_pending', 'queue_owner', 'queue_tries', 'queue_group' }) do
    redis.call('UNLINK', P[kind] .. part)
  end
end
for _, part in ipairs(redis.call('HKEYS', P.queue_consumers .. queue)) do
  redis.call('UNLINK', P.queue_consumer .. part, P.queue_held .. part)
end
for _, pair in ipairs(redis.call('SMEMBERS', P.queue_wanted .. queue)) do
  queue_signal({ queue = queue, pair = pair })
end
for _, kind in ipairs({ 'queue', 'queue_order', 'queue_items', 'queue_tag_index', 'queue_seen', 'queue_wanted',
  'queue_hosts', 'queue_consumers' }) do
  redis.call('UNLINK', P[kind] .. queue)
end
return 1
