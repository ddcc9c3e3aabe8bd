"""Is it for want of memory that something fails?"""

from __future__ import annotations

import torch

SAID = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed")
"""What PyTorch says on a CPU, where it has no error of its own for it."""


def out_of_memory(error: BaseException) -> bool:
    """True for an error that says that there is too little memory."""
    plain = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return plain or (isinstance(error, RuntimeError) and any(said in str(error) for said in SAID))
