-- Which of these users have used up what they may have at once or today, so that their tasks wait. ARGV: user *
-- Answers JSON: a list of { user, running, most or null, seconds, most or null }, of those that have limits.
--@include base
--@include usage
local found = {}
for _, user in ipairs(ARGV) do
  local record = redis.call('HGET', P.users, user)
  local limits = record and cjson.decode(record).limits
  if limits and (limits.running ~= cjson.null or limits.gpu_seconds ~= cjson.null) then
    local running, _, seconds = load_of(user, false)
    found[#found + 1] = { user, running, limits.running, seconds, limits.gpu_seconds }
  end
end
return #found > 0 and cjson.encode(found) or '[]'
