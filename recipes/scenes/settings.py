"""Settings of an entry, by year: front end, lists, caps, training; all can be changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from compressor import Budget, Distill, FineTune, Half, Int8, Prune
from compressor.allocation import LogRetention
from compressor.phases import Phase
from recipes.features.logmel import BASELINE_2022, BASELINE_2024, MelSettings
from recipes.running.settings import RecipeSettings
from recipes.running.splits import SPLITS, check_energy, check_splits
from recipes.scenes.network import Source
from recipes.training.training_plans import SceneTraining

YEARS = tuple(SPLITS)
FRONT_ENDS = {
    "2022": BASELINE_2022,
    "2023": BASELINE_2022,
    "2024": BASELINE_2024,
    "2025": BASELINE_2024,
}
"""Front ends of the official baselines; 2023 had that of 2022."""
MASKED = 48 / 256
"""Widest frequency mask of the baseline of 2024, as a share of the bands."""
BITS = (8, 16)


@dataclass(frozen=True, kw_only=True)
class Config(RecipeSettings):
    """An entry.

    Attributes:
        source: The network: `--model` and `--with`.
        year: Year whose rule counts.
        seconds: Length of a clip, in s.
        mels: Front end: that of the year's baseline, another one's, or one's own.
        bits: Bits of a stored weight: 8 after training for integers, or 16, half precision. In
            2022 8 alone are allowed. From 2024 on 16 leave half as many parameters.
        budget: Caps, none above those of the rule. From 2024 on the official counter multiplies
            parameters by their bits; with ``budget.bytes`` the whole file is held below a cap, with
            scales, 32-bit biases and the network's description.
        splits: Percentages of the training list, a network each.
        lists: Folder of their lists; empty for the data set's `evaluation_setup`.
        devices: A network for each device of the training list, beside the general one (2025).
        train: Training of the dense network.
        prune: Removal of channels until the caps hold, repaired in closed form; where a network
            meets them already there is nothing to remove.
        tune: Training of what is left.
        round: Training for 8 bits.
        adapt: Training of the small network on one device's clips (2025). Chosen.
        teacher: File of a teacher's logits (`recipes.training.teacher`); empty for none.
        distill: Temperature, and the teacher's share of the loss; as CP-JKU 2023.
        responses: Folder of impulse responses of devices, wav files; empty for none.
        heard: Probability that a clip is heard through one of them; as CP-JKU 2023.
        energy: Energy of training, of inference on the test list and of the baseline's, in kWh,
            where it was measured; the form of 2023 cannot be filled in without it.
    """

    source: Source = field(default_factory=lambda: Source(""))
    year: int = 2024
    seconds: float = 1.0
    mels: MelSettings = BASELINE_2024
    bits: int = 8
    budget: Budget = field(default_factory=lambda: Budget(macs=30e6))
    splits: tuple[int, ...] = SPLITS[2024]
    lists: str = ""
    devices: bool = False
    train: SceneTraining = field(default_factory=SceneTraining)
    prune: Prune = field(default_factory=Prune)
    tune: FineTune = field(default_factory=lambda: FineTune(epochs=50, weight_decay=1e-4))
    round: Int8 = field(default_factory=lambda: Int8(epochs=20, lr=2e-4))
    adapt: FineTune = field(default_factory=lambda: FineTune(50, 1e-4, weight_decay=1e-4))
    teacher: str = ""
    distill: Distill = field(default_factory=lambda: Distill(temperature=2.0, weight=0.98))
    responses: str = ""
    heard: float = 0.6
    energy: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what means nothing, or the year does not allow."""
        super().__post_init__()
        if self.year not in YEARS:
            raise ValueError(f"year={self.year}: there are {', '.join(map(str, YEARS))}")
        if self.bits not in BITS or (self.year == 2022 and self.bits != 8):
            raise ValueError(
                f"bits={self.bits}: 8 or 16, and 8 alone in 2022, whose rule fixes the type"
            )
        if len(self.splits) > 1 and self.year != 2024:
            raise ValueError(
                f"--split {' '.join(map(str, self.splits))}: {self.year} takes one percentage, "
                f"{SPLITS[self.year][0]} by its rule; several are of 2024"
            )
        if not 0 <= self.heard <= 1:
            raise ValueError(f"heard={self.heard:g}: a probability, 0 to 1")
        check_splits(self.splits)
        check_energy(self.energy)
        # A roll is said in seconds, whatever the front end.
        object.__setattr__(self, "train", replace(self.train, hop=self.mels.hop))

    @property
    def store(self) -> Phase:
        """The last phase: how weights are stored."""
        return self.round if self.bits == 8 else Half()


def of(source: Source, year: int, front_end: str = "", splits: tuple[int, ...] = ()) -> Config:
    """A network's settings of a year, with a front end by its name and percentages if asked for.

    Raises:
        ValueError: If the year, the front end or a percentage is none.
    """
    if year not in YEARS:
        raise ValueError(
            f"--year {year}: there are {', '.join(map(str, YEARS))}. Recipes of 2020 and 2021 are "
            "recipes.dcase2020 and recipes.dcase2021"
        )
    name = front_end or str(year)
    if name not in FRONT_ENDS:
        raise ValueError(
            f"--front-end {name}: there are those of {', '.join(FRONT_ENDS)}; of one's own by "
            "mels.sample_rate=..., mels.window=..., mels.hop=..., mels.mels=..., mels.fmax=..."
        )
    mels = FRONT_ENDS[name]
    return Config(
        source=source, year=year, mels=mels, splits=splits or SPLITS[year], devices=year == 2025,
        train=SceneTraining(bands=round(MASKED * mels.mels)),
    )  # fmt: skip


def fast(config: Config) -> Config:
    """Minutes: one or two epochs of everything, and no clips held out of the few there are.

    One way to choose widths is taken where several would be compared.
    """
    return replace(
        config,
        train=replace(config.train, epochs=2, warmup=1, batch=32),
        prune=replace(config.prune, objective=LogRetention(), batches=2, inputs=64),
        tune=replace(config.tune, epochs=1, lr=1e-3),
        round=replace(config.round, epochs=1, batches=2),
        adapt=replace(config.adapt, epochs=1),
        validation=0.0,
    )
