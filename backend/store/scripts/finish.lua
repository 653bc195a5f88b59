-- End an attempt with its outcome, and say so in the sink, at once and only once.
-- ARGV: task, attempt, instance, state, reason, exit code or '', output, sink queue or ''
--@include base
--@include queue_put
local id, attempt, instance, state, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not owns(id, attempt, instance) then return 'stale' end
local at = now()
if ARGV[8] ~= '' then
  local t = task_get(id, 'tags', 'request_id')
  local tags = cjson.decode(t[1] or '{}')
  local status = { succeeded = 'Succeeded', failed = 'Failed', cancelled = 'Terminated' }
  tags.requestId = t[2]
  tags['job.status'] = status[state]
  tags['job.exitCode'] = ARGV[6]
  local index, why = queue_put(ARGV[8], '', cjson.encode(tags), reason, 0, at)
  if not index then return 'sink ' .. (why or 'full') end
end
redis.call('HSET', P.task .. id, 'exit_code', ARGV[6], 'output', ARGV[7])
close_task(id, state, reason, at)
redis.call('HINCRBY', P.instance .. instance, 'completed', 1)
return 'ok'
