-- Items are consumed by this group, whether or not they had been delivered. ARGV: queue, group, index *
--@include queue_groups
queue_consume(ARGV[1], ARGV[2], queue_rest(3))
return 1
