-- How many more tasks the accounts with limits may run. ARGV: service.
-- Answers JSON: a list of { name, most }, the most that may run in this service.
--@include base
--@include usage
local found = {}
for _, record in ipairs(redis.call('HVALS', P.users)) do
  local account = cjson.decode(record)
  local limits = account.limits
  if limits.running ~= cjson.null or limits.gpu_seconds ~= cjson.null then
    local running, _, seconds, here = load_of(account.name, false, ARGV[1])
    local most = limits.running ~= cjson.null and math.max(0, limits.running - (running - here)) or nil
    if limits.gpu_seconds ~= cjson.null and seconds >= limits.gpu_seconds then most = 0 end
    if most then found[#found + 1] = { account.name, most } end
  end
end
return #found > 0 and cjson.encode(found) or '[]'
