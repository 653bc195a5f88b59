-- Give a connected consumer what it may have now, after committing what it was sent (auto commit).
-- ARGV: queue, group, consumer, session, gateway, lease ms, most items, most bytes, wanted pair, sent index *
-- Answers (state) or ('ok', page): 'ok', 'full' (no room in its window), 'empty', 'ended' or 'lost'.
--@include queue_find
local queue, group, consumer, session = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local part, group_part = queue_part(queue, group, consumer), queue_part(queue, group)
local record, held = P.queue_consumer .. part, P.queue_held .. part
local c = redis.call('HMGET', record, 'session', 'window', 'auto', 'index_only', 'tags', 'start')
if c[1] ~= session then return { 'lost' } end
queue_consume(queue, group, queue_rest(10))
queue_reap_if_needed(queue, ARGV[5], ARGV[6])

local at = queue_now()
local todo, pending, owner = P.queue_todo .. group_part, P.queue_pending .. group_part, P.queue_owner .. group_part
local q = redis.call('HMGET', P.queue .. queue, 'max_idle', 'ended')
local idle, too_slow = tonumber(q[1] or '0'), {}
if idle > 0 then
  for _, index in ipairs(redis.call('ZRANGEBYSCORE', pending, '-inf', tonumber(at) - idle, 'LIMIT', 0, 64)) do
    -- Others come first to what this one was too slow for.
    too_slow[index] = redis.call('HGET', owner, index) == consumer
    queue_return(queue, group, index, true, '', 'not committed within max_idle')
  end
end

local most = tonumber(ARGV[7])
if c[3] ~= '1' then most = math.min(most, tonumber(c[2]) - redis.call('SCARD', held)) end
if most <= 0 then
  redis.call('HSET', record, 'full', '1')
  return { 'full' }
end
local page, limit = {}, tonumber(ARGV[8])
local found, owned, since = {}, {}, {}
queue_find(queue, todo, tonumber(c[6]), cjson.decode(c[5]), function(index)
  if too_slow[index] then return false end
  if not queue_add(queue, index, page, limit, c[4] ~= '1') then return true end
  found[#found + 1] = index
  owned[#owned + 1], owned[#owned + 2] = index, consumer
  since[#since + 1], since[#since + 2] = at, index
  return #found >= most
end, most)
if #found > 0 then
  redis.call('ZREM', todo, unpack(found))
  redis.call('HSET', owner, unpack(owned))
  redis.call('SADD', held, unpack(found))
  if idle > 0 then redis.call('ZADD', pending, unpack(since)) end
  redis.call('HSET', record, 'active_at', at, 'index', found[#found])
  return { 'ok', queue_page(page) }
end
if q[2] == '1' and redis.call('HLEN', owner) == 0 then return { 'ended' } end
queue_want(queue, ARGV[9])
return { 'empty' }
