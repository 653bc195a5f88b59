-- An instance hands back what it could not finish.
-- ARGV: task, attempt, instance, reason, counted (1|0), most deliveries
--@include base
--@include give_back
if not owns(ARGV[1], ARGV[2], ARGV[3]) then return 'stale' end
return give_back(ARGV[1], ARGV[4], ARGV[5], ARGV[6], now())
