"""The pictures of the documentation, drawn from what the library does: docs/pictures/.

    python docs/making/pictures.py

They show real runs on the first page's data and network, scikit-learn's digits, or on a small
residual network with random weights; the spectrogram is made up.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

import compressor
from compressor import Budget, FilterPruning, FineTune, Int8, Joint, Prune, Train, Unstructured
from compressor.storage import write_bytes

FOLDER = Path(__file__).parents[1] / "pictures"
TEAL, GREY, DARK, ORANGE = "#00897b", "#b0bec5", "#37474f", "#ef6c00"
STYLE = {
    "svg.hashsalt": "compressor", "svg.fonttype": "none", "font.size": 10, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": DARK, "text.color": DARK,
    "axes.labelcolor": DARK, "xtick.color": DARK, "ytick.color": DARK, "axes.axisbelow": True,
}  # fmt: skip

Draw = Callable[[Figure], None]


def data() -> tuple[Tensor, Tensor]:
    """Pictures (1797, 1, 8, 8) from 0 to 1, and their digits."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    return images, torch.tensor(digits.target)


def network() -> nn.Sequential:
    """The network of the first page, trained for four passes."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    for _ in range(4):
        for x, y in batches():
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


def batches() -> list[tuple[Tensor, Tensor]]:
    """Batches of 64 for training."""
    images, labels = data()
    return list(zip(images[:1000].split(64), labels[:1000].split(64), strict=True))


class Residual(nn.Module):
    """A residual network: two blocks on a trunk of 24 channels."""

    def __init__(self) -> None:
        """Layers by the names that the picture shows."""
        super().__init__()
        self.stem = nn.Conv2d(1, 24, 3, padding=1)
        self.a1, self.a2 = nn.Conv2d(24, 48, 3, padding=1), nn.Conv2d(48, 24, 3, padding=1)
        self.b1, self.b2 = nn.Conv2d(24, 48, 3, padding=1), nn.Conv2d(48, 24, 3, padding=1)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10) of pictures (batch, 1, height, width)."""
        x = self.stem(x)
        x = x + self.a2(self.a1(x).relu())
        x = x + self.b2(self.b1(x).relu())
        return self.head(x.mean((2, 3)))


def rates(figure: Figure) -> None:
    """Warm-up and half a cosine, of `Train` and `FineTune`."""
    axes = figure.add_subplot()
    over = np.linspace(0, 1, 400)
    for phase, colour in ((Train(), GREY), (FineTune(), TEAL)):
        y = [phase.rate(x) for x in over]
        label = f"{type(phase).__name__}(): {phase.epochs} epochs"
        axes.plot(over * phase.epochs, y, color=colour, lw=2, label=label)
    axes.set(xlabel="epoch", ylabel="share of the learning rate", xlim=(0, 60), ylim=(0, 1.05))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def prune(figure: Figure) -> None:
    """Channels of every axis of a residual network at two budgets."""
    torch.manual_seed(0)
    model, x = Residual(), torch.randn(1, 1, 8, 8)
    graph = compressor.trace(model, x)
    scores = compressor.importance.frobenius(graph, dict(model.named_parameters()))
    cost = compressor.measure(model, x)
    free = [axis for axis in graph.axes if not axis.frozen and axis.size > 1]
    names = [", ".join(axis.layers) or axis.name for axis in free]
    axes = figure.add_subplot()
    place = np.arange(len(free))
    bars = [("before", [a.size for a in free], GREY)]
    for share, colour in ((0.5, TEAL), (0.2, ORANGE)):
        budget = Budget(params=int(share * cost.params), macs=int(share * cost.macs))
        found = compressor.allocate(graph, scores, budget)
        width = dict(zip((a.name for a in graph.axes), found.widths.tolist(), strict=True))
        bars.append((f"{share:.0%} of parameters and MACs", [width[a.name] for a in free], colour))
    for k, (label, widths, colour) in enumerate(bars):
        drawn = axes.bar(place + 0.27 * (k - 1), widths, 0.25, color=colour, label=label)
        axes.bar_label(drawn, fontsize=8)
    axes.set_xticks(place, names)
    axes.set(ylabel="channels", ylim=(0, 56))
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))


def zeros(figure: Figure, before: Tensor, after: Tensor) -> None:
    """Two matrices of weights side by side, zeros in white."""
    most = float(before.detach().abs().max())
    for k, (title, weight) in enumerate((("before", before), ("after", after))):
        axes = figure.add_subplot(1, 2, k + 1)
        shown = np.ma.masked_equal(weight.detach().numpy(), 0)
        axes.imshow(
            shown, aspect="auto", cmap="BrBG", vmin=-most, vmax=most, interpolation="nearest"
        )
        axes.set(title=title, xticks=[], yticks=[], xlabel="inputs and taps", ylabel="filters")


def unstructured(figure: Figure) -> None:
    """Part of the second convolution, as it was and with 60 % of all weights zero."""
    model = network()
    phase = Unstructured(amount=0.6)
    found = compressor.fit(
        model, budget=Budget(nonzero="19k"), example=data()[0][:1], schedule=[phase]
    )
    zeros(figure, model[3].weight.flatten(1)[:32, :72], found.model[3].weight.flatten(1)[:32, :72])


def filters(figure: Figure) -> None:
    """Filters left of each layer of a residual network under one threshold."""
    torch.manual_seed(0)
    model, x = Residual(), torch.randn(1, 1, 8, 8)
    cost = compressor.measure(model, x)
    budget = Budget(params=cost.params // 2)
    schedule = [FilterPruning(allocator="threshold")]
    result = compressor.fit(model, budget=budget, example=x, schedule=schedule)
    axes = figure.add_subplot()
    names = ["stem", "a1", "a2", "b1", "b2"]
    for column, name in enumerate(names):
        before = model.get_submodule(name).weight.shape[0]
        weight = result.model.get_submodule(name).weight
        alive = int((weight.flatten(1) != 0).any(1).sum())
        axes.bar(column, before, 0.7, color=GREY)
        axes.bar(column, alive, 0.7, color=TEAL)
        axes.text(column, before + 0.5, f"{alive} of {before}", ha="center", va="bottom")
    axes.set_xticks(range(5), names)
    axes.set(ylabel="filters", ylim=(0, 54), xlim=(-0.6, 6.8))
    for label, colour in (("filters left", TEAL), ("filters gone", GREY)):
        axes.bar(0, 0, color=colour, label=label)
    axes.legend(frameon=False, loc="upper right")


def frequency(figure: Figure) -> None:
    """A made-up spectrogram, and its loudest rows: what it looks like, not what is chosen."""
    time, band = np.meshgrid(np.linspace(0, 1, 120), np.arange(48))
    sweep = np.exp(-(((band - 8 - 24 * time) / 2.5) ** 2)) + np.exp(-(((band - 36) / 1.5) ** 2))
    noise = np.random.default_rng(0).normal(0, 0.05, sweep.shape)
    kept = np.sort(np.argsort(sweep.mean(1))[-36:])
    rest = np.ma.masked_all(sweep.shape)
    rest[kept] = (sweep + noise)[kept]
    for k, (title, shown) in enumerate((("48 rows", sweep + noise), ("36 of them", rest))):
        axes = figure.add_subplot(1, 2, k + 1)
        axes.imshow(shown, origin="lower", aspect="auto", cmap="viridis", interpolation="nearest")
        axes.set(title=title, xlabel="time", ylabel="mel band", xticks=[])


def joint(figure: Figure) -> None:
    """Density and bits that `Joint` gives every tensor under 6 KiB."""
    schedule = [Joint(), Int8(epochs=0)]
    model, x = network(), data()[0][:1]
    result = compressor.fit(model, batches(), budget=Budget(bytes="5KiB"), schedule=schedule)
    axes = figure.add_subplot()
    names, rows = [], []
    for name, tensor in result.model.state_dict().items():
        if tensor.dtype == torch.int8 and tensor.ndim > 1:
            levels = int(tensor.abs().max())
            bits = int(np.ceil(np.log2(levels + 1))) + 1
            rows.append((tensor.numel(), float((tensor != 0).double().mean()), bits))
            names.append(name)
    del x
    for k, (count, density, bits) in enumerate(rows):
        axes.barh(k, 1, color="#eceff1", height=0.6)
        axes.barh(k, density, color=TEAL, height=0.6)
        text = f"{density:.0%} of {count:,} weights stay, {bits} bits each"
        axes.text(0, k - 0.34, text, va="bottom", fontsize=9)
    axes.set_yticks(range(len(rows)), [f"layer {k + 1}" for k in range(len(rows))])
    axes.set(xlabel="share of the layer's weights", xlim=(0, 1), ylim=(len(rows) - 0.5, -0.8))


def half(figure: Figure) -> None:
    """The numbers of 16 bits near zero are dense, far from it sparse."""
    axes = figure.add_subplot()
    every = torch.arange(0, 0x7C00, dtype=torch.int32).to(torch.int16).view(torch.float16).double()
    gap = every[1:] - every[:-1]
    axes.loglog(every[1:].numpy(), gap.numpy(), color=TEAL, lw=2)
    axes.axvline(65504, color=ORANGE, ls="--")
    axes.text(5e4, 1e-7, "largest: 65,504", ha="right", color=ORANGE)
    axes.set(xlabel="weight", ylabel="distance to the next number", xlim=(1e-7, 2e5))
    axes.grid(alpha=0.3)


def int8(figure: Figure) -> None:
    """Weights of a filter as they were, and rounded to grids of 8 and of 3 bits."""
    weight = network()[3].weight[0].detach().flatten()[:48]
    axes = figure.add_subplot()
    axes.plot(weight.numpy(), "o", color=GREY, label="float32", ms=7)
    for bits, colour, mark in ((8, TEAL, "+"), (3, ORANGE, "x")):
        most = 2 ** (bits - 1) - 1
        scale = float(weight.abs().max()) / most
        rounded = (weight / scale).round() * scale
        axes.plot(rounded.numpy(), mark, color=colour, label=f"{bits} bits", ms=7)
        if bits == 3:
            for level in range(-most, most + 1):
                axes.axhline(level * scale, color=ORANGE, alpha=0.2, lw=1)
    axes.set(xlabel="weights of one filter", ylabel="value", xticks=[])
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.14))


def repair(figure: Figure) -> None:
    """Distance of outputs to the dense network's, as parts of how they vary."""
    model, images = network(), data()[0]
    axes = figure.add_subplot()
    shares = (0.7, 0.5, 0.35, 0.25)
    cost = compressor.measure(model, images[:1])
    found = []
    for share in shares:
        budget = Budget(params=int(share * cost.params))
        schedule = [Prune(method="uniform", importance=compressor.importance.frobenius)]
        result = compressor.fit(model, images[:256], budget=budget, schedule=schedule)
        found.append(result.report.shrinks[0].repaired)
    place = np.arange(len(shares))
    for k, (label, name, colour) in enumerate((
        ("as cut", "before", GREY), ("norms that follow", "normed", ORANGE),
        ("repaired", "after", TEAL),
    )):  # fmt: skip
        heights = [getattr(one, name) for one in found]
        axes.bar(place + 0.27 * (k - 1), heights, 0.25, color=colour, label=label)
    axes.set_xticks(place, [f"{share:.0%} of the parameters" for share in shares], fontsize=9)
    axes.set(ylabel="squared distance to the\ndense network's outputs")
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))


def distill(figure: Figure) -> None:
    """What a teacher says of one picture, at two temperatures."""
    images, _ = data()
    model = network()
    with torch.no_grad():
        logits = model(images[1000:1200])
    best = logits.softmax(1).max(1).values
    unsure = logits[int((best - 0.7).abs().argmin())]
    for k, temperature in enumerate((1, 3)):
        axes = figure.add_subplot(1, 2, k + 1)
        axes.bar(range(10), (unsure / temperature).softmax(0).numpy(), color=TEAL)
        axes.set(title=f"temperature {temperature}", ylim=(0, 1), xticks=range(10))
        axes.set(xlabel="digit", ylabel="probability" if k == 0 else "")


def budget(figure: Figure) -> None:
    """Costs before and after as a share of each cap."""
    model, x = network(), data()[0][:1]
    caps = Budget(params="8k", macs="200k")
    report = compressor.fit(model, budget=caps, example=x).report
    axes = figure.add_subplot()
    for k, (name, cap) in enumerate(caps.caps.items()):
        before, after = getattr(report.before, name), getattr(report.after, name)
        axes.barh(k, before / cap, color=GREY, height=0.5)
        axes.barh(k, after / cap, color=TEAL, height=0.5)
        text = f"{before:,} → {after:,}"
        axes.text(before / cap + 0.03, k, text, va="center")
    axes.axvline(1, color=ORANGE, ls="--")
    axes.text(1.02, -0.5, "cap", color=ORANGE, va="bottom")
    axes.set_yticks(range(len(caps.caps)), list(caps.caps))
    axes.set(xlabel="parts of the cap", xlim=(0, 3.3), ylim=(-0.6, 1.5))


DRAWN: dict[str, tuple[Draw, tuple[float, float]]] = {
    "rates": (rates, (7, 2.8)), "prune": (prune, (7, 3)), "unstructured": (unstructured, (7, 2.4)),
    "filters": (filters, (7, 3)), "frequency": (frequency, (7, 2.6)), "joint": (joint, (7, 2.6)),
    "half": (half, (7, 2.8)), "int8": (int8, (7, 2.8)), "repair": (repair, (7, 3)),
    "distill": (distill, (7, 2.6)), "budget": (budget, (7, 1.9)),
}  # fmt: skip
"""Pictures by their names, with inches."""


def badges() -> str:
    """Three labels as one picture."""
    parts, x = list[str](), 0
    for name, value, colour in (
        ("python", "3.11 or newer", TEAL), ("licence", "MIT", TEAL), ("status", "alpha", ORANGE),
    ):  # fmt: skip
        left, right = 7 * len(name) + 12, 7 * len(value) + 12
        parts.append(
            f'<rect x="{x}" width="{left}" height="20" fill="{DARK}"/>'
            f'<rect x="{x + left}" width="{right}" height="20" fill="{colour}"/>'
            f'<text x="{x + left / 2}" y="14">{name}</text>'
            f'<text x="{x + left + right / 2}" y="14">{value}</text>'
        )
        x += left + right + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{x}" height="20" '
        'font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" fill="#fff" '
        f'text-anchor="middle">{"".join(parts)}</svg>\n'
    )


def svg(draw: Draw, inches: tuple[float, float]) -> bytes:
    """A picture as SVG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def main(names: list[str]) -> None:
    """Draw all, or those named."""
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for name in names or DRAWN:
        write_bytes(FOLDER / f"{name}.svg", svg(*DRAWN[name]))
    if not names:
        write_bytes(FOLDER / "badges.svg", badges().encode())
        caps = Budget(params="8k", macs="200k")
        result = compressor.fit(network(), budget=caps, example=data()[0][:1])
        result.report.plot(FOLDER / "report.png")


if __name__ == "__main__":
    main(sys.argv[1:])
