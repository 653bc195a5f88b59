-- Take out at most so many of the items below an index. ARGV: queue, index, most. Answers how many it took.
--@include queue_base
local order, limit, most = P.queue_order .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local high = redis.call('ZRANGEBYSCORE', order, '-inf', '(' .. queue_number(limit - QUEUE_HIGH), 'LIMIT', 0, most)
local normal = redis.call('ZRANGEBYSCORE', order, 0, '(' .. queue_number(limit), 'LIMIT', 0, most - #high)
for _, found in ipairs({ high, normal }) do
  for _, index in ipairs(found) do queue_remove(ARGV[1], index) end
end
return #high + #normal
