"""How a model becomes a graph: exported operations, labels that flow through them, axes."""
