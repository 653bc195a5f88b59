-- A login that was counted was none that failed. ARGV: name
if redis.call('EXISTS', P.failures .. ARGV[1]) == 1 then redis.call('DECR', P.failures .. ARGV[1]) end
return 1
