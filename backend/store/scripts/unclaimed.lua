-- A task that its instance has not begun in time goes back, not counted as a delivery.
-- ARGV: task, seconds it was given
--@include base
--@include give_back
local t = task_get(ARGV[1], 'state', 'assigned_at')
local at = now()
if t[1] ~= 'assigned' or tonumber(at) - tonumber(t[2]) < tonumber(ARGV[2]) then return 'kept' end
return give_back(ARGV[1], 'its instance did not begin it in time', '0', '0', at)
