-- Store a task and queue it, once per request id.
-- ARGV: service, id, request id, capacity, n, (field, value) * n, (field, value) * of the RQ job
--@include base
--@include usage
local service, id, request, capacity, n = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('EXISTS', P.service .. service) == 0 then return { 'missing' } end
local known = redis.call('HGET', P.requests .. service, request)
if known then
  return { 'known', redis.call('HGET', P.task .. known, 'index'), known }
end
if redis.call('EXISTS', P.task .. id) == 1 then return { 'taken' } end
local waiting = redis.call('LLEN', P.rq_queue .. service)
if capacity > 0 and waiting >= capacity then return { 'full', waiting } end
local user = ''
for i = 6, 5 + 2 * n, 2 do
  if ARGV[i] == 'user' then user = ARGV[i + 1] end
end
local record = user ~= '' and redis.call('HGET', P.users, user)
if record then
  local limits = cjson.decode(record).limits
  if limits.queued ~= cjson.null or limits.gpu_seconds ~= cjson.null then
    local _, queued, seconds = load_of(user, limits.queued ~= cjson.null)
    if limits.queued ~= cjson.null and queued >= limits.queued then return { 'queued', queued, limits.queued } end
    if limits.gpu_seconds ~= cjson.null and seconds >= limits.gpu_seconds then
      return { 'spent', math.floor(seconds), math.floor(limits.gpu_seconds) }
    end
  end
end
local at = now()
local index = redis.call('HINCRBY', P.service .. service, 'last_index', 1)
if index == 1 then
  -- A service of this name may have been removed; what it ran is still known, so the numbers go on.
  local newest = redis.call('ZREVRANGE', P.tasks .. service, 0, 0, 'WITHSCORES')
  if newest[2] then
    index = tonumber(newest[2]) + 1
    redis.call('HSET', P.service .. service, 'last_index', index)
  end
end
local task = { 'index', index, 'state', 'waiting', 'created_at', at, 'attempt', '0', 'deliveries', '0' }
for i = 6, 5 + 2 * n do task[#task + 1] = ARGV[i] end
redis.call('HSET', P.task .. id, unpack(task))
local job = { 'origin', service, 'status', 'queued' }
for i = 6 + 2 * n, #ARGV do job[#job + 1] = ARGV[i] end
redis.call('HSET', P.rq_job .. id, unpack(job))
if user ~= '' then redis.call('HSETNX', P.owners, 'jobs/' .. id, user) end
redis.call('HSET', P.requests .. service, request, id)
redis.call('ZADD', P.tasks .. service, index, id)
redis.call('SADD', P.rq_queues, P.rq_queue .. service)
redis.call('RPUSH', P.rq_queue .. service, id)
publish('task', id, service)
return { 'ok', index, id }
