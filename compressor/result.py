"""What `fit` returns, and how it is kept: safetensors and JSON, nothing pickled."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from compressor import archive, storage
from compressor.render import heading
from compressor.report import Report
from compressor.structure import Structure
from compressor.surgery import shrink
from compressor.tracing.program import first_names


@dataclass(frozen=True, eq=False)
class Result:
    """A compressed model with its proof.

    Attributes:
        model: The smaller model, an ordinary module of the original's class.
        report: What was done.
        structure: Which units of the original stayed.
    """

    model: nn.Module
    report: Report
    structure: Structure

    def __repr__(self) -> str:
        """One sentence; `report` says more."""
        return f"<Result: {heading(self.report)}>"

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the model, how to rebuild it, and the report.

        ``model-*.safetensors`` holds the smaller model's state dict, ``model.json`` what
        `compressor.load` needs beside it, ``report.json`` and ``report.md`` the report. Every file
        is put in place in one step.

        Args:
            directory: Created when missing; an older result there is replaced.
        """
        folder = Path(directory)
        data = {
            "model": type(self.model).__name__,
            "structure": archive.pack(self.structure),
            "versions": dict(self.report.versions),
        }
        storage.write(folder, "model", stored(self.model), data)
        storage.write_bytes(folder / "report.json", self.report.json().encode())
        storage.write_bytes(folder / "report.md", self.report.markdown().encode())


def load(directory: str | os.PathLike[str], model: nn.Module) -> nn.Module:
    """The small model that `Result.save` wrote.

    Args:
        directory: Where it was saved.
        model: The original architecture, freshly built; left untouched. The result has its
            device and mode.

    Returns:
        A smaller module of the same class with the saved weights, in their saved data type.

    Raises:
        FileNotFoundError: If nothing was saved there.
        ValueError: If a file is damaged, or `model` is not the architecture that was compressed.
    """
    tensors, data = storage.read(Path(directory), "model")
    structure = archive.unpack(data["structure"])
    wrong = archive.mismatches(model, structure.graph)
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(
            f"{directory} holds a compressed {data['model']} and cannot become a part of this "
            f"{type(model).__name__}: {'; '.join(wrong[:5])}{more}. Build the model with the "
            "arguments it had when it was compressed"
        )
    if type(model).__name__ != data["model"]:
        warnings.warn(
            f"{directory} holds a compressed {data['model']} and is loaded into a "
            f"{type(model).__name__}: the tensors fit, whether the two compute the same is not "
            "known",
            stacklevel=2,
        )
    small = shrink(model, structure.graph, structure)
    assign(small, tensors)
    return small


def stored(model: nn.Module) -> dict[str, Tensor]:
    """A model's state dict with every tied tensor once, under its first name."""
    first = first_names(model)
    state = model.state_dict()
    return {name: state[name] for name in state if first.get(name, name) == name}


def assign(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model's tensors the values and data types of others of the same shapes, in place.

    Raises:
        ValueError: If a name or a shape does not match.
    """
    own = {**dict(model.named_buffers()), **dict(model.named_parameters())}
    for name, tensor in tensors.items():
        target = own.get(name)
        if target is None or target.shape != tensor.shape:
            found = "nothing" if target is None else tuple(target.shape)
            raise ValueError(f"saved {name} {tuple(tensor.shape)} meets {found} in the model")
        target.data = tensor.to(target.device)
