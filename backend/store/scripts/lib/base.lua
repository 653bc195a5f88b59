-- What every task script needs: the store's clock, the event channel, a task's fields.
--@include measures

local JOB_KEPT = 86400 -- seconds for which RQ's record of a task that has ended is kept

local function now()
  local t = redis.call('TIME')
  return string.format('%d.%06d', t[1], t[2])
end

local function publish(kind, id, service)
  redis.call('PUBLISH', P.events, cjson.encode({ kind = kind, id = id, service = service, at = now() }))
end

-- Make an instance renew its lease now, and so hear what is wanted of it.
local function wake(instance)
  redis.call('PUBLISH', P.control .. instance, '')
end

local function task_get(id, ...)
  return redis.call('HMGET', P.task .. id, ...)
end

-- Whether (attempt, instance) is who the task belongs to right now: the fencing token.
local function owns(id, attempt, instance)
  local t = task_get(id, 'state', 'attempt', 'instance')
  return t[1] == 'running' and t[2] == attempt and t[3] == instance
end

local function one_of(value, list)
  for word in string.gmatch(list, '[^,]+') do
    if word == value then return true end
  end
  return false
end

-- Close the record of the current attempt. `attempts` is a JSON list kept in the task.
local function close_attempt(id, outcome, reason, at)
  local attempts = cjson.decode(redis.call('HGET', P.task .. id, 'attempts') or '[]')
  if #attempts > 0 and attempts[#attempts].ended_at == nil then
    attempts[#attempts].ended_at = tonumber(at)
    attempts[#attempts].outcome = outcome
    attempts[#attempts].reason = reason
    redis.call('HSET', P.task .. id, 'attempts', cjson.encode(attempts))
    local t = task_get(id, 'service', 'user', 'kind', 'instance')
    local slots = t[3] == 'query' and tonumber(redis.call('HGET', P.instance .. t[4], 'slots') or '1') or 1
    spend(t[1], 'run', t[2], (tonumber(at) - attempts[#attempts].started_at) / slots)
    count(t[1], outcome)
  end
end

-- Take a task from the instance that holds it; the instance is idle again when it holds nothing.
local function release(id, instance, at)
  if instance == nil or instance == false or instance == '' then return end
  redis.call('SREM', P.held .. instance, id)
  redis.call('LREM', P.rq_queue .. 'instance-' .. instance, 0, id)
  if redis.call('SCARD', P.held .. instance) == 0 and redis.call('HGET', P.instance .. instance, 'state') == 'busy' then
    redis.call('HSET', P.instance .. instance, 'state', 'idle', 'idle_since', at)
  end
  publish('instance', instance, redis.call('HGET', P.instance .. instance, 'service') or '')
end

-- Enter a final state. Nothing leaves it again: callers have checked that the state before allows it.
local function close_task(id, state, reason, at)
  local t = task_get(id, 'service', 'instance', 'state')
  redis.call('HSET', P.task .. id, 'state', state, 'reason', reason, 'finished_at', at, 'phase', '')
  close_attempt(id, state, reason, at)
  release(id, t[2], at)
  redis.call('SREM', P.active .. t[1], id)
  if t[3] == 'waiting' then
    -- Looked for only where it can be: the queue may be long.
    redis.call('LREM', P.rq_queue .. t[1], 1, id)
    redis.call('HDEL', P.plan .. t[1], id)
  end
  redis.call('ZADD', P.finished, at, id)
  redis.call('EXPIRE', P.rq_job .. id, JOB_KEPT)
  publish('task', id, t[1])
end
