-- Add a decision to a service's journal. One that leaves things as they are for the reasons of the one before it
-- lengthens that entry instead: its first moment and the number of times are kept, the rest is the newest.
-- ARGV: service, JSON of the entry, most entries kept, whether it changes anything (1|0)
local name = P.journal .. ARGV[1]
local entry = ARGV[2]
local last = redis.call('XREVRANGE', name, '+', '-', 'COUNT', 1)[1]
if last and ARGV[4] == '0' then
  local before, now = cjson.decode(last[2][2]), cjson.decode(entry)
  if before.decided == now.decided and before.why == now.why and before.why_not_more == now.why_not_more then
    -- Only numbers and strings are in there, so that writing them again loses nothing but digits of times.
    now.at, now.times = before.at, before.times + 1
    entry = cjson.encode(now)
    redis.call('XDEL', name, last[1])
  end
end
redis.call('XADD', name, 'MAXLEN', '~', ARGV[3], '*', 'd', entry)
return 1
