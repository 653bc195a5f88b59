-- Leave the lead. ARGV: who
if redis.call('GET', P.leader) == ARGV[1] then redis.call('DEL', P.leader) end
return 1
