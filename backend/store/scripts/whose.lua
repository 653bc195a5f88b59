-- Whose a token is, and that it was used (noted once a minute).
-- ARGV: fingerprint. Answers name, token, account; nothing when nobody was given it.
--@include base
local name = redis.call('GET', P.token .. ARGV[1])
if not name then return {} end
local token, account = redis.call('HGET', P.tokens .. name, ARGV[1]), redis.call('HGET', P.users, name)
if not token or not account then return {} end
local at, used = now(), redis.call('HGET', P.token_used .. name, ARGV[1])
if not used or tonumber(at) - tonumber(used) > 60 then redis.call('HSET', P.token_used .. name, ARGV[1], at) end
return { name, token, account }
