"""Pitch: generated tones whose frequency is exact, what a pitch tracker says of them, weights."""
