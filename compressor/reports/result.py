"""Result of `fit`, kept as safetensors and JSON, nothing pickled."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compressor import storage
from compressor.counting.stored import Compressed
from compressor.export import executorch, onnx, tflite
from compressor.export.features import Features
from compressor.export.firmware import writing as firmware
from compressor.export.firmware.asked import Inputs
from compressor.export.front_end import rows_read
from compressor.graph import archive
from compressor.graph.structure import Structure
from compressor.inputs.finite import check_stored
from compressor.inputs.models import check_model
from compressor.network import Network, Varying, to_network
from compressor.network.file import container
from compressor.reports.found import check_content, check_directory
from compressor.reports.render import heading
from compressor.reports.report import Report
from compressor.reports.states import EXTRA, assign, buffer_types, dtype_of, extras, stored
from compressor.surgery.cutting import shrink
from compressor.wording import brief, line

NETWORK = "network.safetensors"
"""Where `Result.save` puts a model that is not of the original's class."""

FORMATS: Mapping[str, Callable[[Network, Path, Any, Tensor | None], int]] = {
    ".onnx": onnx.write,
    ".pte": executorch.write,
    ".tflite": tflite.write,
}
"""What writes a network for a runtime, by the suffix of the file."""


@dataclass(frozen=True, eq=False)
class Result(Compressed):
    """A compressed model with its proof.

    Attributes:
        model: The smaller model, an ordinary module of the original's class.
        report: What was done.
        structure: Which units of the original stayed.
        example: One input.
        of_its_class: Whether the model is one of the original's class, of which `structure` says
            what is left; else it has other rows, layers of other kinds, or is a network of data.
        finite: Whether its tensors and outputs are known to be finite, so that it is not written
            where they are not any more.
    """

    model: nn.Module
    report: Report
    structure: Structure
    example: tuple[Tensor, ...] = ()
    of_its_class: bool = True
    finite: bool = False

    def __repr__(self) -> str:
        """One sentence; `report` says more."""
        return f"<Result: {heading(self.report)}>"

    @property
    def network(self) -> Network:
        """The model as data, in eval mode: what `write` stores and `export` exports.

        Raises:
            TraceError: If the model cannot be written as a network.
            VerificationError: If it was finite and holds NaN or infinity now.
        """
        return self._varying(None)

    def write(self, path: str | os.PathLike[str], varying: Varying | None = None) -> int:
        """Write the whole model into one small file; returns its length in bytes.

        `compressor.load` makes a network of it again, in a process that has never seen the model's
        class: equal to `network`, bit for bit. A cap on bytes is a cap on this file, as it is
        without `varying`, unless the budget names another (``Budget(file=...)``).

        Args:
            path: Of the file, put in place in one step.
            varying: Dimensions of the input that may have any size beside the batch, as ``(3,)``
                for time, or by number of the input, ``{0: (3,)}``; what is written is compared with
                the model on other sizes first. After `Int8` there are none: integers are made for
                one size.

        Raises:
            TraceError: If the model cannot be written as a network, or not for any size there.
            ValueError: If it has an operation that cannot be stored, or no such dimension.
        """
        return container.write(self._varying(varying), storage.path_of(path))

    def _varying(self, varying: Varying | None) -> Network:
        if self.finite:
            check_stored(self.model)
        return to_network(self.model, self.example, varying).eval()

    @property
    def rows(self) -> tuple[int, ...] | None:
        """Rows of its input (mel bands) that the model reads, all that a front end need compute.

        None if `FrequencyMask` took none away.

        Raises:
            TraceError: If the model cannot be written as a network.
        """
        return rows_read(self.network)

    def export(
        self,
        path: str | os.PathLike[str],
        front_end: nn.Module | Features | None = None,
        waveform: Tensor | None = None,
        varying: Varying | None = None,
    ) -> None:
        """Write a file for a runtime, which the suffix of its path names.

        ``.onnx`` is for ONNX Runtime at its default settings and takes any batch size. After `Int8`
        its convolutions, sums and pools run as kernels of 8-bit integers. Needs the extra ``onnx``.

        ``.pte`` is a program for phones, run by XNNPACK: see `export_executorch`.

        ``.tflite`` is for TensorFlow Lite Micro on microcontrollers, after
        ``Int8(preset=presets.TFLM)``: integers alone, which compute there what `model` does, bit
        for bit. It takes one input at a time, channels last, and features alone: of a front end it
        says the settings (see `compressor.export.tflite.write`). Needs the extra ``tflite``.

        With a front end the file takes a waveform and gives what the model says. Then it should
        have no Fourier transform of PyTorch's in it (see `compressor.export.onnx.write`), but
        products, as `recipes.features.portable.PortableLogMel` has.

        Args:
            path: Of the file, on ``.onnx``, ``.pte`` or ``.tflite``; put in place in one step.
            front_end: Any module from waveforms, (batch, samples) or (batch, channel, samples), to
                the model's input (batch, channel, frequency, time), with all rows or with those of
                `rows` alone; None to leave it to the caller. For ``.tflite``
                `compressor.export.features.Features`, or a module that says them.
            waveform: One example, batch first, of the length that the model was trained on; None
                for `front_end.example_input_array`.
            varying: Dimensions of the input that may have any size, as for `write`; none with a
                front end.

        Raises:
            ImportError: If onnx and onnxscript, executorch, or flatbuffers is not installed.
            TraceError: If the model cannot be written as a network, or not for any size there.
            ValueError: If the front end makes another shape than the model takes, or there is no
                such dimension, no format has this suffix, or it cannot hold the network.
        """
        place = storage.path_of(path)
        write = FORMATS.get(place.suffix.lower())
        if write is None:
            raise ValueError(
                f"export({str(path)!r}): the suffix says the format, and {place.suffix!r} is none "
                f"of {', '.join(FORMATS)}: name the file so, or store the network for "
                "compressor.load with Result.write"
            )
        if varying and front_end is not None:
            raise ValueError(
                f"export(varying={varying!r}) with a front end, whose clips have one length: leave "
                "one of the two out"
            )
        write(self._varying(varying), place, front_end, waveform)

    def export_executorch(
        self,
        path: str | os.PathLike[str],
        front_end: nn.Module | None = None,
        waveform: Tensor | None = None,
    ) -> None:
        """Write an ExecuTorch program (.pte) for phones, run by XNNPACK; a batch of one.

        What runs as integers is said in `compressor.export.executorch.write`. Arguments and errors
        as in `export`, on any path; a front end must do without Fourier transforms. Needs the extra
        ``executorch``.
        """
        executorch.write(self.network, path, front_end, waveform)

    def firmware(self, directory: str | os.PathLike[str], inputs: Inputs | None = None) -> None:
        """Write a folder of C++ for TensorFlow Lite Micro, after ``Int8(preset=presets.TFLM)``.

        The network as an array, the resolver with its operators, the size of the arena, scale, zero
        and shape of inputs and outputs, a `main` to begin with, and test vectors: inputs, and the
        bytes that `model` says must come out, with a function that runs them on the device and
        prints the first difference. A README in it says what each file is.

        Args:
            directory: A new one is put in place in one step. In one that was written so before,
                `main.cc` and files that are not of this list, such as what was compiled there, are
                left alone, and all others are replaced; if that is broken off, ``sha256sum -c
                SHA256SUMS`` tells, and the same call again mends it.
            inputs: Numbers for test vectors as the model takes them, (vectors, ...), real ones at
                best, 1,000 vectors at most; a sequence of such tensors for several inputs. None for
                the example and three draws.

        Raises:
            ImportError: If flatbuffers is missing.
            TraceError: If the model cannot be written as a network.
            ValueError: If a `.tflite` file cannot hold it, inputs are no tensors of real numbers,
                have other shapes or are too many, or the folder holds files and was not written so
                before.
            OSError: If the folder cannot be written.
        """
        firmware.write(self.network, directory, inputs)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the model, how to rebuild it, and the report.

        ``model-*.safetensors`` holds the smaller model's state dict, ``model.json`` what
        `compressor.load` needs beside it, ``report.json`` and ``report.md`` the report. A model
        that is not of the original's class is stored as `write` does, in ``network.safetensors``.
        With matplotlib (extra ``plot``) ``layers.png`` is the picture in it.
        Every file is put in place in one step. What a module's `get_extra_state` returns is kept
        where it is tensors and plain data; a warning names the modules where it is not.

        Args:
            directory: Created when missing; an older result there is replaced.

        Raises:
            VerificationError: If the model was finite and holds NaN or infinity now.
        """
        if self.finite:
            check_stored(self.model)
        folder = storage.path_of(directory)
        self.report.save(folder)
        if not self.of_its_class:
            self.write(folder / NETWORK)
            for old in (folder / "model.json", *folder.glob("model-*.safetensors")):
                old.unlink(missing_ok=True)
            return
        tensors = stored(self.model)
        data = {
            "model": type(self.model).__name__,
            "structure": archive.pack(self.structure),
            "versions": dict(self.report.versions),
            "buffers": buffer_types(self.model),
            "extra": extras(self.model, tensors),
        }
        storage.write(folder, "model", tensors, data)
        (folder / NETWORK).unlink(missing_ok=True)


def load(
    path: str | os.PathLike[str], model: nn.Module | None = None, *, memory: float | None = None
) -> nn.Module:
    """The small model that `Result.write` or `Result.save` wrote.

    A file of `Result.write` may come from a stranger; `SECURITY.md` says what is promised of it.

    Args:
        path: A file of `Result.write`, or a directory of `Result.save`.
        model: For a directory, the original architecture, freshly built; left untouched. The result
            has its device and mode. Not looked at where a network was stored, as in a file.
        memory: Bytes that reading a file may take; default 256 MiB and 16 times its length. Raise
            it (``math.inf``: no bound) for a file that you trust and that holds nearly nothing but
            zeros, or whose results take more than a GiB at a time.

    Returns:
        For a file a `compressor.network.Network` in eval mode on the CPU; for a directory a smaller
        module of the same class. The saved weights, in their saved data type.

    Raises:
        FileNotFoundError: If nothing was saved there.
        ValueError: If a file is damaged, or `model` is not the architecture that was compressed.
    """
    if isinstance(path, nn.Module):
        raise ValueError("load takes the path first: load(path, model)")
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ValueError(
            f"load takes the path of a file of Result.write or a directory of Result.save, and "
            f"{brief(path)} is none"
        )
    place = Path(path)
    if (place / NETWORK).is_file():
        return container.read(place / NETWORK, memory)
    if place.is_dir():
        return _part_of(place, model)
    check_content(place)
    return container.read(place, memory)


def _part_of(directory: Path, model: nn.Module | None) -> nn.Module:
    """Load what is left of a model by a directory of `Result.save`."""
    check_directory(directory)
    if model is None:
        raise ValueError(
            f"{directory} is a directory of Result.save, which holds weights and no network: pass "
            "the original architecture, load(path, model), or load a file of Result.write"
        )
    check_model(model)
    tensors, data = storage.read(directory, "model")
    file = directory / "model.json"
    try:
        name, structure = archive.text(data["model"]), archive.unpack(data["structure"])
    except _DAMAGES as error:
        raise _damaged(file, error) from error
    wrong = archive.mismatches(model, structure.graph)
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(
            f"{directory} holds a compressed {name} and cannot become a part of this "
            f"{type(model).__name__}: {'; '.join(wrong[:5])}{more}. Build the model with the "
            "arguments it had when it was compressed"
        )
    if type(model).__name__ != name:
        warnings.warn(
            f"{directory} holds a compressed {name} and is loaded into a "
            f"{type(model).__name__}: the tensors fit, whether the two compute the same is not "
            "known",
            stacklevel=3,
        )
    try:
        return _filled(shrink(model, structure.graph, structure), tensors, data)
    except _DAMAGES as error:
        raise _damaged(file, error) from error


_WRONG = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
_DAMAGES = (*_WRONG, RuntimeError, MemoryError)
"""What comes of data that is not what was written."""


def _damaged(file: Path, error: Exception) -> ValueError:
    said = line(error)[:200]
    why = f"what it says makes no part of a model ({type(error).__name__}: {said})"
    return storage.damaged(file, why)


def _filled(small: nn.Module, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> nn.Module:
    saved = {name: t for name, t in tensors.items() if not name.startswith(f"{EXTRA}/")}
    missing = [name for name in stored(small) if name not in saved]
    if missing:
        raise ValueError(f"{len(missing)} tensors are not there, {missing[0]!r} for one")
    extra = {name: storage.restore(value, tensors) for name, value in data.get("extra", {}).items()}
    assign(small, saved)
    types: Mapping[str, str] = data.get("buffers", {})
    if not isinstance(types, dict):
        raise TypeError(f"data types of buffers are in no {type(types).__name__}")
    for name, buffer in small.named_buffers():
        if name in types:
            buffer.data = buffer.to(dtype_of(types[name]))
    for name, value in extra.items():
        small.get_submodule(name).set_extra_state(value)
    return small
