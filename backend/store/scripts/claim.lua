-- The instance that a task was assigned to starts it: the attempt number rises and fences all others off.
-- ARGV: task, instance. Answers the attempt number, or 0 when the task is not this instance's to run.
--@include base
local id, instance = ARGV[1], ARGV[2]
local t = task_get(id, 'state', 'instance', 'service', 'cancel', 'attempts', 'assigned_at', 'created_at')
if t[1] ~= 'assigned' or t[2] ~= instance then return 0 end
local at = now()
if t[4] and t[4] ~= '' then
  close_task(id, 'cancelled', 'stopped on request before it started', at)
  return 0
end
local attempt = redis.call('HINCRBY', P.task .. id, 'attempt', 1)
local attempts = cjson.decode(t[5] or '[]')
attempts[#attempts + 1] = { number = attempt, instance = instance, started_at = tonumber(at) }
redis.call('HSET', P.task .. id, 'state', 'running', 'started_at', at, 'attempts', cjson.encode(attempts))
redis.call('HDEL', P.task .. id, 'exit_code', 'failure')
observe(t[3], 'claim', tonumber(at) - tonumber(t[6]))
if attempt == 1 then observe(t[3], 'wait', tonumber(at) - tonumber(t[7])) end
publish('task', id, t[3])
return attempt
