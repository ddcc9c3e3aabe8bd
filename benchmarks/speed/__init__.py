"""How fast compression and training are, beside others' programs."""
