-- Items could not be consumed: they go back, or to the dead letters. Answers how many were given back or buried.
-- ARGV: queue, group, counted (1|0), code, reason, index *
--@include queue_groups
local n = 0
for i = 6, #ARGV do
  local outcome = queue_return(ARGV[1], ARGV[2], ARGV[i], ARGV[3] == '1', ARGV[4], ARGV[5])
  if outcome == 'returned' or outcome == 'dead' then n = n + 1 end
end
return n
