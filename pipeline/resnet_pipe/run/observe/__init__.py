"""What watches a run and never decides: clocks, progress, history, trace, outcome."""
