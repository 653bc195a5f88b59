-- Names, order and tags of a stream queue; what each key holds is said in backend/store/streams.py.

-- Delivery order is one number: the index, less 2^52 for high priority, which so comes first.
local QUEUE_HIGH = 4503599627370496

local function queue_score(index, priority)
  if tonumber(priority) > 0 then return index - QUEUE_HIGH end
  return index
end

local function queue_number(n)
  return string.format('%.0f', n)
end

local function queue_index_of(score)
  local n = tonumber(score)
  if n < 0 then return n + QUEUE_HIGH end
  return n
end

-- Key suffix of a group or a consumer; the length keeps names with any character apart.
local function queue_part(queue, group, consumer)
  local name = queue .. '|' .. #group .. ':' .. group
  if consumer then return name .. '|' .. consumer end
  return name
end

local function queue_pair(key, value)
  return key .. '\0' .. value
end

-- Line numbers differ on every item: nobody looks for one, so they are not in the tag index.
local function queue_indexed(key)
  return key ~= 'log.seq'
end

-- Member of the tag index: high before normal, then by index.
local function queue_tag_member(key, value, score)
  local class = score < 0 and 'h' or 'n'
  return queue_pair(key, value) .. '\0' .. class .. string.format('%016.0f', queue_index_of(score))
end

local function queue_matches(tags, wanted)
  for key, value in pairs(wanted) do
    if tags[key] ~= value then return false end
  end
  return true
end

local function queue_signal(message)
  redis.call('PUBLISH', P.queue_events, cjson.encode(message))
end

-- Wake who waits for an item with these tags. Edge triggered: who finds nothing puts its name down again.
local function queue_wake(queue, tags)
  local wanted = P.queue_wanted .. queue
  if redis.call('SREM', wanted, '') == 1 then queue_signal({ queue = queue, pair = '' }) end
  for key, value in pairs(tags) do
    local pair = queue_pair(key, value)
    if redis.call('SREM', wanted, pair) == 1 then queue_signal({ queue = queue, pair = pair }) end
  end
end

-- Wake one consumer, if it had stopped because its window was full.
local function queue_wake_consumer(queue, group, consumer)
  local record = P.queue_consumer .. queue_part(queue, group, consumer)
  if redis.call('HGET', record, 'full') == '1' then
    redis.call('HSET', record, 'full', '0')
    queue_signal({ queue = queue, group = group, consumer = consumer })
  end
end

local function queue_groups(queue)
  return redis.call('SMEMBERS', P.queue_groups .. queue)
end

-- An item is no longer with the consumer it was delivered to.
local function queue_unpend(queue, group, index)
  local part = queue_part(queue, group)
  local consumer = redis.call('HGET', P.queue_owner .. part, index)
  if not consumer then return false end
  redis.call('HDEL', P.queue_owner .. part, index)
  redis.call('ZREM', P.queue_pending .. part, index)
  redis.call('SREM', P.queue_held .. queue_part(queue, group, consumer), index)
  queue_wake_consumer(queue, group, consumer)
  return consumer
end

-- Take an item out for everybody. Answers whether it was there.
local function queue_remove(queue, index)
  local score = redis.call('ZSCORE', P.queue_order .. queue, index)
  if not score then return false end
  local tags = cjson.decode(redis.call('HGET', P.queue_tags .. queue, index) or '{}')
  for key, value in pairs(tags) do
    if queue_indexed(key) then
      redis.call('ZREM', P.queue_tag_index .. queue, queue_tag_member(key, value, tonumber(score)))
    end
  end
  redis.call('ZREM', P.queue_order .. queue, index)
  redis.call('HDEL', P.queue_tags .. queue, index)
  redis.call('HDEL', P.queue_data .. queue, index)
  for _, group in ipairs(queue_groups(queue)) do
    local part = queue_part(queue, group)
    redis.call('ZREM', P.queue_todo .. part, index)
    redis.call('HDEL', P.queue_tries .. part, index)
    queue_unpend(queue, group, index)
  end
  return true
end

-- Index of the oldest item, or nil.
local function queue_first(queue)
  local order = P.queue_order .. queue
  local high = redis.call('ZRANGEBYSCORE', order, '-inf', '(0', 'LIMIT', 0, 1)[1]
  local normal = redis.call('ZRANGEBYSCORE', order, 0, '+inf', 'LIMIT', 0, 1)[1]
  if high and normal then return math.min(tonumber(high), tonumber(normal)) end
  return tonumber(high or normal)
end
