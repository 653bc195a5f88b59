-- Ask a task to end: at once when it waits, through its instance when it runs.
-- ARGV: task, how (stop|save), who. Answers the state after this.
--@include base
local id, how, who = ARGV[1], ARGV[2], ARGV[3]
local t = task_get(id, 'state', 'service', 'instance')
if not t[1] then return false end
local at = now()
local by = who ~= '' and (' by ' .. who) or ''
if t[1] == 'waiting' then
  close_task(id, 'cancelled', 'cancelled' .. by .. ' before it started', at)
  return 'cancelled'
end
if t[1] == 'assigned' and redis.call('LREM', P.rq_queue .. 'instance-' .. t[3], 0, id) > 0 then
  close_task(id, 'cancelled', 'cancelled' .. by .. ' before it started', at)
  return 'cancelled'
end
if t[1] == 'assigned' or t[1] == 'running' then
  redis.call('HSET', P.task .. id, 'cancel', how, 'cancelled_by', who)
  publish('task', id, t[2])
  wake(t[3])
end
return t[1]
