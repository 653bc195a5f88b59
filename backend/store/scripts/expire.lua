-- Forget tasks that ended long ago: records, logs and curves. What they wrote into their job folders stays.
-- ARGV: seconds for which one is kept, most at once. Answers how many were forgotten.
--@include base
local old = redis.call('ZRANGEBYSCORE', P.finished, '-inf', tonumber(now()) - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[2])
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
