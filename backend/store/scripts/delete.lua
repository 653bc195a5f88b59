-- Forget one task that has ended because somebody asked for it. One that waits or runs stays as it is.
-- ARGV: task. Answers 'deleted', or the state that forbids it; false for an unknown task.
--@include base
--@include forget
local id = ARGV[1]
local t = task_get(id, 'state', 'service')
if not t[1] then return false end
if not one_of(t[1], 'succeeded,failed,cancelled,dead') then return t[1] end
forget_task(id)
publish('deleted', id, t[2])
return 'deleted'
