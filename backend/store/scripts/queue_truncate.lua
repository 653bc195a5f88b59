-- Take out at most so many of the items below an index. ARGV: queue, index, most. Answers how many it took.
--@include queue_base
local order, limit, most = P.queue_order .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local below = redis.call('ZRANGEBYSCORE', order, '-inf', '(' .. queue_number(limit - QUEUE_HIGH), 'LIMIT', 0, most)
for _, index in ipairs(redis.call('ZRANGEBYSCORE', order, 0, '(' .. queue_number(limit), 'LIMIT', 0, most - #below)) do
  below[#below + 1] = index
end
return queue_remove(ARGV[1], below)
