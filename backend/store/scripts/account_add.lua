-- Keep a new account. ARGV: name, account, '1' when whoever had the name comes back.
-- Answers ok, taken (there is one), or former and when the account of that name was removed.
if redis.call('HEXISTS', P.users, ARGV[1]) == 1 then return { 'taken' } end
local removed = redis.call('HGET', P.former, ARGV[1])
if removed and ARGV[3] ~= '1' then return { 'former', removed } end
redis.call('HSET', P.users, ARGV[1], ARGV[2])
redis.call('HDEL', P.former, ARGV[1])
return { 'ok' }
