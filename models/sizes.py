"""Sizes that cannot run are refused when a network is built, not deep in its first forward pass."""

from __future__ import annotations

from numbers import Integral


def at_least(least: int, network: str, **sizes: int) -> None:
    """Refuse a size that is too small, or no whole number.

    Args:
        least: The smallest size that works.
        network: Name of the class, for the message.
        sizes: The arguments to look at, by name.

    Raises:
        ValueError: If one of them is below `least` or no whole number.
    """
    for name, size in sizes.items():
        if not isinstance(size, Integral):
            raise ValueError(f"{network}({name}={size!r}): {name} must be a whole number.")
        if size < least:
            raise ValueError(f"{network}({name}={size}): {name} must be at least {least}.")
