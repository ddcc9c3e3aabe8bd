"""`fit`: a model, a budget and maybe data in; a smaller model with a proof out. `sweep`: many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from compressor.budget import Budget, required
from compressor.graph.keep import names_of
from compressor.graph.own import operations_of
from compressor.graph.signature import Operation
from compressor.inputs import randomness
from compressor.inputs.arguments import check_directory, check_fabric, check_functions, check_seed
from compressor.inputs.batches import Batch
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example
from compressor.inputs.losses import Loss, loss_of
from compressor.inputs.sources import check_source
from compressor.inputs.unlabelled import Unlabelled
from compressor.phases.beginning import identity_of, started
from compressor.phases.int8 import Int8
from compressor.phases.joint import Joint
from compressor.phases.order import check_order
from compressor.phases.prune import Prune
from compressor.phases.repairing import Repair
from compressor.phases.schedule import (
    check_labelled,
    check_reachable,
    phases_of,
)
from compressor.phases.settings import epochs_of, rate_known
from compressor.phases.train import FineTune, Recalibrate
from compressor.quantization.presets import ORT, TFLM, Preset
from compressor.reports.certificate import certified
from compressor.reports.result import Result
from compressor.reports.sweeps.asked import identity_of as sweep_identity
from compressor.reports.sweeps.asked import making_of
from compressor.reports.sweeps.plan import Method, Models
from compressor.reports.sweeps.running import swept
from compressor.reports.sweeps.sweep import Sweep
from compressor.run.checkpoint import Checkpoint
from compressor.run.claim import claimed
from compressor.run.compression import Compression
from compressor.run.course import train
from compressor.run.file_size import artefact_of
from compressor.run.history import Epoch, Step
from compressor.run.optimizers import OptimizerFactory, adamw
from compressor.run.phase import Phase
from compressor.run.progress import Bar
from compressor.run.telling import Told, printed
from compressor.run.tflite_size import Tflite
from compressor.run.training import Compiler, Training
from compressor.run.unfinished import check_given

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from compressor.rules import Rule


def fit(
    model: nn.Module,
    data: Iterable[Batch] | None = None,
    *,
    budget: Budget | Rule | None = None,
    schedule: Sequence[Phase] | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    loss: Loss | None = None,
    optimizer: OptimizerFactory = adamw,
    val: Iterable[Batch] | Callable[[nn.Module], float] | None = None,
    example: Example | None = None,
    keep: Sequence[str] = (),
    release: Sequence[str] = (),
    operations: Sequence[Operation] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    fabric: Fabric | None = None,
    compiler: Compiler | None = None,
    seed: int = 0,
    verify: bool = True,
    progress: bool | None = None,
    on_epoch: Callable[[Sequence[Epoch]], object] | None = None,
    on_step: Callable[[Step], object] | None = None,
) -> Result:
    """Bring a convolutional network under a budget.

    Without data the network is pruned at once. With inputs alone, some hundreds, it is pruned by
    what repair leaves (`compressor.repair`), of several candidates the one whose outputs are
    nearest to the dense network's, and repaired: no labels, no training. With labelled data
    candidates are compared by their loss (`compressor.allocation.candidates`), and what is left is
    repaired; its BatchNorm statistics are estimated anew, and it is fine-tuned for 30 epochs, at a
    rate that is found for it. The model given is never changed; neither are the caller's global
    random states, nor PyTorch's switches. With equal arguments on a CPU the result is equal bit for
    bit.

    Dropout, samplers and augmentations draw from the generators of the process, which `seed` seeds
    for the run. So a run has them, and PyTorch's switches, to itself: of several calls in threads
    of one process each waits for the one before it, and so does `compressor.measure` and whatever
    else runs a model here; every call gives the bits that it gives alone. For several at a time
    take processes. What a run calls (`loss`, `val`, `on_epoch`, the loader) may call the library
    itself, in the same thread; a thread that it starts for that and joins is refused. One that is
    waited for by other means (an event, a queue) is not seen, and both wait for ever.

    Args:
        model: Any network that `compressor.trace` understands.
        data: A loader (or list) of batches, read once an epoch: pairs (inputs, targets), inputs
            (batch, ...) or a tuple of several; anything else with a `loss` that takes it. Inputs
            alone: batches that are a tensor (or hold one and nothing else), one tensor of all
            inputs, or anything with ``loss=Unlabelled()``. Several processes divide a DataLoader,
            or what has a method ``share(rank, world)``.
        budget: Hard caps, or a year's rule (`compressor.rules`), which has some.
        schedule: Phases; by default ``[Prune()]`` without data or labels and
            ``[Prune(), Recalibrate(), FineTune(epochs=30)]`` with data. Under a cap on bytes these
            are ``[Joint(), Recalibrate(), FineTune(epochs=30), Int8()]``, which divides the bytes
            between width, density and bits and returns a network of integers
            (``[Joint(), Repair(), Int8(epochs=0)]`` without labels), with `Prune` in the place of
            `Joint` where the cap is on a ``.tflite`` or ``.onnx``. Under one on RAM or on a
            ``.tflite``, ``Int8(preset=presets.TFLM)`` ends both. Gradual
            pruning is ``Prune(steps=5, epochs=2)``, a teacher ``FineTune(distill=Distill())``.
        epochs: Length of the fine-tune of the default schedule, 30 unless said. In a schedule of
            one's own write ``FineTune(epochs=...)``.
        lr: The learning rate that the model was trained with (its highest, for the optimiser and
            the batch size used here). Phases that look for a rate, as ``FineTune()`` does, look
            around it; without, around that of a first ``Train(lr=...)``, or from 5e-4 to 8e-3.
        loss: Called as ``loss(model, batch)``; cross entropy by default. A loss of torch's own,
            such as ``torch.nn.MSELoss()``, is called with (model(inputs), targets), and so is any
            other function of the two as ``Criterion(function)``.
        optimizer: Called as ``optimizer(groups, lr=..., weight_decay=...)``: a class of
            `torch.optim` or a `functools.partial` of one.
        val: A loader whose accuracy, or a function of the model whose value, is logged after every
            epoch; the report has a loader's before and after, too. It decides nothing unless
            ``FineTune(select=True)`` asks for the best epoch: the last epoch is returned.
        example: An input with the batch first; by default ``model.example_input_array``, else what
            the loss calls the model with on the first batch of the data.
        keep: Names of layers that lose no channel.
        release: Names of layers that may lose channels though their weights are not trained
            (``requires_grad=False``); else such layers stay whole. See `compressor.trace`.
        operations: Operators of one's own in the model, each by its signature
            (`compressor.Operation`); others that the library does not know hold what they touch.
        checkpoint: A directory. A run that was killed goes on from there when the same call is
            made again, and ends in the same bits (on a CPU, in one process, if the data set draws
            from the global generators or from its loader's alone).
        fabric: Devices, mixed precision and several processes, through Lightning Fabric.
        compiler: Function that makes the network faster before it is trained, and again after
            every change of its shapes: ``torch.compile``, or a `functools.partial` of it. Not of
            the network that `Int8` trains. Rounding then differs. For long trainings on a GPU,
            where it has not been measured yet.
        seed: Seed of all random generators for the run.
        verify: Check that every smaller model computes what its masked original does.
        progress: Show a bar; by default where stderr is a terminal. Where it is none, a line for
            every phase and every epoch is printed there, with the time that is left; False for
            neither. The lines are records of ``logging.getLogger("compressor")``, level INFO: where
            logging is set up they go there alone, whatever `progress` is.
        on_epoch: Called with the log so far, one entry an epoch, after every epoch in the first
            process; a resumed run's log begins with the epochs before.
        on_step: Called after every step of the optimiser in the first process, with what it was
            (`compressor.run.history.Step`: phase, epoch, step, loss, learning rate).

    Raises:
        BudgetError: If there is no budget, or no structure meets it.
        TraceError: If the model cannot be written as a graph.
        ValueError: If there is no example, the data is empty or does not fit the model, a phase
            needs data and there is none, or an argument is of the wrong kind.
        TrainingError: If the loss is not finite or a label out of range while training, or `val`
            returns no number.
        ResumeError: If the checkpoint belongs to another run, to one that is going on, or is
            damaged.
        VerificationError: If the smaller model is not what was planned.
    """
    check_given(model)
    if isinstance(data, Tensor) and data.ndim > 1:
        data = data.split(64)
    if data is not None:
        check_source(data)
    budget = required(budget, "fit")
    check_functions(on_epoch, compiler, val, on_step)
    check_fabric(fabric)
    check_seed(seed)
    if checkpoint is not None:
        check_directory(checkpoint)
    keep, release = names_of(keep), names_of(release, "release")
    operations = operations_of(operations)
    given = {"data": data is not None, "val": val is not None}
    planned = partial(_planned, schedule, budget, epochs, lr, **given)
    check_order(planned(loss_of(loss))[0])
    if fabric is not None:
        model = fabric.to_device(private_copy(model))
    first = fabric is None or fabric.is_global_zero
    # The processes of one run share a directory, and the first one has it for all of them.
    owned = claimed(checkpoint) if first and checkpoint is not None else nullcontext()
    with (
        owned,
        randomness.preserved(),
        Bar(enabled=first and progress is not False) as bar,
        printed(shown=first and progress is not False and not bar.shown),
    ):
        randomness.seed_everything(seed)
        start = started(model, data, val, planned, loss, optimizer, fabric)
        batches, phases = start.batches, start.phases
        told = Told([phase.passes for phase in phases], quiet=not first)
        bar.begin(f"Trace {type(model).__name__}", None)
        told.begin(f"Trace {type(model).__name__}")
        session = Compression(
            model, budget=budget, example=example, data=batches and batches.whole,
            loss=start.loss, keep=keep, release=release, operations=operations, verify=verify,
            fabric=fabric,
        )  # fmt: skip
        check_reachable(session, phases)
        training = Training(
            session, batches, val=start.judge, optimizer=optimizer, fabric=fabric,
            compiler=compiler, bar=bar, told=told, lr=start.known,
            on_epoch=on_epoch if first else None, on_step=on_step if first else None,
        )  # fmt: skip
        point = None
        if checkpoint is not None:
            settings = {"loss": loss, "optimizer": optimizer, "seed": seed, "keep": keep}
            settings |= {"release": release} if release else {}
            settings |= {"lr": lr} if lr is not None else {}
            settings |= {"operations": operations} if operations else {}
            identity = identity_of(session, start, settings)
            point = Checkpoint(checkpoint, identity, (data, val), writes=first)
        train(training, phases, point)
        result = certified(session, training.log, training.before_and_after())
        told.end(result.report.after)
        return result


def sweep(
    model: Models,
    data: Iterable[Batch] | None,
    budgets: Iterable[Budget | Rule] | Mapping[str, Budget | Rule],
    methods: Iterable[Method] | Mapping[str, Method],
    *,
    evaluate: Iterable[Batch] | Callable[[nn.Module], float] | None = None,
    seeds: int | Iterable[int] = 1,
    then: Sequence[Phase] | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    loss: Loss | None = None,
    optimizer: OptimizerFactory = adamw,
    example: Example | None = None,
    folder: str | os.PathLike[str] | None = None,
    ray: str | None = None,
    cpus: float = 1,
    gpus: float = 0,
    progress: bool | None = None,
) -> Sweep:
    """Compare methods: each at every budget and seed, on the same network, data and fine-tune.

    Every row is a call of `fit`. A method that ends in an error of this library (a budget that it
    cannot meet, a network that it does not take, a training that diverges) is a row too, refused,
    with the reason, and so is an error in anybody's code (an importance, an objective, a phase, a
    loss, another pruner): that row failed, and where is said. With a `folder` every row is on the
    disk when it is made: the same call again, of a killed sweep too, makes the rest and what
    failed, and a row that was being trained goes on from its checkpoint. Budgets, methods and seeds
    may become more.

    Args:
        model: The network, which stays as it is, or a function of the seed that makes one (trained,
            say), so that seeds differ in more than the order of the data.
        data: As for `fit`; None to cut alone.
        budgets: Caps, by name or in a sequence. Shares (``Budget(macs="50%")``) are of the network.
        methods: By name or in a sequence. A phase, such as ``Prune(importance=l1)``, is followed by
            `then`. A list of phases is a whole schedule. A function ``(model, budget) -> smaller``
            is another pruner (`benchmarks.rivals` has some): it is given a copy and caps in
            numbers, what it returns is held to them and goes through `then`. None is the default
            schedule of `fit`.
        evaluate: A loader, whose accuracy is the value of a network, or a function of the network,
            more is better. It decides nothing.
        seeds: Seeds of `fit`, or how many, from 0; another pruner draws from them too.
        then: Phases that follow every cut; by default ``[Recalibrate(), FineTune(epochs)]`` with
            labelled data, and none without.
        epochs: Length of that fine-tune and of the one in the default schedule of `fit`; 30 unless
            said.
        lr: As for `fit`; likewise the three that follow.
        loss: The loss.
        optimizer: What makes an optimiser.
        example: An input with the batch first.
        folder: Where rows and checkpoints are kept; None for nowhere.
        ray: None makes one row after the other. "local" makes several at once in processes of Ray
            on this machine; without Ray (extra ``sweep``) one after the other, which is said.
            ``host:port``, ``ray://host:port`` or ``auto`` is a cluster whose machines see the
            folder under the same path.
        cpus: Processors that a row takes on Ray; each computes with one thread.
        gpus: GPUs, likewise.
        progress: As for `fit`: a bar on a terminal, elsewhere a line a row with the time that is
            left, of ``logging.getLogger("compressor.sweep")``.

    Returns:
        The rows, a table of means and standard errors over seeds in which the Pareto front is
        marked, as DataFrame and CSV, and a picture of it.

    Raises:
        ValueError: If an argument is of the wrong kind, or network, data, loss, optimiser and
            `then` do not fit each other. Whatever else the first row ends in, which is of the
            network given, counted and judged alone, is raised as well, and want of memory in any.
        ResumeError: If the folder belongs to another sweep, or to one that is going on.
        ImportError: If a cluster was asked for, and Ray is not installed.
        OSError: If it does not answer.
    """
    making = making_of(
        fit, model, data, budgets, methods, seeds=seeds, then=then, evaluate=evaluate,
        example=example, loss=loss, options={"lr": lr, "optimizer": optimizer}, epochs=epochs,
        folder=folder,
    )  # fmt: skip
    identity = sweep_identity(making)
    return swept(making, identity, ray=ray, cpus=cpus, gpus=gpus, progress=progress)


def _planned(
    schedule: Sequence[Phase] | None,
    budget: Budget,
    epochs: int | None,
    lr: float | None,
    loss: Loss,
    *,
    data: bool,
    val: bool,
) -> tuple[tuple[Phase, ...], float | None]:
    """The phases, and the rate of the dense training where it is known; arguments as of `fit`."""
    labelled = data and not isinstance(loss, Unlabelled)
    tune = FineTune(epochs_of(epochs, schedule, data=labelled))
    default = _default(budget, tune, data=labelled) if labelled or not data else _untrained(budget)
    phases = phases_of(schedule, default, data=data, val=val)
    check_labelled(phases, loss)
    return phases, rate_known(lr, phases)


def _untrained(budget: Budget) -> tuple[Phase, ...]:
    """The phases where there are inputs and no labels."""
    if budget.bytes is not None:
        return (*_divided(budget), Repair(), Int8(epochs=0, preset=_preset(budget)))
    return (Prune(),) if budget.ram is None else (Prune(), Int8(epochs=0, preset=TFLM))


def _default(budget: Budget, tune: FineTune, *, data: bool) -> tuple[Phase, ...]:
    if not data:
        return (Prune(),)
    if budget.bytes is not None:
        return (*_divided(budget), Recalibrate(), tune, Int8(preset=_preset(budget)))
    last = () if budget.ram is None else (Int8(preset=TFLM),)
    return (Prune(), Recalibrate(), tune, *last)


def _divided(budget: Budget) -> tuple[Phase, ...]:
    """What meets a cap on bytes: width alone in a file that has no other way to be shorter."""
    return (Joint(),) if artefact_of(budget).sparse else (Prune(),)


def _preset(budget: Budget) -> Preset:
    """The grids of the runtime that a budget is about: a cap on RAM is one on a `.tflite`."""
    return TFLM if budget.ram is not None or isinstance(budget.file, Tflite) else ORT
