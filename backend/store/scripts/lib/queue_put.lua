--@include queue_base
-- How many request ids a queue remembers, so that a repeated put is known long after its item was consumed.
local QUEUE_SEEN = 100000

-- What a repeated put has in common with its first: the request id; in a sink, where one request may have many
-- results, its tags and data too.
local function queue_once(queue, request_id, tags_json, data)
  if string.sub(queue, -5) ~= '/sink' then return request_id end
  return request_id .. '\0' .. redis.sha1hex(tags_json .. '\0' .. data)
end

-- Put one item. Answers its index, and 'known' when this request id was stored before; or nil and why not:
-- 'ended', 'large' (and the limit), 'full' (and the capacity). Nothing has changed then.
-- `request_id` = '' stores without looking for an earlier one.
local function queue_put(queue, request_id, tags_json, data, priority)
  local q = redis.call('HMGET', P.queue .. queue, 'capacity', 'auto_evict', 'max_payload', 'ended', 'groups')
  local seen = P.queue_seen .. queue
  local once = request_id ~= '' and queue_once(queue, request_id, tags_json, data)
  if once then
    local known = redis.call('ZSCORE', seen, once)
    if known then return tonumber(known), 'known' end
  end
  if q[4] == '1' then return nil, 'ended' end
  local max_payload, capacity = tonumber(q[3] or '0'), tonumber(q[1] or '0')
  if max_payload > 0 and #data > max_payload then return nil, 'large', max_payload end
  if capacity > 0 and redis.call('ZCARD', P.queue_order .. queue) >= capacity then
    if q[2] ~= '1' then return nil, 'full', capacity end
    queue_remove(queue, { queue_number(queue_first(queue)) })
  end
  local index = redis.call('HINCRBY', P.queue .. queue, 'last', 1)
  local name, score = queue_number(index), queue_score(index, priority)
  local at = queue_number(score)
  redis.call('ZADD', P.queue_order .. queue, at, name)
  redis.call('HSET', P.queue_items .. queue, 'd' .. name, data, 't' .. name, tags_json)
  local tags, members = cjson.decode(tags_json), {}
  for key, value in pairs(tags) do
    if queue_indexed(key) then
      members[#members + 1] = 0
      members[#members + 1] = queue_tag_member(key, value, score)
    end
  end
  if #members > 0 then redis.call('ZADD', P.queue_tag_index .. queue, unpack(members)) end
  if q[5] then
    for _, group in ipairs(cjson.decode(q[5])) do
      redis.call('ZADD', P.queue_todo .. queue_part(queue, group), at, name)
    end
  end
  if once then
    redis.call('ZADD', seen, name, once)
    if index % 256 == 0 then redis.call('ZREMRANGEBYRANK', seen, 0, -QUEUE_SEEN - 1) end
  end
  queue_wake(queue, tags)
  return index
end
