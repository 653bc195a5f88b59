-- Everything about a queue that attributes show.
-- ARGV: queue. Answers JSON {length, first, settings, groups: [[name, todo, pending]], consumers: [{...}]}.
--@include queue_groups
local queue = ARGV[1]
local at = queue_now()
queue_reap(queue, at)
local function fields(key)
  local flat, hash = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do hash[flat[i]] = flat[i + 1] end
  return hash
end
local answer = {
  length = redis.call('ZCARD', P.queue_order .. queue), first = queue_first(queue) or 0, now = at,
  settings = fields(P.queue .. queue), groups = {}, consumers = {},
}
for _, group in ipairs(queue_groups(queue)) do
  local part = queue_part(queue, group)
  answer.groups[#answer.groups + 1] = { group, redis.call('ZCARD', P.queue_todo .. part),
    redis.call('HLEN', P.queue_owner .. part) }
end
local consumers = redis.call('HGETALL', P.queue_consumers .. queue)
for i = 1, #consumers, 2 do
  local c = fields(P.queue_consumer .. consumers[i])
  local who = cjson.decode(consumers[i + 1])
  c.group, c.consumer = who[1], who[2]
  c.pending = redis.call('SCARD', P.queue_held .. consumers[i])
  answer.consumers[#answer.consumers + 1] = c
end
return cjson.encode(answer)
