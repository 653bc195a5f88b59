-- Note what is expected of some waiting tasks; what does not wait any more has no plan. ARGV: service, (task, text) *
local name, written = P.plan .. ARGV[1], {}
for i = 2, #ARGV, 2 do
  if redis.call('HGET', P.task .. ARGV[i], 'state') == 'waiting' then
    written[#written + 1] = ARGV[i]
    written[#written + 1] = ARGV[i + 1]
  end
end
if #written > 0 then redis.call('HSET', name, unpack(written)) end
return #written / 2
