-- Forget tasks that ended long ago: records, logs and curves. What they wrote into their job folders stays.
-- ARGV: seconds for which one is kept (0: any), most at once, most that are kept (0: any number).
-- Answers how many were forgotten.
--@include base
--@include forget
local keep, most, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local old = {}
if keep > 0 then
  old = redis.call('ZRANGEBYSCORE', P.finished, '-inf', tonumber(now()) - keep, 'LIMIT', 0, most)
end
local over = kept > 0 and math.min(most, redis.call('ZCARD', P.finished) - kept) or 0
if over > #old then old = redis.call('ZRANGE', P.finished, 0, over - 1) end
for _, id in ipairs(old) do
  forget_task(id)
end
return #old
