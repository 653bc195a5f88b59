-- Put one item into a stream queue.
-- ARGV: queue, request id or '', tags, data, priority. Answers ('ok' | 'known', index) or (why not, limit).
--@include queue_put
local index, why, limit = queue_put(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
if not index then return { why, limit or 0 } end
return { why or 'ok', index }
