-- Take items out for everybody. ARGV: queue, index *. Answers how many were there.
--@include queue_base
local n = 0
for i = 2, #ARGV do
  if queue_remove(ARGV[1], ARGV[i]) then n = n + 1 end
end
return n
