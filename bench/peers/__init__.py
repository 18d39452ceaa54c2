"""`make bench-peers`: the same six works for this engine and for others, on one machine, in one run, interleaved."""
