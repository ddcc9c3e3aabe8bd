"""Three tools behind one call: a network and caps in, a smaller network out."""
