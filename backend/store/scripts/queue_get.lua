-- Read items in delivery order, and take them out if asked to.
-- ARGV: queue, first index (-1 = only the newest), how many, all of them or none (1|0), take out (1|0),
--       most bytes, wanted pair or '', tags. Answers (index, tags, data) *.
--@include queue_find
local queue, first, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted, limit = cjson.decode(ARGV[8]), tonumber(ARGV[6])
local order = P.queue_order .. queue
local found, json = {}, {}
local function keep(index, tags)
  found[#found + 1], json[#json + 1] = index, tags
  return #found >= most
end
if first < 0 then
  most = 1
  queue_newest(queue, wanted, keep)
else
  queue_find(queue, order, first, wanted, keep)
end
if #found < most and ARGV[4] == '1' then
  queue_want(queue, ARGV[7])
  return {}
end
local answer, bytes = {}, 0
for i, index in ipairs(found) do
  local data = redis.call('HGET', P.queue_data .. queue, index) or ''
  bytes = bytes + #data + #json[i]
  if i > 1 and bytes > limit then break end
  answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = index, json[i], data
  if ARGV[5] == '1' then queue_remove(queue, index) end
end
return answer
