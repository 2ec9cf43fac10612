"""Which engine for which network and machine: proof that engines agree, and the choice among them."""
