-- Remove an account: all of its tokens are void at once. Its tasks and files stay, and its name stays theirs.
-- ARGV: name. Answers 1, or 0 when there was none.
--@include base
local name = ARGV[1]
if redis.call('HDEL', P.users, name) == 0 then return 0 end
for _, kept in ipairs(redis.call('HKEYS', P.tokens .. name)) do redis.call('DEL', P.token .. kept) end
redis.call('DEL', P.tokens .. name, P.token_used .. name)
redis.call('HDEL', P.passwords, name)
redis.call('HSET', P.former, name, now())
return 1
