"""Epochs with a teacher: its distributions stand behind the labels and are mixed as they are."""

from __future__ import annotations

import pytest
import torch

from recipes.training.augment import Augmentation, Mixup, OtherDevices
from recipes.training.epochs import Epochs
from recipes.training.training_plans import SceneTraining

X = torch.arange(12.0).reshape(12, 1, 1, 1).expand(12, 1, 2, 3)
Y = torch.arange(12) % 4
PLAIN = SceneTraining(batch=5, mixstyle=0, bands=0, roll=0)


def taught(clips: int = 12) -> torch.Tensor:
    return torch.rand(clips, 4, generator=torch.Generator().manual_seed(1)).softmax(1)


def test_a_teachers_rows_follow_their_clips() -> None:
    shares = taught()
    for x, targets in Epochs(X, Y, 4, PLAIN, seed=0, teacher=shares):
        rows = x[:, 0, 0, 0].long()
        assert torch.equal(targets[:, :4].argmax(1), Y[rows])
        assert torch.equal(targets[:, 4:], shares[rows])


def test_labels_and_teacher_are_mixed_in_one_share() -> None:
    """With a teacher that says the labels, both halves of the targets stay equal."""
    labels = torch.nn.functional.one_hot(Y, 4).float()
    plan = SceneTraining(batch=6, mixup=0.5)
    for _, targets in Epochs(X, Y, 4, plan, seed=0, teacher=labels):
        assert torch.equal(targets[:, :4], targets[:, 4:])
        torch.testing.assert_close(targets.sum(1), torch.full((len(targets),), 2.0))


def test_without_a_teacher_nothing_is_added() -> None:
    assert all(targets.shape[1] == 4 for _, targets in Epochs(X, Y, 4, PLAIN, seed=0))


def test_augmentations_before_the_plans_come_first() -> None:
    quiet: Augmentation = OtherDevices(torch.zeros(1, 2), 1.0, 0.0, 1.0, 1.0)
    plan = SceneTraining(batch=12, mixstyle=0, bands=0, roll=0, mixup=0.5)
    for x, _ in Epochs(X, Y, 4, plan, seed=0, before=(quiet,)):
        assert torch.equal(x, torch.zeros_like(x)), "what is silent stays so when it is mixed"


@pytest.mark.parametrize("shape", [(11, 4), (12, 3), (12,)])
def test_a_teacher_of_other_clips_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"it takes \(12, 4\)"):
        Epochs(X, Y, 4, PLAIN, seed=0, teacher=torch.zeros(shape))


def test_the_plan_is_the_baselines_with_what_is_asked_for() -> None:
    names = [type(a).__name__ for a in SceneTraining().augmentations()]
    assert names == ["Roll", "SpecAugment", "FreqMixStyle"]
    assert SceneTraining().augmentations()[0] == type(SceneTraining().augmentations()[0])(6)
    assert SceneTraining(roll=0, bands=0, mixstyle=0, mixup=0.3).augmentations() == (Mixup(0.3),)
    assert SceneTraining().rate(4 / 150) == pytest.approx(5e-3)
    assert SceneTraining().rate(1.0) == pytest.approx(0.0, abs=1e-12)
