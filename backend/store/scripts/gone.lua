-- An instance is no more: what it held goes back to its queue, RQ forgets its worker and queue.
-- ARGV: instance, reason, counted (1|0), most deliveries, how many past instances are kept
--@include base
--@include give_back
local instance, reason = ARGV[1], ARGV[2]
local i = redis.call('HMGET', P.instance .. instance, 'state', 'service', 'idle_since', 'last_user', 'created_at', 'ready_at')
if not i[1] or i[1] == 'gone' then return {} end
local at = now()
if not i[4] then spend(i[2], 'boot', '', tonumber(i[6] or at) - tonumber(i[5])) end
if i[3] and i[3] ~= '' then spend(i[2], 'idle', i[4] or '', tonumber(at) - tonumber(i[3])) end
redis.call('HSET', P.instance .. instance, 'idle_since', '', 'state', 'gone', 'reason', reason, 'ended_at', at)
local back = {}
for _, id in ipairs(redis.call('SMEMBERS', P.held .. instance)) do
  local counted = ARGV[3]
  if task_get(id, 'state')[1] == 'assigned' then counted = '0' end
  back[#back + 1] = id
  back[#back + 1] = give_back(id, reason, counted, ARGV[4], at) or ''
end
local queue = 'instance-' .. instance
for _, worker in ipairs(redis.call('SMEMBERS', P.rq_workers .. ':' .. queue)) do
  redis.call('DEL', worker)
  redis.call('SREM', P.rq_workers, worker)
end
redis.call('DEL', P.held .. instance, P.lease .. instance, P.rq_queue .. queue, P.rq_queue .. queue .. ':intermediate',
  P.rq_wip .. queue, P.rq_finished .. queue, P.rq_failed .. queue, P.rq_workers .. ':' .. queue)
redis.call('SREM', P.rq_queues, P.rq_queue .. queue)
redis.call('SREM', P.instances, instance)
redis.call('LPUSH', P.past, instance)
for _, old in ipairs(redis.call('LRANGE', P.past, tonumber(ARGV[5]), -1)) do
  redis.call('DEL', P.instance .. old)
end
redis.call('LTRIM', P.past, 0, tonumber(ARGV[5]) - 1)
publish('instance', instance, i[2])
wake(instance)
return back
