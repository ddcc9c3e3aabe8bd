"""Torch-Pruning on an `AudioTransformer`, with its options for attention as its examples use them.

Queries, keys and values are given with their number of heads (`num_heads`); what it leaves of them
is written into the attention's attributes, as its example for ViTs does after pruning. It removes
heads in one step only (a second step removes one head more, whatever the ratio), so that one ratio
is sought with which the network fits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch_pruning
from torch import Tensor, nn
from torch.nn import functional

from models import AudioTransformer
from models.audio_transformer import Attention

GRID = 128
"""Ratios that are tried, by halving: 0 to 1."""


@dataclass(frozen=True)
class Attempt:
    """One way to prune.

    Attributes:
        taylor: True for first-order Taylor importance, else group magnitude.
        heads: Share of the heads that go whole.
        isomorphic: True to rank alike groups together (G. Fang et al., ECCV 2024), else every group
            by itself.
        bottleneck: True to leave the residual trunk whole.
    """

    taylor: bool
    heads: float = 0.0
    isomorphic: bool = False
    bottleneck: bool = False

    @property
    def name(self) -> str:
        """The options in words."""
        words = ("Taylor" if self.taylor else "magnitude", "isomorphic" * self.isomorphic)
        heads = f"{self.heads:.0%} of the heads" if self.heads else ""
        return ", ".join(filter(None, (*words, heads, "bottleneck" * self.bottleneck)))


ATTEMPTS = tuple(
    Attempt(taylor, heads, isomorphic, bottleneck)
    for taylor in (False, True)
    for heads, isomorphic, bottleneck in (
        (0.0, False, False),
        (0.25, False, False),
        (0.5, False, False),
        (0.0, True, False),
        (0.0, False, True),
        (0.25, False, True),
    )
)


def pruned(
    model: AudioTransformer,
    attempt: Attempt,
    fits: Callable[[nn.Module], bool],
    data: Iterable[tuple[Tensor, Tensor]],
) -> AudioTransformer | None:
    """The largest network of an attempt that `fits`, found by halving the ratio; None if none does.

    Args:
        model: The dense network, which stays as it is.
        attempt: What to do.
        fits: Says of a network if it may be so large.
        data: Batches for the gradients of Taylor importance.
    """
    low, high, best = 0, GRID, None
    while high - low > 1:
        middle = (low + high) // 2
        tried = at_ratio(model, attempt, middle / GRID, data)
        if fits(tried):
            high, best = middle, tried
        else:
            low = middle
    return best


def at_ratio(
    model: AudioTransformer,
    attempt: Attempt,
    ratio: float,
    data: Iterable[tuple[Tensor, Tensor]],
) -> AudioTransformer:
    """A smaller copy, without this share of the channels of every group."""
    model = copy.deepcopy(model).eval()
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    projected = {part: x.heads for x in layers for part in (x.query, x.key, x.value)}
    ignored: list[nn.Module] = [model.classifier]
    if attempt.bottleneck:
        ignored += [model.patches, *(layer.output for layer in layers)]
        ignored += [block.mlp[-1] for block in model.blocks]
    importance = torch_pruning.importance
    score = importance.GroupTaylorImportance if attempt.taylor else (
        importance.GroupMagnitudeImportance
    )  # fmt: skip
    pruner = torch_pruning.pruner.BasePruner(
        model,
        model.example_input_array,
        importance=score(),
        global_pruning=attempt.isomorphic,
        isomorphic=attempt.isomorphic,
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        ignored_layers=ignored,
        num_heads=projected,
        prune_num_heads=attempt.heads > 0,
        head_pruning_ratio=attempt.heads,
        unwrapped_parameters=[
            (loose, 2) for loose in (model.positions, model.token) if loose is not None
        ],
        in_channel_groups={},
        out_channel_groups={},
    )
    if attempt.taylor:
        model.zero_grad()
        for x, y in data:
            functional.cross_entropy(model(x), y).backward()
    for group in pruner.step(interactive=True):
        group.prune()
    for layer in layers:
        layer.heads = pruner.num_heads[layer.query]
    return model
