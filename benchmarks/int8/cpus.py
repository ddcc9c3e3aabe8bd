"""Outputs of an ONNX file on a CPU that this machine does not have, by emulation.

QEMU's user mode (package `qemu-user`) runs this Python and ONNX Runtime as on a Haswell: AVX2, no
VNNI. ONNX Runtime takes the kernels that it would take there, those that add pairs of products in
16 bits among them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

EMULATOR, CPU = "qemu-x86_64", "Haswell"
PROGRAM = """
import sys
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
(name,) = (value.name for value in session.get_inputs())
clips = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], numpy.concatenate(
    [session.run(None, {name: clips[n : n + 10]})[0] for n in range(0, len(clips), 10)]
))
"""


def said_without_vnni(content: bytes, clips: Tensor) -> Tensor:
    """Compute a file's outputs for clips (clips, classes), at default settings on one thread."""
    python = str(Path(sys.executable).resolve())
    paths = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory() as folder:
        model, given, said = (Path(folder) / name for name in ("m.onnx", "x.npy", "y.npy"))
        model.write_bytes(content)
        np.save(given, clips.numpy())
        subprocess.run(  # noqa: S603 - a fixed program on files made here
            [EMULATOR, "-cpu", CPU, python, "-c", PROGRAM, str(model), str(given), str(said)],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            check=True,
            stderr=subprocess.PIPE,
        )
        return torch.from_numpy(np.load(said))
