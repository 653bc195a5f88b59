-- Note that a supervisor looks after a service, and what keeps it from serving ('' when nothing does).
-- ARGV: service, trouble
--@include base
local service = ARGV[1]
if redis.call('EXISTS', P.service .. service) == 0 then return 0 end
redis.call('HSET', P.service .. service, 'served', '1', 'trouble', ARGV[2])
publish('service', service, service)
return 1
