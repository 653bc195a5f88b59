-- Some fields of many tasks, as JSON: a list for each task. ARGV: n, field * n, task *
local n, fields = tonumber(ARGV[1]), {}
for i = 2, n + 1 do fields[#fields + 1] = ARGV[i] end
local found = {}
for i = n + 2, #ARGV do found[#found + 1] = redis.call('HMGET', P.task .. ARGV[i], unpack(fields)) end
return cjson.encode(found)
