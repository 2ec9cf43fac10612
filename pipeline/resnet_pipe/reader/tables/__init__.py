"""Tables: image files inside Parquet files, which are decoded as those in folders are."""
