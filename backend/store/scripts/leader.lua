-- Be the one supervisor that leads, or stay so. ARGV: who, milliseconds
local leader = redis.call('GET', P.leader)
if leader and leader ~= ARGV[1] then return 0 end
redis.call('SET', P.leader, ARGV[1], 'PX', ARGV[2])
return 1
