-- An instance says that it lives, and hears what is wanted of it.
-- ARGV: instance, milliseconds, JSON of its vitals ('' for no news). Answers its state, then for each task it holds: the task, what is wanted of it
-- ('', how it is to end, or 'lost' when it is another's), and the attempt that runs it ('' when none does).
--@include base
local instance = ARGV[1]
local state = redis.call('HGET', P.instance .. instance, 'state')
if not state or state == 'gone' then return { 'gone' } end
if ARGV[3] ~= '' then redis.call('HSET', P.instance .. instance, 'vitals', ARGV[3]) end
redis.call('SET', P.lease .. instance, '1', 'PX', ARGV[2])
local answer = { state }
for _, id in ipairs(redis.call('SMEMBERS', P.held .. instance)) do
  local t = task_get(id, 'instance', 'cancel', 'state', 'attempt')
  answer[#answer + 1] = id
  answer[#answer + 1] = t[1] == instance and (t[2] or '') or 'lost'
  answer[#answer + 1] = t[1] == instance and t[3] == 'running' and t[4] or ''
end
return answer
