"""Phases that train, and the one that estimates BatchNorm's statistics anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from compressor.inputs.losses import Distill, Smoothed, check_distill, cross_entropy
from compressor.inputs.settings import check_number, check_positive, check_share, check_whole
from compressor.run.calibration import recalibrate
from compressor.run.later import NOTHING
from compressor.run.lesson import Lesson
from compressor.run.moving_average import MovingAverage
from compressor.run.phase import Phase, Teaching
from compressor.run.rates import Decay, cosine
from compressor.wording import brief

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training


@dataclass(frozen=True)
class Recalibrate(Phase):
    """Estimate the running statistics of every BatchNorm anew.

    Removing units changes the distribution that later norms see. The statistics are reset and
    averaged with equal weights over some batches, as training leaves no weight behind to learn.

    Attributes:
        batches: Most batches to average over.
    """

    batches: int = 64

    needs = "Recalibrate measures"
    lowers = NOTHING

    def __post_init__(self) -> None:
        """Check the number."""
        check_whole("Recalibrate", 1, batches=self.batches)

    @property
    def batches_in_train_mode(self) -> float:
        """All that it reads."""
        return self.batches

    def run(self, training: Training, part: int) -> None:  # noqa: ARG002 - a Phase
        """Average the statistics."""
        model, loss = training.session.model, training.session.loss
        recalibrate(model, islice(training.batches(whole=True), self.batches), loss)
        training.average_buffers()  # processes may read other batches of a loader not divided


@dataclass(frozen=True)
class FineTune(Teaching):
    """Train the small network, with the dense original as a teacher if asked.

    The fine-tune is what brings accuracy back: on ESC-50 (`benchmarks/accuracy/finetune.md`) 30
    epochs are 2 to 12 points better than 8, in four cells of four. A teacher makes an epoch 1.3 to
    1.8 times as long; it brought 1.7 points (standard error 0.4) in one cell, a plain residual
    network at a mild budget, and -0.2 to -0.6 (0.8 to 1.2) in the other three, so that there is
    none by default.

    Attributes:
        epochs: Passes over the data.
        lr: Learning rate at the end of the warm-up; None for one that is found when the phase
            begins: rates around that of the dense training, where `fit` or `Train` says it, else
            5e-4 to 8e-3, are tried on copies of the network, as it was cut if it was cut last, for
            16 steps each (8 and more where an epoch has fewer than 32 batches). After a cut the
            best one is taken, elsewhere the largest that lowers the loss about as much as the best
            one (`compressor.run.rate_range`). The report says which were tried.
        weight_decay: Decoupled weight decay, on filters alone (not on biases, scales and shifts).
        warmup: Epochs (or a part of one) over which the rate rises from 0.
        decay: Course of the rate afterwards.
        distill: What to learn from the dense original beside the targets, such as `Distill()`.
        clip: Largest norm of the gradient, to which it is cut before every step; None for no bound.
        ema: Share that a step leaves of a moving average of the weights, such as 0.999; the average
            is what is validated and what the phase returns (`compressor.run.moving_average`). None
            for the weights themselves.
        smoothing: Share of every target that is spread evenly over all classes (label smoothing),
            under the default loss.
        select: Return the epoch with the best `val` instead of the last one.
    """

    epochs: int = 30
    lr: float | None = None
    weight_decay: float = 1e-2
    warmup: float = 1.0
    decay: Decay = cosine
    distill: Distill | None = None
    select: bool = False
    clip: float | None = None
    ema: float | None = None
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        name = type(self).__name__
        check_whole(name, 1, epochs=self.epochs)
        check_number(name, weight_decay=self.weight_decay, warmup=self.warmup)
        check_number(name, **({} if self.lr is None else {"lr": self.lr}))
        check_share(name, smoothing=self.smoothing)
        if self.clip is not None:
            check_positive(name, clip=self.clip)
        if self.ema is not None:
            check_share(name, ema=self.ema)
        if not callable(self.decay):
            raise ValueError(
                f"{name}(decay={brief(self.decay)}): must be a function of the share of the phase "
                "that is over, such as compressor.phases.cosine"
            )
        check_distill(name, self.distill)

    trains = True
    lowers = NOTHING

    @property
    def needs(self) -> str:
        """An epoch of data."""
        return f"{type(self).__name__} trains"

    @property
    def finds_rate(self) -> bool:
        """True where none is given."""
        return self.lr is None

    @property
    def length(self) -> int:
        """The epochs."""
        return self.epochs

    def rate(self, over: float) -> float:
        """Factor of the learning rate when the share `over` of the phase is done."""
        warm = min(self.warmup / self.epochs, 1.0)
        if over < warm:
            return over / warm
        return self.decay((over - warm) / (1 - warm)) if warm < 1 else 1.0

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:  # noqa: ARG002
        """Find out whether targets can be smoothed.

        Raises:
            ValueError: If the loss is one of the caller's own.
        """
        if self.smoothing and session.loss is not cross_entropy:
            raise ValueError(
                f"{type(self).__name__}(smoothing={self.smoothing}) smooths the targets of the "
                "default loss, and fit was given another: leave smoothing out, and have the loss "
                "do it, as torch.nn.CrossEntropyLoss(label_smoothing=...) does"
            )

    def lessons(self, training: Training, part: int) -> Iterator[Lesson]:
        """Train one epoch."""
        name = type(self).__name__
        task = Smoothed(self.smoothing) if self.smoothing else None
        loss = training.distilled(self.distill, task)
        if part == 0:
            rate = self.lr
            if rate is None:
                rate = training.find_rate(name, loss, self.weight_decay, self.clip)
            training.start(rate, self.weight_decay)
        average = None
        if self.ema is not None:
            average = MovingAverage(training.session.model, training.state, self.ema)
        yield Lesson(
            name, part, self.epochs, loss, self.rate, clip=self.clip,
            after=average and average.update, end=average and average.show,
        )  # fmt: skip
        if self.select:
            training.remember_best()
            if part == self.epochs - 1:
                training.recall_best()


@dataclass(frozen=True)
class Train(FineTune):
    """Train the dense network before anything is removed; it is the teacher from then on.

    Attributes as in `FineTune`, but for the rate, which is 1e-3 unless said. The dense network is
    what the last epoch leaves, or the best one with ``select=True``. Only the first phase of a
    schedule can be one.
    """

    epochs: int = 60
    lr: float | None = 1e-3

    trains_dense = True

    def lessons(self, training: Training, part: int) -> Iterator[Lesson]:
        """Train one epoch; after the last, the network becomes the teacher."""
        yield from super().lessons(training, part)
        if part == self.epochs - 1:
            training.session.teach(training.session.model, trained=True)
