"""Tracing of a model to a graph: exported operations, labels that flow through them, axes."""
