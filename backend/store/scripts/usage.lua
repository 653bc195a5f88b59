-- What a user has and uses. ARGV: user. Answers running, queued, seconds today.
--@include base
--@include usage
local running, queued, seconds = load_of(ARGV[1], true)
return { running, queued, string.format('%.3f', seconds) }
