"""Pieces that several benchmarks are made of: timing in turn, records, tables, sound."""
