"""Tests of `compressor.graph`."""
