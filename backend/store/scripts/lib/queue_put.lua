--@include queue_base
-- How many request ids a queue remembers, so that a repeated put is known long after its item was consumed.
local QUEUE_SEEN = 100000

-- Put one item. Answers its index, and 'known' when this request id was stored before; or nil and why not:
-- 'ended', 'large' (and the limit), 'full' (and the capacity). Nothing has changed then.
-- `request_id` = '' stores without looking for an earlier one. In a sink one request may have many results, so
-- there a repetition is the same id with the same tags and data.
local function queue_put(queue, request_id, tags_json, data, priority, at)
  local q = redis.call('HMGET', P.queue .. queue, 'capacity', 'auto_evict', 'max_payload', 'ended')
  local seen = P.queue_seen .. queue
  local once = request_id
  if request_id ~= '' then
    if string.sub(queue, -5) == '/sink' then
      once = request_id .. '\0' .. redis.sha1hex(tags_json .. '\0' .. data)
    end
    local known = redis.call('ZSCORE', seen, once)
    if known then return tonumber(known), 'known' end
  end
  if q[4] == '1' then return nil, 'ended' end
  local max_payload, capacity = tonumber(q[3] or '0'), tonumber(q[1] or '0')
  if max_payload > 0 and #data > max_payload then return nil, 'large', max_payload end
  if capacity > 0 and redis.call('ZCARD', P.queue_order .. queue) >= capacity then
    if q[2] ~= '1' then return nil, 'full', capacity end
    queue_remove(queue, queue_number(queue_first(queue)))
  end
  local index = redis.call('HINCRBY', P.queue .. queue, 'last', 1)
  local name = queue_number(index)
  local score = queue_score(index, priority)
  local tags = cjson.decode(tags_json)
  redis.call('ZADD', P.queue_order .. queue, queue_number(score), name)
  redis.call('HSET', P.queue_data .. queue, name, data)
  redis.call('HSET', P.queue_tags .. queue, name, tags_json)
  for key, value in pairs(tags) do
    if queue_indexed(key) then
      redis.call('ZADD', P.queue_tag_index .. queue, 0, queue_tag_member(key, value, score))
    end
  end
  for _, group in ipairs(queue_groups(queue)) do
    redis.call('ZADD', P.queue_todo .. queue_part(queue, group), queue_number(score), name)
  end
  if request_id ~= '' then
    redis.call('ZADD', seen, name, once)
    redis.call('ZREMRANGEBYRANK', seen, 0, -QUEUE_SEEN - 1)
  end
  redis.call('HSET', P.queue .. queue, 'put_at', at)
  queue_wake(queue, tags)
  return index
end
