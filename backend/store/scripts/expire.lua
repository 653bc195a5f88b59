-- Forget tasks that ended long ago: records, logs and curves. What they wrote into their job folders stays.
-- ARGV: seconds for which one is kept (0: any), most at once, most that are kept (0: any number).
-- Answers how many were forgotten.
--@include base
local keep, most, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local old = {}
if keep > 0 then
  old = redis.call('ZRANGEBYSCORE', P.finished, '-inf', tonumber(now()) - keep, 'LIMIT', 0, most)
end
local over = kept > 0 and math.min(most, redis.call('ZCARD', P.finished) - kept) or 0
if over > #old then old = redis.call('ZRANGE', P.finished, 0, over - 1) end
for _, id in ipairs(old) do
  local t = task_get(id, 'service', 'request_id')
  if t[1] then
    redis.call('ZREM', P.tasks .. t[1], id)
    redis.call('LREM', P.dead .. t[1], 0, id)
    if redis.call('HGET', P.requests .. t[1], t[2]) == id then redis.call('HDEL', P.requests .. t[1], t[2]) end
  end
  redis.call('UNLINK', P.task .. id, P.log .. id, P.scalars .. id, P.files .. id, P.rq_job .. id, 'rq:results:' .. id)
  redis.call('ZREM', P.finished, id)
end
return #old
