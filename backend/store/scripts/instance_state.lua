-- Move an instance from one of the states that allow it to another.
-- ARGV: instance, states it may come from, new state, (field, value) *. Answers the state after this.
--@include base
local instance = ARGV[1]
local i = redis.call('HMGET', P.instance .. instance, 'state', 'service', 'created_at')
if not i[1] then return false end
if not one_of(i[1], ARGV[2]) then return i[1] end
redis.call('HSET', P.instance .. instance, 'state', ARGV[3])
if ARGV[3] == 'draining' then redis.call('HSET', P.instance .. instance, 'draining_since', now()) end
for k = 4, #ARGV, 2 do
  redis.call('HSET', P.instance .. instance, ARGV[k], ARGV[k + 1] == '@now' and now() or ARGV[k + 1])
end
if i[1] == 'starting' and ARGV[3] == 'idle' then observe(i[2], 'boot', tonumber(now()) - tonumber(i[3])) end
publish('instance', instance, i[2])
wake(instance)
return ARGV[3]
