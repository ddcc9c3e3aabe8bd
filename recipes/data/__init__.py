"""Data sets as they are published: official lists, places, decoded audio."""
