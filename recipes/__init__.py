"""Runnable recipes: real data in, a trained and compressed network and its report out."""
