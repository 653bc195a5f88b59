--@include queue_put

-- Somebody waits for the answer to a query: say that there will be none. A sink that is full is not waited for,
-- the dead letters have it all the same.
local function tell_caller(id, service, reason, at)
  local t = task_get(id, 'kind', 'tags', 'request_id')
  if t[1] ~= 'query' then return end
  local tags = cjson.decode(t[2] or '{}')
  tags.requestId, tags.lastCode = t[3], '500'
  queue_put(service .. '/sink', '', cjson.encode(tags), reason, 0, at)
end

-- A task that its instance could not finish goes back to the head of its queue, or, when its deliveries are
-- used up, to the dead letters. A task that somebody asked to stop, or whose service is no more, is cancelled instead.
-- `counted` = '0' when the delivery was not the task's fault (a drain, a claim that never happened).
local function give_back(id, reason, counted, limit, at)
  local t = task_get(id, 'state', 'service', 'instance', 'cancel', 'deliveries')
  if t[1] ~= 'assigned' and t[1] ~= 'running' then return t[1] end
  if t[4] and t[4] ~= '' then
    close_task(id, 'cancelled', 'stopped on request; ' .. reason, at)
    return 'cancelled'
  end
  if redis.call('EXISTS', P.service .. t[2]) == 0 then
    close_task(id, 'cancelled', 'its service was removed; ' .. reason, at)
    return 'cancelled'
  end
  local deliveries = tonumber(t[5] or '0')
  if counted == '1' then
    deliveries = redis.call('HINCRBY', P.task .. id, 'deliveries', 1)
  end
  if counted == '1' and tonumber(limit) > 0 and deliveries >= tonumber(limit) then
    local times = deliveries == 1 and '1 attempt' or deliveries .. ' attempts'
    close_task(id, 'dead', 'given up after ' .. times .. ': ' .. reason, at)
    tell_caller(id, t[2], reason, at)
    redis.call('LPUSH', P.dead .. t[2], id)
    redis.call('LTRIM', P.dead .. t[2], 0, 9999)
    return 'dead'
  end
  close_attempt(id, 'returned', reason, at)
  redis.call('HSET', P.task .. id, 'state', 'waiting', 'reason', reason, 'instance', '', 'phase', '',
    'last_instance', t[3] or '')
  release(id, t[3], at)
  redis.call('SREM', P.active .. t[2], id)
  redis.call('LPUSH', P.rq_queue .. t[2], id)
  publish('task', id, t[2])
  return 'waiting'
end
