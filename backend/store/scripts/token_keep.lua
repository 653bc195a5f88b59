-- Keep a token of an account that is still there. ARGV: name, fingerprint, token, when it expires (seconds, '': never).
-- Answers 1, or 0 when there is no such account.
local name, kept = ARGV[1], ARGV[2]
if redis.call('HEXISTS', P.users, name) == 0 then return 0 end
redis.call('HSET', P.tokens .. name, kept, ARGV[3])
redis.call('SET', P.token .. kept, name)
if ARGV[4] ~= '' then redis.call('EXPIREAT', P.token .. kept, ARGV[4]) end
return 1
