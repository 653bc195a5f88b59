-- End a queue, or open it again (0). Its waiters look again and see. ARGV: queue, ended (1|0)
--@include queue_base
redis.call('HSET', P.queue .. ARGV[1], 'ended', ARGV[2])
local wanted = redis.call('SMEMBERS', P.queue_wanted .. ARGV[1])
redis.call('DEL', P.queue_wanted .. ARGV[1])
for _, pair in ipairs(wanted) do queue_signal({ queue = ARGV[1], pair = pair }) end
return 1
