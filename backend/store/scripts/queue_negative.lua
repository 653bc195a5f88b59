-- Items could not be consumed: they go back, or to the dead letters. Answers how many were given back or buried.
-- ARGV: queue, group, counted (1|0), code, reason, index *
--@include queue_groups
local n, at = 0, queue_now()
for i = 6, #ARGV do
  local outcome = queue_return(ARGV[1], ARGV[2], ARGV[i], ARGV[3] == '1', ARGV[4], ARGV[5], at)
  if outcome == 'returned' or outcome == 'dead' then n = n + 1 end
end
return n
