-- What a running task said since the last time: lines of its log and records, all or nothing, once, fenced.
-- ARGV: task, attempt, instance, number of the batch, sink queue or '', most lines kept, l, line * l, (kind, json) *
--@include base
--@include queue_put
local id, attempt, instance, sink = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local batch = attempt .. '/' .. ARGV[4]
local keep, l = tonumber(ARGV[6]), tonumber(ARGV[7])
if not owns(id, attempt, instance) then return { 'stale' } end
local at = now()
local t = task_get(id, 'service', 'tags', 'request_id', 'log_lines', 'points', 'batch')
local line = tonumber(t[4] or '0')
-- The answer to this very batch was lost and it is sent again.
if t[6] == batch then return { 'ok', line } end
if sink ~= '' and l > 0 then
  local tags = cjson.decode(t[2] or '{}')
  tags.requestId = t[3]
  tags['log.seq'] = tostring(line)
  local text = {}
  for i = 8, 7 + l do text[#text + 1] = ARGV[i] end
  local index, why = queue_put(sink, '', cjson.encode(tags), table.concat(text, '\n') .. '\n', 0, at)
  if not index then return { 'sink', why } end
end
for i = 8, 7 + l do
  line = line + 1
  redis.call('XADD', P.log .. id, 'MAXLEN', '~', keep, line .. '-0', 'l', ARGV[i])
end
local points = tonumber(t[5] or '0')
for i = 8 + l, #ARGV, 2 do
  local kind, json = ARGV[i], ARGV[i + 1]
  if kind == 'progress' then
    points = points + 1
    redis.call('HSET', P.task .. id, 'progress', json)
    redis.call('XADD', P.scalars .. id, 'MAXLEN', '~', keep, points .. '-0', 'p', json)
  elseif kind == 'file' then
    redis.call('RPUSH', P.files .. id, json)
  else
    redis.call('HSET', P.task .. id, kind, json)
  end
end
redis.call('HSET', P.task .. id, 'log_lines', line, 'points', points, 'batch', batch)
publish('output', id, t[1])
return { 'ok', line }
