"""Sources in buckets."""
