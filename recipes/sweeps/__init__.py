"""Sweeps over settings: what is tried, by whom, and the Pareto front that comes of it."""
