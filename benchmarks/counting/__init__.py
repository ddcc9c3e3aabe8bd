"""Costs of the seeds' networks, beside what their papers print."""
