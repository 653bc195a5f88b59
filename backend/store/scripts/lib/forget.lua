-- Forget a task that has ended: its record, log, curve and files' records, and that its request id was known. Needs base.
local function forget_task(id)
  local t = task_get(id, 'service', 'request_id')
  if t[1] then
    redis.call('ZREM', P.tasks .. t[1], id)
    redis.call('LREM', P.dead .. t[1], 0, id)
    if redis.call('HGET', P.requests .. t[1], t[2]) == id then redis.call('HDEL', P.requests .. t[1], t[2]) end
  end
  redis.call('UNLINK', P.task .. id, P.log .. id, P.scalars .. id, P.files .. id, P.rq_job .. id, P.rq_results .. id)
  redis.call('ZREM', P.finished, id)
end
