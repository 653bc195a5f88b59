-- End an attempt with its outcome, and say so in the sink, at once and only once.
-- ARGV: task, attempt, instance, state, reason, exit code or '', output, sink queue or '',
--       (data of the item, (tag, value) *); without data the item tells how the task ended
--@include base
--@include queue_put
local id, attempt, instance, state, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not owns(id, attempt, instance) then return 'stale' end
local at = now()
if ARGV[8] ~= '' then
  local t = task_get(id, 'tags', 'request_id')
  local tags = cjson.decode(t[1] or '{}')
  tags.requestId = t[2]
  if ARGV[9] then
    for i = 10, #ARGV, 2 do tags[ARGV[i]] = ARGV[i + 1] end
  else
    local status = { succeeded = 'Succeeded', failed = 'Failed', cancelled = 'Terminated' }
    tags['job.status'] = status[state]
    tags['job.exitCode'] = ARGV[6]
  end
  local index, why = queue_put(ARGV[8], '', cjson.encode(tags), ARGV[9] or reason, 0, at)
  if not index then return why end
end
redis.call('HSET', P.task .. id, 'exit_code', ARGV[6], 'output', ARGV[7])
close_task(id, state, reason, at)
redis.call('HINCRBY', P.instance .. instance, 'completed', 1)
return 'ok'
