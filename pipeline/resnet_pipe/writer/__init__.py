"""Writers turn the rows of one chunk into one shard."""
