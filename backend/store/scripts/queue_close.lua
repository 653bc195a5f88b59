-- A consumer's connection is over: what it held goes to others.
-- ARGV: queue, group, consumer, session, counted (1|0), reason, sent index * (auto commit)
--@include queue_groups
local queue, group, consumer = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', P.queue_consumer .. queue_part(queue, group, consumer), 'session') ~= ARGV[4] then return 0 end
queue_consume(queue, group, queue_rest(7))
queue_release(queue, group, consumer, ARGV[5] == '1', ARGV[6], queue_now())
return 1
