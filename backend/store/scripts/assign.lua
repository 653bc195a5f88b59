-- Move a waiting task to the queue of an instance that has room and a lease; answers why not otherwise.
-- ARGV: task, instance, most tasks it may hold after this, (field, value) * of the RQ job
--@include base
local id, instance, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local t = task_get(id, 'state', 'service')
if t[1] ~= 'waiting' then return 'task ' .. (t[1] or 'missing') end
local i = redis.call('HMGET', P.instance .. instance, 'state', 'service', 'idle_since', 'last_user', 'created_at', 'ready_at')
if (i[1] ~= 'idle' and i[1] ~= 'busy') or i[2] ~= t[2] then return 'instance ' .. (i[1] or 'missing') end
if redis.call('EXISTS', P.lease .. instance) == 0 then return 'lease over' end
if redis.call('SCARD', P.held .. instance) >= most then return 'no room' end
if redis.call('LREM', P.rq_queue .. t[2], 1, id) == 0 then return 'not queued' end
local at = now()
local queue = 'instance-' .. instance
redis.call('HSET', P.task .. id, 'state', 'assigned', 'instance', instance, 'assigned_at', at, 'reason', '')
redis.call('SADD', P.active .. t[2], id)
redis.call('HDEL', P.plan .. t[2], id)
redis.call('SADD', P.held .. instance, id)
if i[3] and i[3] ~= '' then
  -- The boot was for the first who has the instance, the time without work for the one who had it last.
  local user = task_get(id, 'user')[1]
  if not i[4] and i[6] then spend(t[2], 'boot', user, tonumber(i[6]) - tonumber(i[5])) end
  spend(t[2], 'idle', i[4] or user, tonumber(at) - tonumber(i[3]))
  redis.call('HSET', P.instance .. instance, 'last_user', user or '')
end
redis.call('HSET', P.instance .. instance, 'state', 'busy', 'idle_since', '')
-- Written anew: an earlier attempt's worker may have closed the job in RQ's books, and they expire.
local job = { 'origin', queue, 'status', 'queued' }
for i = 4, #ARGV do job[#job + 1] = ARGV[i] end
redis.call('DEL', P.rq_job .. id)
redis.call('HSET', P.rq_job .. id, unpack(job))
redis.call('SADD', P.rq_queues, P.rq_queue .. queue)
redis.call('RPUSH', P.rq_queue .. queue, id)
publish('task', id, t[2])
publish('instance', instance, t[2])
return 'ok'
