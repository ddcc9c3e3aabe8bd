"""Measurements behind the numbers the documentation states."""
