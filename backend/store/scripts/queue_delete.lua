-- Take items out for everybody. ARGV: queue, index *. Answers how many were there.
--@include queue_groups
return queue_remove(ARGV[1], queue_rest(2))
