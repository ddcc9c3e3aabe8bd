"""Settings that all recipes have, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compressor.inputs.arguments import check_seed
from recipes.data.audio import AudioFormat
from recipes.features.logmel import MelSettings
from recipes.running.scene_data import DataSpec


@dataclass(frozen=True, kw_only=True)
class RecipeSettings:
    """Base of the recipes' settings.

    Attributes:
        seconds: Length of a clip, in s.
        mels: Front end.
        validation: Share of the training list that epochs are watched on, place by place.
        seed: Seed of everything.
    """

    seconds: float
    mels: MelSettings
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no seed."""
        check_seed(self.seed)

    @property
    def audio(self) -> AudioFormat:
        """Mono at the front end's rate."""
        return AudioFormat(rate=self.mels.sample_rate, seconds=self.seconds)

    @property
    def frames(self) -> int:
        return self.mels.frames(self.audio.samples)

    def data(self, *, crop: bool, **more: Any) -> DataSpec:
        """Specification of the data; `more` are fields of it."""
        return DataSpec(
            audio=self.audio, mels=self.mels, frames=self.frames,
            validation=self.validation, crop=crop, seed=self.seed, **more,
        )  # fmt: skip
