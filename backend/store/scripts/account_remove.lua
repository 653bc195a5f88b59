-- Remove an account: all of its tokens are void at once. Its tasks and files stay, and stay its own.
-- ARGV: name. Answers 1, or 0 when there was none.
local name = ARGV[1]
for _, kept in ipairs(redis.call('HKEYS', P.tokens .. name)) do redis.call('DEL', P.token .. kept) end
redis.call('DEL', P.tokens .. name, P.token_used .. name)
redis.call('HDEL', P.passwords, name)
return redis.call('HDEL', P.users, name)
