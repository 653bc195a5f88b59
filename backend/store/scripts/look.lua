-- The waiting tasks of a service in the order of its RQ queue, and those that instances hold. ARGV: service
-- As JSON: clients read one long string much faster than thousands of short ones.
local waiting = redis.call('LRANGE', P.rq_queue .. ARGV[1], 0, -1)
return cjson.encode({ waiting = waiting, active = redis.call('SMEMBERS', P.active .. ARGV[1]) })
