"""Networks on the way from the dense one to the small one, kept to be judged at the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd  # the one class of all convolutions

import compressor
from compressor.budget import Cost
from compressor.counting.measuring import owned_parameters
from compressor.errors import CountError
from compressor.inputs.copies import private_copy
from compressor.network import Network, to_network
from compressor.network.file import container
from compressor.phases import Phase
from compressor.rules import of_year
from compressor.storage import read_json, sealed, write_bytes
from recipes.running.run_folder import RunFolder, differences, plain

if TYPE_CHECKING:
    from compressor.run.training import Training


@dataclass(frozen=True)
class Counts:
    """Counts of a network at a stage.

    Attributes:
        rule: Cost by the rule of the year's challenge.
        cost: Cost by `compressor.measure`.
        filters: Weights of convolutions and matrix products, and those of them not zero.
        others: Everything else that is learned, and what of it is not zero.
        fused: Cost by the rule with normalisation folded into the layer before it; None where
            that is not possible.
    """

    rule: Cost
    cost: Cost
    filters: tuple[int, int]
    others: tuple[int, int]
    fused: Cost | None = None

    def stored(self, *, filters: int, others: int) -> Cost:
        """Non-zero parameters at so many bytes each, those of filters and the others."""
        all_of, alive = zip(self.filters, self.others, strict=True)
        size = filters * alive[0] + others * alive[1]
        return Cost(sum(all_of), sum(alive), self.cost.macs, size)


@dataclass(frozen=True)
class Stage(Phase):
    """A phase that changes nothing and keeps the network as it is at this point of a schedule.

    The network travels to the end of the run by disk and not as a value: a run that is killed
    (`kill -9`) after this phase goes on behind it, in a process that never saw this network.

    Attributes:
        name: Name of the stage: "dense", "rows", "pruned".
        folder: Folder of `<name>.safetensors`, as `Result.write` makes it, and `<name>.json`.
        year: Year whose rule counts.
    """

    name: str
    folder: Path
    year: int

    lowers = frozenset[str]()

    def run(self, training: Training, part: int) -> None:
        """Write the network and what it costs, without touching the one that is trained."""
        del part
        session = training.session
        if session.fabric is None or session.fabric.is_global_zero:
            self.keep(session.model, session.example)

    def keep(self, model: nn.Module, example: tuple[torch.Tensor, ...]) -> None:
        """Write a network that no schedule has a part in, likewise."""
        model = private_copy(model).cpu().eval()
        example = tuple(x.cpu() for x in example)
        container.write(to_network(model, example), self.folder / f"{self.name}.safetensors")
        counts = count(model, example, self.year)
        file = self.folder / f"{self.name}.json"
        write_bytes(file, sealed(asdict(counts)))


def count(model: nn.Module, example: tuple[torch.Tensor, ...], year: int) -> Counts:
    """Counts of a network, by the year's rule and by ours."""
    filters, others = [0, 0], [0, 0]
    for module, name, parameter in owned_parameters(model):
        kind = filters if isinstance(module, _ConvNd | nn.Linear) and "weight" in name else others
        kind[0] += parameter.numel()
        kind[1] += int(parameter.count_nonzero())
    return Counts(
        rule=of_year(year).count(model, example),
        cost=compressor.measure(model, example),
        filters=(filters[0], filters[1]),
        others=(others[0], others[1]),
        fused=_fused(model, example, year),
    )


def _fused(model: nn.Module, example: tuple[torch.Tensor, ...], year: int) -> Cost | None:
    try:
        return replace(of_year(year), folded=True).count(model, example)
    except CountError:
        return None


def read_counts(folder: Path, name: str) -> Counts:
    """Counts that `Stage` wrote beside a network; ValueError if the file is damaged."""
    file = folder / f"{name}.json"
    said = read_json(file)
    try:
        return _counts(said)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file} is damaged ({type(error).__name__}: {error}): delete the folder of the run, "
            "and run the recipe again"
        ) from error


def _counts(said: Mapping[str, Any]) -> Counts:
    kinds = [kind for kind in ("rule", "cost", "fused") if said.get(kind) is not None]
    costs = {kind: Cost(**said[kind]) for kind in kinds}
    (filters, alive), (others, others_alive) = said["filters"], said["others"]
    numbers = [n for cost in costs.values() for n in astuple(cost) if n is not None]
    for number in (*numbers, filters, alive, others, others_alive):
        if type(number) is not int or number < 0:
            raise ValueError(f"{number!r} is no count")
    return Counts(**costs, filters=(filters, alive), others=(others, others_alive))


def read_network(folder: Path, name: str) -> Network:
    """The network that `Stage` kept, in evaluation mode."""
    return container.read(folder / f"{name}.safetensors")


def need_stage(
    run: RunFolder,
    config: object,
    after: Collection[str],
    *,
    members: int = 1,
    name: str = "dense",
    data: str | None = None,
) -> None:
    """Refuse a stage of another run that this run would not have come to by itself.

    Args:
        run: The other run.
        config: The settings of this one.
        after: Those of them that have no part in the stage, and may differ.
        members: Number of networks.
        name: Name of the stage.
        data: Digest of this run's data; None where it is not known yet.
    """
    file, advice = run.path / "config.json", f"Take the {name} network of another run, or train one"
    if not file.is_file():
        raise FileNotFoundError(
            f"{run.path} is no folder of a run, it has no config.json. {advice}"
        )
    wanted = {"config": plain(config)} | ({} if data is None else {"data": data})
    different = differences(file, wanted, [f"config.{setting}" for setting in after])
    if different:
        raise ValueError(f"{run.path} trained its {name} network otherwise: {different}. {advice}")
    for folder in (run.member(number, members) for number in range(members)):
        if not (folder.stages / f"{name}.json").is_file():
            raise FileNotFoundError(
                f"{folder.path} has not come to its {name} network: its command goes on where it "
                f"was. {advice}"
            )


def take_stage(model: nn.Module, folder: RunFolder, name: str) -> None:
    """Give a network the weights, in place, that another run's had at a stage.

    Raises:
        FileNotFoundError: If that run has not come to it.
        ValueError: If it is another network.
    """
    kept = read_network(folder.stages, name)
    tensors = {**dict(kept.named_parameters()), **dict(kept.named_buffers())}
    wanted = {name: t.shape for name, t in model.state_dict().items() if t.is_floating_point()}
    found = {name: t.shape for name, t in tensors.items() if t.is_floating_point()}
    if found != wanted:
        other = sum(found.get(name) != shape for name, shape in wanted.items())
        raise ValueError(
            f"{folder.path} has another network: {other} of the {len(wanted)} tensors of this one "
            "are not there, or of another shape. Take a run with the same width, depth and "
            "classes."
        )
    model.load_state_dict(tensors, strict=False)  # how many batches were seen is not kept
