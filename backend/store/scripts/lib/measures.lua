-- Counters of a service, for Prometheus: raised in the same step as the transition that they count, so that they
-- count it once, whoever makes it. Histograms are kept by bucket, not cumulated.

local BOUNDS = { 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200 }
local USED_KEPT = 40 * 86400 -- seconds for which the use of a day is kept
local USERS_KEPT = 1000 -- of a service; what further ones use is counted together

-- Of a service that was removed nothing is counted: nobody would ever forget it.
local function deployed(service)
  return redis.call('EXISTS', P.service .. service) == 1
end

local function observe(service, name, seconds)
  if not deployed(service) then return end
  local bucket = '+Inf'
  for _, bound in ipairs(BOUNDS) do
    if seconds <= bound then
      bucket = tostring(bound)
      break
    end
  end
  redis.call('HINCRBY', P.measures .. service, 'bucket|' .. name .. '|' .. bucket, 1)
  redis.call('HINCRBYFLOAT', P.measures .. service, 'sum|' .. name, string.format('%.6f', math.max(0, seconds)))
end

local function count(service, name)
  if not deployed(service) then return end
  redis.call('HINCRBY', P.measures .. service, 'count|' .. name, 1)
end

-- Seconds of an instance that a user has had until now, on the days (UTC) on which that was.
local function use(user, seconds)
  local at = tonumber(redis.call('TIME')[1])
  local today = math.floor(at / 86400)
  local since_midnight = math.min(math.max(0, seconds), at - today * 86400)
  for day, part in pairs({ [today] = since_midnight, [today - 1] = math.max(0, seconds) - since_midnight }) do
    if part > 0 then
      redis.call('HINCRBYFLOAT', P.used .. day, user, string.format('%.6f', part))
      redis.call('EXPIRE', P.used .. day, USED_KEPT)
    end
  end
end

-- Seconds of an instance, for a user: what = 'run', 'boot' or 'idle'.
local function spend(service, what, user, seconds)
  if what == 'run' and (user or '') ~= '' then use(user, seconds) end
  if not deployed(service) then return end
  local field = what .. '|' .. (user or '')
  local spent = P.spent .. service
  if redis.call('HLEN', spent) >= 3 * USERS_KEPT and redis.call('HEXISTS', spent, field) == 0 then
    field = what .. '|(others)'
  end
  redis.call('HINCRBYFLOAT', spent, field, string.format('%.6f', math.max(0, seconds)))
end
