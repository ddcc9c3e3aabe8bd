"""Unstructured pruning: the smallest single weights become zero and stay zero."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd  # of all convolutions, transposed or not

from compressor.errors import BudgetError
from compressor.graph.graph import Weight
from compressor.inputs.losses import Distill
from compressor.inputs.settings import check_number
from compressor.phases.gradual import Gradual
from compressor.run.file_size import affordable
from compressor.run.later import NOTHING, lowers
from compressor.run.phase import Phase
from compressor.surgery.masks import Masks, largest

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training


@dataclass(frozen=True)
class Unstructured(Gradual):
    """Set the smallest weights of all convolutions to zero, at once or gradually.

    Nothing becomes smaller in memory, and no MAC is saved on ordinary hardware: what falls is the
    number of non-zero parameters, by which some challenges count, and the size of the file. The
    zeros stay zero through every later phase, quantisation and export included.

    Source: the 2020 report (Kim et al., section 3.3: 60 % of all convolution weights, by magnitude,
    over the whole network) and the 2021 one (section 2.3: 89 %, at once); the gradual schedule is
    Zhu and Gupta 2017 (arXiv:1710.01878), equation 1. Neither report says how a count is rounded;
    with half to even, as `torch.nn.utils.prune` does, both papers' figures come out exactly.

    Attributes:
        amount: Share of the weights to remove, of all that `over` names, those that are zero
            already included; None for as few as the budget's caps on `nonzero` and `bytes` ask.
        per_layer: Remove the same share of every tensor, instead of the smallest of all.
        steps: Number of removals on the way to the amount.
        epochs: Epochs of training after every removal but the last.
        lr: Learning rate of those epochs.
        weight_decay: Weight decay of those epochs, on filters alone.
        distill: What those epochs learn from the dense network, beside the targets.
        over: Classes of modules whose `weight` is pruned; a tensor that several modules share is
            pruned, and counted, once.
    """

    amount: float | None = None
    per_layer: bool = False
    steps: int = 1
    epochs: int = 0
    lr: float = 1e-3
    weight_decay: float = 1e-2
    distill: Distill | None = None
    over: tuple[type[nn.Module], ...] = (_ConvNd,)

    def __post_init__(self) -> None:
        """Check the settings."""
        self.check_steps()
        if self.amount is not None:
            check_number("Unstructured", amount=self.amount)
            if self.amount >= 1:
                raise ValueError(
                    f"Unstructured(amount={self.amount!r}): must be a share of weights, below 1; "
                    "for 60 % write amount=0.6"
                )
        if not self.over or not all(isinstance(kind, type) for kind in self.over):
            raise ValueError(
                f"Unstructured(over={self.over!r}): must be a tuple of classes of modules such as "
                "(torch.nn.Conv2d, torch.nn.Linear)"
            )

    lowers = frozenset({"nonzero", "bytes"})
    makes_zeros = True

    @property
    def settles(self) -> frozenset[str]:
        """The caps that solvers before it can leave to it."""
        return self.lowers if self.amount is None else NOTHING

    def density_after(self, weight: Weight) -> Fraction:
        """The share that is left of a filter; a bound on a file's length counts on it."""
        every = self.over == (_ConvNd,)  # of which kind a weight is read, is not known here
        pruned = self.amount is not None and every and len(weight.dims) > 2
        return 1 - Fraction(self.amount or 0) if pruned else Fraction(1)

    @property
    def fixed(self) -> bool:
        """True where its settings alone say how much it removes."""
        return self.amount is not None

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:
        """Find out whether there is anything to prune, and whether that can be enough.

        Raises:
            BudgetError: If the budget says nothing of zeros, or asks for more than there can be.
            ValueError: If the model has none of the layers that are to be pruned.
        """
        tensors = self._tensors(session)
        if self.amount is None:
            self._check_caps(session)
        if not any("params" in lowers(phase) for phase in earlier):
            self._wanted(session, tensors)

    def remove(self, training: Training, remaining: int) -> None:
        """Zero all weights that are to go with one removal remaining, else a part."""
        session = training.session
        tensors = self._tensors(session)
        last = self._wanted(session, tensors)
        first = max(training.state.setdefault("alive", _alive(tensors)), last)
        over = 1 - (remaining - 1) / self.steps
        # Most weights go in the first removals, when the network can still make up for them.
        keep = last + round((first - last) * (1 - over) ** 3)
        mask(session.masks, tensors, keep, per_layer=self.per_layer)
        session.hold()

    def _tensors(self, session: Compression) -> dict[str, Tensor]:
        tensors = weights(session.model, self.over)
        if tensors:
            return tensors
        kinds = ", ".join(kind.__name__ for kind in self.over)
        raise ValueError(
            f"Unstructured finds no {kinds} with weights in a {type(session.given).__name__}: "
            "name the layers to prune, over=(torch.nn.Linear,) or the like"
        )

    def _wanted(self, session: Compression, tensors: Mapping[str, Tensor]) -> int:
        total = sum(w.numel() for w in tensors.values())
        if self.amount is not None:
            return total - round(self.amount * total)
        keep, caps = total, session.budget.caps
        if "nonzero" in caps:
            keep = caps["nonzero"] - _others(session.model, tensors)
        if "bytes" in caps:
            keep = min(keep, affordable(session.stored, caps["bytes"], tensors))
        if keep < len(tensors):
            others = _others(session.model, tensors)
            raise BudgetError(
                f"{session.budget} was asked of a {type(session.given).__name__} of which "
                f"Unstructured leaves {others:,} parameters alone (biases, norms and "
                f"others), and with them {max(keep, 0):,} weights of {len(tensors)} layers could "
                "stay, fewer than one each. Remove channels first (Prune), or prune more kinds of "
                "layers (over=)"
            )
        return min(keep, total)

    @staticmethod
    def _check_caps(session: Compression) -> None:
        if session.budget.nonzero is None and session.budget.bytes is None:
            raise BudgetError(
                f"Unstructured() was to remove as many weights as the budget asks, and "
                f"{session.budget} says nothing of non-zero parameters or bytes: pass "
                "Budget(nonzero=...), or the share to remove, Unstructured(amount=0.6)"
            )


def _others(model: nn.Module, tensors: Mapping[str, Tensor]) -> int:
    """Parameters that are not among some tensors; those that are zero now may not stay so."""
    return sum(p.numel() for n, p in model.named_parameters() if n not in tensors)


def weights(model: nn.Module, over: tuple[type[nn.Module], ...]) -> dict[str, Tensor]:
    """The `weight` of every module of some classes, each distinct tensor once, by its name."""
    names = {id(p): name for name, p in model.named_parameters()}
    found: dict[str, Tensor] = {}
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, over) and isinstance(weight, nn.Parameter):
            found[names[id(weight)]] = weight.detach()
    return found


def mask(masks: Masks, tensors: Mapping[str, Tensor], keep: int, *, per_layer: bool) -> None:
    """Mask all weights but the `keep` largest by magnitude.

    What is masked already stays so. Equal weights are kept in order of their tensors and places,
    and every tensor keeps one, so that no layer is cut through.

    Args:
        masks: Where the masks are; they only shrink.
        tensors: Weights by name.
        keep: Number that live; at least one for each tensor.
        per_layer: Every tensor keeps the same share.
    """
    sizes = [_score(masks, name, w) for name, w in tensors.items()]
    if per_layer:  # rounded down, so that the sum is never over the cap
        total = sum(map(len, sizes))
        chosen = [largest(s, max(1, math.floor(len(s) * keep / total))) for s in sizes]
    else:
        chosen = _everywhere(sizes, max(keep, len(sizes)))
    for (name, weight), live in zip(tensors.items(), chosen, strict=True):
        masks[name] = live.reshape(weight.shape)


def _score(masks: Masks, name: str, weight: Tensor) -> Tensor:
    """Magnitudes in one row; what is dead already comes after everything that lives."""
    size = weight.abs().double().flatten()
    live = masks.get(name)
    return size if live is None else size.masked_fill(~live.to(size.device).flatten(), -1.0)


def _everywhere(sizes: Sequence[Tensor], keep: int) -> list[Tensor]:
    """The largest of all tensors, the largest of each among them."""
    firm = [largest(s, 1) for s in sizes]
    raised = torch.cat([s.masked_fill(f, math.inf) for s, f in zip(sizes, firm, strict=True)])
    return list(largest(raised, keep).split([len(s) for s in sizes]))


def _alive(tensors: Mapping[str, Tensor]) -> int:
    return sum(int(torch.count_nonzero(w)) for w in tensors.values())
