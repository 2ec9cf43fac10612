"""Is a results directory what its ledger says? It is read, and nothing in it is changed."""
