-- Some instances, or without ARGV every one that is not gone, as JSON: (id, its fields, its tasks, the milliseconds that its lease has left) *
local found = {}
for _, id in ipairs(#ARGV > 0 and ARGV or redis.call('SMEMBERS', P.instances)) do
  found[#found + 1] = {
    id, redis.call('HGETALL', P.instance .. id), redis.call('SMEMBERS', P.held .. id),
    redis.call('PTTL', P.lease .. id)
  }
end
return cjson.encode(found)
