"""Callbacks by which the training loops of others drive a session; each needs its own package."""
