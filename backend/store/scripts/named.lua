-- Whether one of these tasks is this user's. ARGV: user, task *. Answers 1 or 0.
for i = 2, #ARGV do
  if redis.call('HGET', P.task .. ARGV[i], 'user') == ARGV[1] then return 1 end
end
return 0
