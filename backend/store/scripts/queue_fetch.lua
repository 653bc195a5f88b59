-- Give a connected consumer what it may have now, after committing what it was sent (auto commit).
-- ARGV: queue, group, consumer, session, gateway, lease ms, most items, most bytes, wanted pair, sent index *
-- Answers (state, (index, tags, data) *): 'ok', 'full' (no room in its window), 'empty', 'ended' or 'lost'.
--@include queue_find
local queue, group, consumer, session = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call('SET', P.gateway .. ARGV[5], '1', 'PX', ARGV[6])
local part = queue_part(queue, group, consumer)
local c = redis.call('HMGET', P.queue_consumer .. part, 'session', 'window', 'auto', 'index_only', 'tags', 'start')
if c[1] ~= session then return { 'lost' } end
local at = queue_now()
for i = 10, #ARGV do queue_consume(queue, group, ARGV[i]) end
queue_reap_if_needed(queue, at)

local group_part = queue_part(queue, group)
local todo, pending, owner = P.queue_todo .. group_part, P.queue_pending .. group_part, P.queue_owner .. group_part
local q = redis.call('HMGET', P.queue .. queue, 'max_idle', 'ended')
local idle, too_slow = tonumber(q[1] or '0'), {}
if idle > 0 then
  for _, index in ipairs(redis.call('ZRANGEBYSCORE', pending, '-inf', tonumber(at) - idle, 'LIMIT', 0, 64)) do
    -- Others come first to what this one was too slow for.
    too_slow[index] = redis.call('HGET', owner, index) == consumer
    queue_return(queue, group, index, true, '', 'not committed within max_idle', at)
  end
end

local most = tonumber(ARGV[7])
if c[3] ~= '1' then most = math.min(most, tonumber(c[2]) - redis.call('SCARD', P.queue_held .. part)) end
if most <= 0 then
  redis.call('HSET', P.queue_consumer .. part, 'full', '1')
  return { 'full' }
end
local answer, bytes, limit = { 'ok' }, 0, tonumber(ARGV[8])
local found = {}
queue_find(queue, todo, tonumber(c[6]), cjson.decode(c[5]), function(index, tags)
  if too_slow[index] then return false end
  local data = c[4] == '1' and '' or (redis.call('HGET', P.queue_data .. queue, index) or '')
  bytes = bytes + #data + #tags
  if #found > 0 and bytes > limit then return true end
  found[#found + 1] = index
  answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = index, tags, data
  return #found >= most
end)
for _, index in ipairs(found) do
  redis.call('ZREM', todo, index)
  redis.call('ZADD', pending, at, index)
  redis.call('HSET', owner, index, consumer)
  redis.call('SADD', P.queue_held .. part, index)
end
if #found > 0 then
  redis.call('HSET', P.queue_consumer .. part, 'active_at', at, 'index', found[#found])
  return answer
end
if q[2] == '1' and redis.call('ZCARD', pending) == 0 then return { 'ended' } end
queue_want(queue, ARGV[9])
return { 'empty' }
