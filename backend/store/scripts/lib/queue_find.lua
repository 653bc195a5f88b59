--@include queue_groups
-- Finding items by tags without walking the queue: through the tag index, or the group's own list if shorter.

-- The wanted pair that the fewest items have: (range start, range end, how many), or nil without indexed tags.
local function queue_narrowest(queue, wanted)
  local best
  for key, value in pairs(wanted) do
    if queue_indexed(key) then
      local from, to = '[' .. queue_pair(key, value) .. '\0', '(' .. queue_pair(key, value) .. '\1'
      local n = redis.call('ZLEXCOUNT', P.queue_tag_index .. queue, from, to)
      if not best or n < best[3] then best = { from, to, n } end
    end
  end
  return best
end

-- Visit indexes of the tag index in delivery order until `visit` answers true.
local function queue_each_tagged(queue, range, visit)
  local from = range[1]
  repeat
    local members = redis.call('ZRANGEBYLEX', P.queue_tag_index .. queue, from, range[2], 'LIMIT', 0, QUEUE_CHUNK)
    for _, member in ipairs(members) do
      if visit(queue_number(tonumber(string.sub(member, -16)))) then return end
    end
    if #members > 0 then from = '(' .. members[#members] end
  until #members < QUEUE_CHUNK
end

-- Visit the members of a sorted set in delivery order, indexes from `first` on, until `visit` answers true. `most`
-- is how many it is likely to take: reading on for nothing would be the dearest part of a small get.
local function queue_each(list, first, visit, most)
  local ranges = { { '-inf', '+inf' } }
  if first > 1 then
    ranges = { { queue_number(first - QUEUE_HIGH), '(0' }, { queue_number(first), '+inf' } }
  end
  for _, range in ipairs(ranges) do
    local from, chunk, found = range[1], math.min(most or QUEUE_CHUNK, QUEUE_CHUNK), nil
    repeat
      if found then chunk = QUEUE_CHUNK end
      found = redis.call('ZRANGEBYSCORE', list, from, range[2], 'WITHSCORES', 'LIMIT', 0, chunk)
      for i = 1, #found, 2 do
        if visit(found[i]) then return end
      end
      if #found > 0 then from = '(' .. found[#found] end
    until #found < 2 * chunk
  end
end

-- Visit the indexes of what is in `list`, from index `first` on, with all of `wanted`; `most` as above.
local function queue_find(queue, list, first, wanted, visit, most)
  if not next(wanted) then return queue_each(list, first, visit, most) end
  local function check(index)
    return queue_matches(queue_tags_of(queue, index), wanted) and visit(index)
  end
  local range = queue_narrowest(queue, wanted)
  if range and range[3] < redis.call('ZCARD', list) then
    queue_each_tagged(queue, range, function(index)
      if tonumber(index) < first or not redis.call('ZSCORE', list, index) then return false end
      return check(index)
    end)
  else
    queue_each(list, first, check)
  end
end

-- Visit the newest item with all of `wanted`. Within a class, delivery order is index order.
local function queue_newest(queue, wanted, visit)
  local order, newest = P.queue_order .. queue, -1
  if next(wanted) then
    queue_find(queue, order, 0, wanted, function(index)
      newest = math.max(newest, tonumber(index))
      return false
    end)
  else
    for _, range in ipairs({ { '+inf', 0 }, { '(0', '-inf' } }) do
      local last = redis.call('ZREVRANGEBYSCORE', order, range[1], range[2], 'LIMIT', 0, 1)[1]
      newest = math.max(newest, tonumber(last or '-1'))
    end
  end
  if newest >= 0 then visit(queue_number(newest)) end
end

-- Add an item to a page, within a limit of bytes unless it is the first. Answers whether it fitted.
local function queue_add(queue, index, page, limit, with_data)
  local item = redis.call('HMGET', P.queue_items .. queue, 't' .. index, with_data and 'd' .. index or '')
  local tags, data = item[1] or '{}', item[2] or ''
  page.bytes = (page.bytes or 0) + #tags + #data
  if #page > 0 and page.bytes > limit then return false end
  page[#page + 1] = tags .. data
  page.sizes = (page.sizes or '') .. ' ' .. index .. ' ' .. #tags .. ' ' .. #data
  return true
end

-- A page as two strings (index, size of tags, size of data) * and all tags and data: clients read few strings fast.
local function queue_page(page)
  return page.sizes or '', table.concat(page)
end

-- Put down that somebody waits for items with these tags.
local function queue_want(queue, pair)
  redis.call('SADD', P.queue_wanted .. queue, pair)
end
