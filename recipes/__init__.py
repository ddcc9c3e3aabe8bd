"""Runnable recipes: real data in, a trained and compressed network and its report out.

They need the extra ``recipes``; importing them without it is an ImportError that says so.
"""

from importlib.util import find_spec

NEEDED = (
    "filelock", "matplotlib", "pooch", "requests", "sklearn", "soundfile", "soxr", "yaml",
)  # fmt: skip
"""What the extra brings, by the names that are imported."""

if missing := [name for name in NEEDED if find_spec(name) is None]:
    raise ImportError(
        f"recipes need {', '.join(missing)}: pip install -e '.[recipes]' in the checkout"
    )
