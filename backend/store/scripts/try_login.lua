-- Count a login that is about to be looked at, so that many at once are no more than one after the other.
-- ARGV: name, seconds for which it counts. Answers how many there were within them, this one too.
local key = P.failures .. ARGV[1]
local n = redis.call('INCR', key)
if n == 1 then redis.call('EXPIRE', key, ARGV[2]) end
return n
