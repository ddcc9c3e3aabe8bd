"""Judgement of a network: accuracy by class and device, confusion, memory, the stored system."""
