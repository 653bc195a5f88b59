-- What users have and use, over all services. Needs base.

-- Tasks that a user has been given an instance for, tasks that wait (counted only `with_queued`: that takes a look
-- at each), seconds of instances since midnight, those of what runs with them; and the tasks that run in `service`.
local function load_of(user, with_queued, wanted)
  local at = tonumber(now())
  local midnight = math.floor(at / 86400) * 86400
  local running, queued, here = 0, 0, 0
  local seconds = tonumber(redis.call('HGET', P.used .. math.floor(at / 86400), user) or '0')
  for _, service in ipairs(redis.call('SMEMBERS', P.services)) do
    for _, id in ipairs(redis.call('SMEMBERS', P.active .. service)) do
      local t = task_get(id, 'user', 'started_at', 'state', 'kind', 'instance')
      if t[1] == user then
        running = running + 1
        if service == wanted then here = here + 1 end
        if t[3] == 'running' then
          local slots = t[4] == 'query' and tonumber(redis.call('HGET', P.instance .. t[5], 'slots') or '1') or 1
          seconds = seconds + math.max(0, at - math.max(midnight, tonumber(t[2]))) / slots
        end
      end
    end
    if with_queued then
      for _, id in ipairs(redis.call('LRANGE', P.rq_queue .. service, 0, -1)) do
        if redis.call('HGET', P.task .. id, 'user') == user then queued = queued + 1 end
      end
    end
  end
  return running, queued, seconds, here
end
