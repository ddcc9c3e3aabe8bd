"""Rounds of training in which what was removed may come back, before the cut that counts.

In every round some units are chosen as they would be in the end, an epoch is trained, and all units
are scored anew, those that were out included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from benchmarks.accuracy.contenders import caps
from benchmarks.accuracy.grounds import NETS, USUAL, labelled, loader
from benchmarks.accuracy.keywords import ANYTHING
from compressor import FineTune, Prune, Recalibrate, Session, fit
from compressor.graph.structure import Structure
from compressor.inputs.losses import cross_entropy
from compressor.inputs.tensors import named_tensors
from compressor.run.calibration import recalibrate
from compressor.run.phase import Phase
from compressor.run.rates import constant
from compressor.surgery.embedding import embed

Round = Callable[[nn.Module, str, str, Prune, int], nn.Module]
"""(dense network, its name, budget, way to choose units, seed) -> the dense network after it."""


def dormant(whole: nn.Module, net: str, budget: str, prune: Prune, seed: int) -> nn.Module:
    """Train the small network for an epoch, and put it back among what was removed.

    Units that are out keep their weights, as in Y. Guo et al., "Dynamic Network Surgery" (NIPS
    2016), where single weights do.
    """
    session = chosen(whole, net, budget, prune, seed)
    structure = session.structure
    small = _trained(session.finish().model, net, seed, Recalibrate())
    return _seen(embed(whole, structure, small), net, seed)


def soft(whole: nn.Module, net: str, budget: str, prune: Prune, seed: int) -> nn.Module:
    """Set the filters of what would be removed to zero, and train the dense network for an epoch.

    Y. He et al., "Soft Filter Pruning" (IJCAI 2018), section 3.2. Between a norm whose shift is
    negative and a rectifier a filter of zeros gets no gradient, and does not come back.
    """
    with chosen(whole, net, budget, prune, seed) as session:
        zeroed = silenced(whole, session.structure)
    return _seen(_trained(zeroed, net, seed), net, seed)


def silenced(whole: nn.Module, structure: Structure) -> nn.Module:
    """The network with zeros for the filters that a structure removes, changed in place."""
    tensors = dict(named_tensors(whole))
    with torch.no_grad():
        for name, weight in structure.graph.weights.items():
            if weight.out_dim is not None:
                gone = torch.from_numpy(~weight.dims[weight.out_dim].alive(structure.keep))
                tensors[name].transpose(0, weight.out_dim)[gone] = 0
    return whole


def chosen(whole: nn.Module, net: str, budget: str, prune: Prune, seed: int) -> Session:
    """A session in which units were removed, and nothing was changed of what stays."""
    prune = replace(prune, repair=False, fold=False)
    data = labelled(net, seed)
    return Session(whole.eval(), budget=caps(net, budget), data=data, prune=prune)


def _trained(model: nn.Module, net: str, seed: int, *before: Phase) -> nn.Module:
    """A network after an epoch at the rate of the dense training."""
    rate = NETS[net].training.lr or USUAL
    tune = FineTune(1, rate, warmup=0.25, decay=constant)
    data = loader(net, seed)
    return fit(
        model.train(), data, budget=ANYTHING, schedule=[*before, tune], seed=seed, verify=False
    ).model


def _seen(whole: nn.Module, net: str, seed: int) -> nn.Module:
    """A network whose norms have seen the clips that it is scored on."""
    recalibrate(whole, labelled(net, seed), cross_entropy)
    return whole.eval()
