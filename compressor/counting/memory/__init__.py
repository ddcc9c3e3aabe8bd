"""Working memory of a network that runs step by step: who lives when, the bound, and plans.

Plain data: names, bytes and steps. Nothing here knows of a network, a file or a device.
"""
