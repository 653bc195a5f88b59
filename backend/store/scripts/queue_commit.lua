-- Items are consumed by this group, whether or not they had been delivered. ARGV: queue, group, index *
--@include queue_groups
local queue, group, n = ARGV[1], ARGV[2], 0
local at = queue_now()
for i = 3, #ARGV do
  local consumer = redis.call('HGET', P.queue_owner .. queue_part(queue, group), ARGV[i])
  if consumer then
    redis.call('HSET', P.queue_consumer .. queue_part(queue, group, consumer), 'active_at', at)
  end
  if queue_consume(queue, group, ARGV[i]) then n = n + 1 end
end
return n
