"""The ledger: the record of every committed chunk, and all that keeps it true after a crash."""
