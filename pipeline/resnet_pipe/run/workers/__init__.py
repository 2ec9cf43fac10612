"""Worker processes, which read sources and fill batches."""
