-- How many items there are. ARGV: queue, priority (0|1) or '', tags
--@include queue_find
local order, wanted = P.queue_order .. ARGV[1], cjson.decode(ARGV[3])
if not next(wanted) then
  if ARGV[2] == '' then return redis.call('ZCARD', order) end
  if ARGV[2] == '0' then return redis.call('ZCOUNT', order, 0, '+inf') end
  return redis.call('ZCOUNT', order, '-inf', '(0')
end
local n = 0
queue_find(ARGV[1], order, 0, wanted, function(index)
  local high = tonumber(redis.call('ZSCORE', order, index)) < 0
  if ARGV[2] == '' or (ARGV[2] ~= '0') == high then n = n + 1 end
  return false
end)
return n
