-- Read items in delivery order, and take them out if asked to.
-- ARGV: queue, first index (-1 = only the newest), how many, all of them or none (1|0), take out (1|0),
--       most bytes, wanted pair or '', tags. Answers a page, or ().
--@include queue_find
local queue, first, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted, limit = cjson.decode(ARGV[8]), tonumber(ARGV[6])
local found = {}
local function keep(index)
  found[#found + 1] = index
  return #found >= most
end
if first < 0 then
  most = 1
  queue_newest(queue, wanted, keep)
else
  queue_find(queue, P.queue_order .. queue, first, wanted, keep, most)
end
if #found < most and ARGV[4] == '1' then
  queue_want(queue, ARGV[7])
  return {}
end
local page, read = {}, {}
for _, index in ipairs(found) do
  if not queue_add(queue, index, page, limit, true) then break end
  read[#read + 1] = index
end
for i = 1, ARGV[5] == '1' and #read or 0, QUEUE_CHUNK do
  queue_remove(queue, { unpack(read, i, math.min(i + QUEUE_CHUNK - 1, #read)) })
end
return { queue_page(page) }
