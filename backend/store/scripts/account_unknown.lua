-- Whether nobody has or had this name. ARGV: name. Answers 1 or 0.
if redis.call('HEXISTS', P.users, ARGV[1]) == 1 or redis.call('HEXISTS', P.former, ARGV[1]) == 1 then return 0 end
return 1
