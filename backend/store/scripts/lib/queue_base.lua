-- Names, order and tags of a stream queue; what each key holds is said in backend/store/streams.py.
-- Whatever takes a list of indexes takes at most a few hundred of them: callers cut longer ones.

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

-- The same letter before each index: fields of the item hash, 'd' data and 't' tags.
local function queue_fields(letter, indexes)
  local fields = {}
  for i, index in ipairs(indexes) do fields[i] = letter .. index end
  return fields
end

local function queue_tags_of(queue, index)
  return cjson.decode(redis.call('HGET', P.queue_items .. queue, 't' .. index) or '{}')
end

local function queue_signal(message)
  redis.call('PUBLISH', P.queue_events, cjson.encode(message))
end

-- Wake who waits for an item with these tags. Edge triggered: who finds nothing puts its name down again.
local function queue_wake(queue, tags)
  local wanted = P.queue_wanted .. queue
  if redis.call('EXISTS', wanted) == 0 then return end
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
  return cjson.decode(redis.call('HGET', P.queue .. queue, 'groups') or '[]')
end

-- Items are no longer with the consumers they were delivered to. Answers whose they were, by index.
local function queue_unpend(queue, group, indexes)
  local part = queue_part(queue, group)
  local owners = redis.call('HMGET', P.queue_owner .. part, unpack(indexes))
  local whose, held, all = {}, {}, {}
  for i, index in ipairs(indexes) do
    local consumer = owners[i]
    if consumer then
      whose[index] = consumer
      held[consumer] = held[consumer] or {}
      table.insert(held[consumer], index)
      all[#all + 1] = index
    end
  end
  if #all == 0 then return whose end
  redis.call('HDEL', P.queue_owner .. part, unpack(all))
  redis.call('ZREM', P.queue_pending .. part, unpack(all))
  for consumer, list in pairs(held) do
    redis.call('SREM', P.queue_held .. queue_part(queue, group, consumer), unpack(list))
    queue_wake_consumer(queue, group, consumer)
  end
  return whose
end

local function queue_unindex(queue, indexes, scores)
  local members = {}
  local tags = redis.call('HMGET', P.queue_items .. queue, unpack(queue_fields('t', indexes)))
  for i = 1, #indexes do
    for key, value in pairs(cjson.decode(tags[i] or '{}')) do
      if queue_indexed(key) then members[#members + 1] = queue_tag_member(key, value, tonumber(scores[i])) end
    end
  end
  for i = 1, #members, 1000 do
    redis.call('ZREM', P.queue_tag_index .. queue, unpack(members, i, math.min(i + 999, #members)))
  end
end

-- Take items out for everybody; with `bare`, no group is known to wait for them or to hold them.
-- Answers how many there were.
local function queue_remove(queue, indexes, bare)
  if #indexes == 0 then return 0 end
  local there, scores = {}, {}
  for i, score in ipairs(redis.call('ZMSCORE', P.queue_order .. queue, unpack(indexes))) do
    if score then there[#there + 1], scores[#scores + 1] = indexes[i], score end
  end
  if #there == 0 then return 0 end
  queue_unindex(queue, there, scores)
  redis.call('ZREM', P.queue_order .. queue, unpack(there))
  redis.call('HDEL', P.queue_items .. queue, unpack(queue_fields('t', there)))
  redis.call('HDEL', P.queue_items .. queue, unpack(queue_fields('d', there)))
  if not bare then
    for _, group in ipairs(queue_groups(queue)) do
      local part = queue_part(queue, group)
      redis.call('ZREM', P.queue_todo .. part, unpack(there))
      redis.call('HDEL', P.queue_tries .. part, unpack(there))
      queue_unpend(queue, group, there)
    end
  end
  return #there
end

-- Index of the oldest item, or nil.
local function queue_first(queue)
  local order = P.queue_order .. queue
  local high = redis.call('ZRANGEBYSCORE', order, '-inf', '(0', 'LIMIT', 0, 1)[1]
  local normal = redis.call('ZRANGEBYSCORE', order, 0, '+inf', 'LIMIT', 0, 1)[1]
  if high and normal then return math.min(tonumber(high), tonumber(normal)) end
  return tonumber(high or normal)
end
