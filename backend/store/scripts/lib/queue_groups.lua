--@include queue_put
-- Consumer groups: giving back, consuming, and noticing who is gone.

local QUEUE_DEAD_KEPT = 10000
local QUEUE_GROUP_KEPT = 7 * 86400 -- seconds a group without consumers keeps its position
local QUEUE_CONSUMER_KEPT = 3600 -- seconds a consumer that left stays in the list
local QUEUE_CHUNK = 128

local function queue_now()
  local t = redis.call('TIME')
  return string.format('%d.%06d', t[1], t[2])
end

-- ARGV from a place on, as a list.
local function queue_rest(first)
  local list = {}
  for i = first, #ARGV do list[#list + 1] = ARGV[i] end
  return list
end

-- Those of the items that no group besides `group` still waits for or holds.
local function queue_unneeded(queue, group, indexes)
  local needed = {}
  for _, name in ipairs(queue_groups(queue)) do
    if name ~= group then
      local part = queue_part(queue, name)
      local todo = redis.call('ZMSCORE', P.queue_todo .. part, unpack(indexes))
      local owner = redis.call('HMGET', P.queue_owner .. part, unpack(indexes))
      for i, index in ipairs(indexes) do
        if todo[i] or owner[i] then needed[index] = true end
      end
    end
  end
  local free = {}
  for _, index in ipairs(indexes) do
    if not needed[index] then free[#free + 1] = index end
  end
  return free
end

-- This group is done with items: they disappear unless another group still needs them.
local function queue_consume(queue, group, indexes)
  if #indexes == 0 then return end
  local part = queue_part(queue, group)
  queue_unpend(queue, group, indexes)
  redis.call('ZREM', P.queue_todo .. part, unpack(indexes))
  redis.call('HDEL', P.queue_tries .. part, unpack(indexes))
  queue_remove(queue, queue_unneeded(queue, group, indexes), true)
end

-- Keep a copy of an item that was given up, in the queue `<service>/dead`.
local function queue_bury(queue, group, index, tries, code, reason)
  local tags = queue_tags_of(queue, index)
  tags['dead.queue'], tags['dead.group'], tags['dead.index'] = queue, group, index
  tags['dead.deliveries'], tags['dead.code'], tags['dead.reason'] = queue_number(tries), code, reason
  local dead = string.gsub(queue, '/sink$', '') .. '/dead'
  redis.call('HSET', P.queue .. dead, 'capacity', QUEUE_DEAD_KEPT, 'auto_evict', '1')
  queue_put(dead, '', cjson.encode(tags), redis.call('HGET', P.queue_items .. queue, 'd' .. index) or '', 0)
end

-- A delivered item goes back to where it stood in the group, or, its deliveries used up, to the dead letters.
local function queue_return(queue, group, index, counted, code, reason)
  if not queue_unpend(queue, group, { index })[index] then return 'not pending' end
  local part = queue_part(queue, group)
  local score = redis.call('ZSCORE', P.queue_order .. queue, index)
  if not score then return 'gone' end
  if counted then
    local tries = redis.call('HINCRBY', P.queue_tries .. part, index, 1)
    local most = tonumber(redis.call('HGET', P.queue .. queue, 'max_delivery') or '0')
    if most > 0 and tries >= most then
      queue_bury(queue, group, index, tries, code, reason)
      queue_consume(queue, group, { index })
      return 'dead'
    end
  end
  redis.call('ZADD', P.queue_todo .. part, score, index)
  queue_wake(queue, queue_tags_of(queue, index))
  return 'returned'
end

-- Everything a consumer held goes back; its record stays a while, so that people see it left.
local function queue_release(queue, group, consumer, counted, reason, at)
  local part = queue_part(queue, group, consumer)
  redis.call('HSET', P.queue_consumer .. part, 'session', '', 'left_at', at, 'full', '0')
  for _, index in ipairs(redis.call('SMEMBERS', P.queue_held .. part)) do
    queue_return(queue, group, index, counted, '', reason)
  end
end

local function queue_forget_consumer(queue, part)
  redis.call('HDEL', P.queue_consumers .. queue, part)
  redis.call('DEL', P.queue_consumer .. part, P.queue_held .. part)
end

-- Add a group: what is in the queue now waits for it. Nothing happens to one that exists.
local function queue_add_group(queue, group)
  local groups = queue_groups(queue)
  for _, name in ipairs(groups) do
    if name == group then return end
  end
  groups[#groups + 1] = group
  redis.call('HSET', P.queue .. queue, 'groups', cjson.encode(groups))
  redis.call('COPY', P.queue_order .. queue, P.queue_todo .. queue_part(queue, group), 'REPLACE')
end

-- Drop a group that nobody has used for long, so that what it never read does not fill the queue for ever.
local function queue_forget_group(queue, group)
  local part, left = queue_part(queue, group), {}
  for _, name in ipairs(queue_groups(queue)) do
    if name ~= group then left[#left + 1] = name end
  end
  if #left > 0 then
    redis.call('HSET', P.queue .. queue, 'groups', cjson.encode(left))
  else
    redis.call('HDEL', P.queue .. queue, 'groups')
  end
  local waiting = redis.call('ZRANGE', P.queue_todo .. part, 0, -1)
  redis.call('DEL', P.queue_todo .. part, P.queue_pending .. part, P.queue_owner .. part, P.queue_tries .. part,
    P.queue_group .. part)
  -- What only this group was waiting for is consumed now; without any group, items wait for the next one.
  for i = 1, #left > 0 and #waiting or 0, QUEUE_CHUNK do
    local chunk = { unpack(waiting, i, math.min(i + QUEUE_CHUNK - 1, #waiting)) }
    queue_remove(queue, queue_unneeded(queue, group, chunk), true)
  end
end

-- Consumers whose gateway is gone give back what they held (not the item's fault, so not counted); those that
-- left long ago are forgotten, and then the groups that have none.
local function queue_reap(queue, at)
  local here = {}
  for _, gateway in ipairs(redis.call('SMEMBERS', P.queue_hosts .. queue)) do
    here[gateway] = redis.call('EXISTS', P.gateway .. gateway) == 1
    if not here[gateway] then redis.call('SREM', P.queue_hosts .. queue, gateway) end
  end
  local used = {}
  local consumers = redis.call('HGETALL', P.queue_consumers .. queue)
  for i = 1, #consumers, 2 do
    local who = cjson.decode(consumers[i + 1])
    local c = redis.call('HMGET', P.queue_consumer .. consumers[i], 'session', 'gateway', 'left_at')
    if c[1] and c[1] ~= '' and not here[c[2]] then
      queue_release(queue, who[1], who[2], false, 'its gateway is gone', at)
      c[1], c[3] = '', at
    end
    if (c[1] or '') == '' and tonumber(at) - tonumber(c[3] or '0') > QUEUE_CONSUMER_KEPT then
      queue_forget_consumer(queue, consumers[i])
    else
      used[who[1]] = true
    end
  end
  for _, group in ipairs(queue_groups(queue)) do
    local seen = P.queue_group .. queue_part(queue, group)
    if used[group] then
      redis.call('SET', seen, at)
    elseif tonumber(at) - tonumber(redis.call('GET', seen) or at) > QUEUE_GROUP_KEPT then
      queue_forget_group(queue, group)
    end
  end
end

-- The cheap question before each delivery: has a gateway with consumers of this queue gone? `own` is who asks, and
-- so is there, however long the store was away.
local function queue_reap_if_needed(queue, own, lease)
  for _, gateway in ipairs(redis.call('SMEMBERS', P.queue_hosts .. queue)) do
    if redis.call('EXISTS', P.gateway .. gateway) == 0 then
      if gateway == own then
        redis.call('SET', P.gateway .. own, '1', 'PX', lease)
      else
        return queue_reap(queue, queue_now())
      end
    end
  end
end
