"""Writers of tables: Parquet, NumPy, CSV and JSON Lines."""
