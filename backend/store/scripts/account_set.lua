-- Write about an account that is still there: one that is removed meanwhile leaves nothing to whoever comes after it.
-- ARGV: name, which key (`users`, `passwords`), text. Answers 1, or 0 when there is no such account.
if redis.call('HEXISTS', P.users, ARGV[1]) == 0 then return 0 end
redis.call('HSET', P[ARGV[2]], ARGV[1], ARGV[3])
return 1
