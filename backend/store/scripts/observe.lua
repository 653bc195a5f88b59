-- What a supervisor measured. ARGV: service, (name, seconds) *
--@include measures
for i = 2, #ARGV, 2 do observe(ARGV[1], ARGV[i], tonumber(ARGV[i + 1])) end
return 1
