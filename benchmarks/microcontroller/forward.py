"""Training for TensorFlow Lite Micro against its arithmetic: what one rounding in place of two is.

Training rounds every value once; the device twice, with scales of 16 bits. The dense networks of
`benchmarks.microcontroller.norms` are calibrated, and say classes of the test clips both ways. What
a step of training takes is measured with the forward pass as it is, and with the device's outputs
in the place of its own, the gradient passing straight through.

    python -m benchmarks.microcontroller.norms --run  # the networks, first
    python -m benchmarks.microcontroller.forward      # some minutes; the table, into forward.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.common.command import parser, started
from benchmarks.common.records import SEEDS
from benchmarks.common.tables import listed, page, publish, table, versions, with_error
from benchmarks.microcontroller.norms import FULL, dense
from compressor.network import Network, to_network
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.presets import TFLM

BATCH = 64
STEPS = 4


def prepared(seed: int, x: Tensor) -> Network:
    """A dense network with scales chosen from clips."""
    model = dense(seed, FULL).eval()
    made = prepare(to_network(model, (model.example_input_array,)), TFLM)
    calibrate(made, [(part,) for part in x[: 4 * BATCH].split(BATCH)])
    return made.eval()


def own(network: Network, x: Tensor) -> Tensor:
    """The outputs of training's forward pass."""
    return network(x)


def devices(network: Network, x: Tensor) -> Tensor:
    """The device's, with the gradient of training's."""
    found = network(x)
    with torch.no_grad():
        reference = convert(network)(x)
    return found + (reference - found).detach()


def seconds(network: Network, x: Tensor, y: Tensor, forward: Callable[..., Tensor]) -> float:
    """CPU seconds of a step of training on a batch, after a first one."""
    times: list[float] = []
    for _ in range(STEPS + 1):
        began = process_time()
        network.zero_grad()
        cross_entropy(forward(network, x), y).backward()
        times.append(process_time() - began)
    return float(np.mean(times[1:]))


def judging(network: Network, x: Tensor) -> float:
    """CPU seconds of an answer to a batch, after a first one."""
    times: list[float] = []
    for _ in range(STEPS + 1):
        began = process_time()
        with torch.no_grad():
            network(x)
        times.append(process_time() - began)
    return float(np.mean(times[1:]))


def row(seed: int) -> list[float]:
    """Classes alike, accuracy in training's arithmetic and the device's, and what a step takes."""
    (x, labels), (given, wanted) = FULL.clips("test"), FULL.clips("train")
    network = prepared(seed, given)
    reference = convert(network)
    with torch.no_grad():
        each = [
            [model(part).argmax(1) for part in x.split(BATCH)] for model in (network, reference)
        ]
    one, other = map(torch.cat, each)
    shares = ((one == other), (one == labels), (other == labels))
    batch = given[:BATCH], wanted[:BATCH]
    slower = seconds(network, *batch, devices) / seconds(network, *batch, own)
    validating = judging(reference, batch[0]) / judging(network, batch[0])
    return [*(100 * float(share.double().mean()) for share in shares), slower, validating]


HEAD = ("same class", "accuracy, training's rounding", "accuracy, the device's", "difference",
        "a step with the device's forward pass, in steps without",
        "validation in the device's arithmetic, in times of training's")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the page."""
    started(parser(__doc__), arguments)
    alike, own_points, device_points, slower, validating = np.array([row(seed) for seed in SEEDS]).T
    text = page(
        "# Training's rounding and the device's",
        f"{versions()}. BC-ResNet-ASC on speech commands, calibrated and not trained for integers, "
        "in the arithmetic of training (a rounding for each value) and in that of TensorFlow Lite "
        "Micro (two, scales of 16 bits), on all test clips, in percent. A step: CPU seconds of "
        f"forward and backward pass on {BATCH} clips, one thread, relative. Mean (standard error) "
        f"over seeds {listed(SEEDS)}.",
        table(HEAD, [[
            with_error(alike, ".1f"), with_error(own_points, ".1f"),
            with_error(device_points, ".1f"), with_error(device_points - own_points),
            with_error(slower, ".1f"), with_error(validating, ".1f"),
        ]]),
    )  # fmt: skip
    publish(text, Path(__file__).with_suffix(".md"))


if __name__ == "__main__":
    main()
