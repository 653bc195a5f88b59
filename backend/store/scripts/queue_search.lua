-- Where an item is: () when it is not in the queue, else (pending 1|0, consumer or '', items ahead).
-- Its own group is asked first, then every other: an item that anybody works on is pending. ARGV: queue, group, index
--@include queue_groups
local queue, group, index = ARGV[1], ARGV[2], ARGV[3]
if not redis.call('ZSCORE', P.queue_order .. queue, index) then return {} end
queue_reap_if_needed(queue)
local names = { group }
for _, name in ipairs(queue_groups(queue)) do names[#names + 1] = name end
for _, name in ipairs(names) do
  local consumer = redis.call('HGET', P.queue_owner .. queue_part(queue, name), index)
  if consumer then return { 1, name .. '.' .. consumer, 0 } end
end
local ahead = redis.call('ZRANK', P.queue_todo .. queue_part(queue, group), index)
if not ahead then ahead = redis.call('ZRANK', P.queue_order .. queue, index) end
return { 0, '', ahead or 0 }
