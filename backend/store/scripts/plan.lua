-- Replace what is expected of a service's waiting tasks. ARGV: service, JSON object task -> text
local name = P.plan .. ARGV[1]
redis.call('DEL', name)
for task, text in pairs(cjson.decode(ARGV[2])) do redis.call('HSET', name, task, text) end
return 1
