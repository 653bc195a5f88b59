-- Remove a service: nothing can be put any more, what waits is cancelled, what runs is asked to stop.
-- ARGV: service
--@include base
local service, at = ARGV[1], now()
redis.call('SREM', P.services, service)
redis.call('DEL', P.service .. service)
for _, id in ipairs(redis.call('LRANGE', P.rq_queue .. service, 0, -1)) do
  close_task(id, 'cancelled', 'its service was removed', at)
end
for _, id in ipairs(redis.call('SMEMBERS', P.active .. service)) do
  redis.call('HSET', P.task .. id, 'cancel', 'stop', 'cancelled_by', 'the removal of the service')
  publish('task', id, service)
  wake(task_get(id, 'instance')[1])
end
redis.call('UNLINK', P.plan .. service, P.pool .. service, P.journal .. service, P.history .. service, P.measures .. service,
  P.spent .. service, P.rq_queue .. service)
redis.call('SREM', P.rq_queues, P.rq_queue .. service)
publish('service', service, service)
return 1
