"""The cost of a network: parameters, multiply-accumulates and bytes, measured."""
