"""The laws of the augmentations: labels stay distributions, features and labels mix alike."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recipes.training.augment import (
    Augmentation,
    Either,
    FreqMix,
    FreqMixStyle,
    Mixup,
    OtherDevices,
    Roll,
    SpecAugment,
    apply,
    blend,
    blend_bands,
)

SEEDS = st.integers(0, 2**32 - 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random features and one-hot targets, a class an example."""
    return torch.randn(*shape, generator=generator(seed)), torch.eye(shape[0])


def shifts(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    """By how many frames `after` (channel, mels, frames) may have been rolled."""
    frames = before.shape[-1]
    return [s for s in range(-frames, frames) if torch.equal(before.roll(s, 2), after)]


@given(seed=SEEDS, frames=st.integers(1, 40), most=st.none() | st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_roll_keeps_every_column(seed: int, frames: int, most: int | None) -> None:
    """Each example comes back rolled by an allowed number of frames, all of it alike."""
    x, targets = batch(seed, 3, 2, 4, frames)
    out, same = Roll(most)(x, targets, generator(seed))
    assert same is targets
    for before, after in zip(x, out, strict=True):
        found = shifts(before, after)
        assert found
        # A roll by more than the clip comes around; what is left must be reachable.
        assert most is None or most >= frames or min(map(abs, found)) <= most


def test_roll_reaches_both_ends_of_its_range_and_differs_between_examples() -> None:
    x = torch.arange(50.0).expand(2000, 1, 1, 50)
    out, _ = Roll(3)(x, torch.zeros(2000, 1), generator())
    assert out[:, 0, 0, 0].unique().tolist() == [0, 1, 2, 3, 47, 48, 49]
    assert len(Roll()(x, torch.zeros(2000, 1), generator())[0][:, 0, 0, 0].unique()) == 50


@given(seed=SEEDS, bands=st.integers(0, 12), frames=st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_masks_cover_whole_rows_and_columns(seed: int, bands: int, frames: int) -> None:
    """At most `count` runs of at most `bands` rows and `frames` columns; the rest is untouched."""
    x = torch.rand(4, 1, 8, 10, generator=generator(seed)) + 1
    out, _ = SpecAugment(bands, frames, count=1, fill=0.0)(x, torch.eye(4), generator(seed))
    covered = out == 0
    assert torch.equal(out[~covered], x[~covered])
    rows, columns = covered.all(3), covered.all(2)
    assert torch.equal(covered, rows[..., None] | columns[:, :, None])
    for example_rows, example_columns in zip(rows[:, 0], columns[:, 0], strict=True):
        for line, widest in ((example_rows, bands), (example_columns, frames)):
            if not line.all():
                edges = torch.diff(line.int(), prepend=torch.zeros(1, dtype=torch.int))
                assert int(line.sum()) <= widest
                assert int((edges == 1).sum()) <= 1


def test_masks_reach_every_width_and_both_edges() -> None:
    out, _ = SpecAugment(3, 0, count=1, fill=0.0)(
        torch.ones(2000, 1, 6, 1), torch.zeros(2000, 1), generator()
    )
    covered = (out == 0)[:, 0, :, 0]
    assert covered.sum(1).unique().tolist() == [0, 1, 2, 3]
    assert covered.any(0).all()


def test_masks_cover_all_channels_of_stereo_alike() -> None:
    out, _ = SpecAugment(4, 4, fill=0.0)(torch.ones(20, 2, 8, 8), torch.zeros(20, 1), generator())
    assert torch.equal(out[:, 0], out[:, 1])
    assert (out == 0).any()


def test_masks_are_of_the_mean_of_each_example() -> None:
    x, targets = batch(0, 20, 2, 8, 8)
    x += torch.arange(20.0)[:, None, None, None]
    out, _ = SpecAugment(4, 4)(x, targets, generator())
    means = x.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(out[out != x], means.expand_as(x)[out != x])


@pytest.mark.parametrize("mixing", [Mixup(0.3), FreqMix(), Either(FreqMix(), Mixup(1.0))])
@given(seed=SEEDS, size=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_targets_stay_distributions(mixing: Augmentation, seed: int, size: int) -> None:
    x, _ = batch(seed, size, 2, 5, 3)
    targets = torch.softmax(torch.randn(size, 4, generator=generator(seed)), dim=1)
    out, mixed = mixing(x, targets, generator(seed))
    assert out.shape == x.shape
    assert (mixed >= 0).all()
    torch.testing.assert_close(mixed.sum(1), torch.ones(size))


@given(seed=SEEDS, alpha=st.floats(0.1, 2))
@settings(max_examples=30, deadline=None)
def test_mixup_blends_clips_and_labels_alike(seed: int, alpha: float) -> None:
    """With features equal to label distributions, both must stay equal."""
    targets = torch.eye(6)
    x, mixed = Mixup(alpha)(targets[:, None, :, None], targets, generator(seed))
    torch.testing.assert_close(x[:, 0, :, 0], mixed)


@pytest.mark.parametrize("alpha", [1e-4, 1e-3, 0.05])
def test_a_small_alpha_blends_little(alpha: float) -> None:
    """Nearly every share is nearly 0 or 1, and as many one as the other."""
    x = torch.arange(2.0).reshape(2, 1, 1, 1).repeat(4000, 1, 1, 1).double()
    out, _ = Mixup(alpha)(x, torch.zeros(8000, 1), generator())
    between = (out > 0.01) & (out < 0.99)
    expected = stats.beta(alpha, alpha).cdf(0.99) - stats.beta(alpha, alpha).cdf(0.01)
    assert float(between.double().mean()) == pytest.approx(expected / 2, abs=0.02)


@pytest.mark.parametrize("mixing", [Mixup(0.3), FreqMix(), Either(FreqMix(), Mixup(1.0))])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_targets_keep_their_own_precision(mixing: Augmentation, kind: torch.dtype) -> None:
    x, targets = batch(0, 50, 1, 7, 3)
    out, mixed = mixing(x.to(kind), targets, generator())
    assert (out.dtype, mixed.dtype) == (kind, torch.float32)
    torch.testing.assert_close(mixed.sum(1), torch.ones(50))


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_mixup_draws_from_the_beta_distribution(alpha: float) -> None:
    """Kolmogorov and Smirnov find no difference in 4,000 shares."""
    x = torch.stack([torch.zeros(1, 1, 1), torch.ones(1, 1, 1)]).repeat(4000, 1, 1, 1)
    out, mixed = Mixup(alpha)(x, torch.eye(2).repeat(4000, 1), generator())
    both = (mixed > 0).all(1)  # blended with an example of the other class
    own = mixed.gather(1, x.reshape(-1, 1).long())[both][:, 0]
    assert stats.kstest(own[:4000].double().numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.001
    assert out.isfinite().all()


@given(seed=SEEDS, bands=st.integers(1, 33))
@settings(max_examples=50, deadline=None)
def test_freqmix_weighs_labels_by_the_share_of_bands(seed: int, bands: int) -> None:
    """Every band is one example's, kept bands are one run, and their share is the label's."""
    size = 6
    x = torch.arange(float(size))[:, None, None, None].expand(size, 2, bands, 3)
    out, mixed = FreqMix()(x, torch.eye(size), generator(seed))
    assert (out == out[:, :1, :, :1]).all(), "all channels and frames of a band alike"
    owners = out[:, 0, :, 0].long()
    counts = torch.stack([torch.bincount(row, minlength=size) for row in owners])
    torch.testing.assert_close(mixed, counts / bands)
    for example, row in enumerate(owners):
        kept = (row == example).int()
        assert int((torch.diff(kept, prepend=torch.zeros(1, dtype=torch.int)) == 1).sum()) <= 1
        assert len(row.unique()) <= 2


def test_freqmix_starts_its_band_anywhere() -> None:
    """Uniform starts, and widths that are uniform until the last row cuts them: mean 1/4 kept."""
    x = torch.arange(4000.0)[:, None, None, None].expand(4000, 1, 64, 1)
    out, _ = FreqMix()(x, torch.zeros(4000, 1), generator())
    kept = (out == x)[:, 0, :, 0].float()
    # A row f is kept if the start is at most f and the band reaches it: for uniform start s and
    # width w that is P(s <= f < s + w) = integral over s < f of 1 - (f - s) = f - f^2 / 2.
    place = (torch.arange(64) + 0.5) / 64
    torch.testing.assert_close(kept.mean(0), place - place**2 / 2, atol=0.03, rtol=0)


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_lambda_one_keeps_and_lambda_zero_takes_the_partner(seed: int) -> None:
    x, targets = batch(seed, 5, 2, 4, 3)
    partner = torch.randperm(5, generator=generator(seed))
    for share, source in ((1.0, torch.arange(5)), (0.0, partner)):
        out, mixed = blend(x, targets, torch.full((5,), share), partner)
        assert torch.equal(out, x[source])
        assert torch.equal(mixed, targets[source])
        kept = torch.full((5, 4), bool(share))
        out, mixed = blend_bands(x, targets, kept, partner)
        assert torch.equal(out, x[source])
        assert torch.equal(mixed, targets[source])


def test_either_chooses_by_its_share() -> None:
    """Each example by itself, features and targets together."""
    x, targets = torch.ones(4000, 1, 2, 2), torch.zeros(4000, 3)
    first: Augmentation = lambda x, targets, _: (-x, targets + 1)  # noqa: E731
    second: Augmentation = lambda x, targets, _: (2 * x, targets + 2)  # noqa: E731
    out, mixed = Either(first, second, 0.25)(x, targets, generator())
    chosen = out[:, 0, 0, 0] == -1
    assert torch.equal(out, torch.where(chosen[:, None, None, None], -x, 2 * x))
    assert torch.equal(mixed, torch.where(chosen[:, None], 1.0, 2.0).expand(4000, 3))
    spread = math.sqrt(0.25 * 0.75 / 4000)
    assert float(chosen.float().mean()) == pytest.approx(0.25, abs=4 * spread)


def test_augmentation_follows_its_generator() -> None:
    """Equal seeds, equal batches; the global generator plays no part."""
    x, targets = batch(0, 8, 1, 16, 20)
    steps = (Roll(5), SpecAugment(4, 5), Mixup(0.3), FreqMix())

    def features(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 100)
        return apply(steps, x, targets, generator(3))[0]

    assert torch.equal(features(0), features(1))
    assert not torch.equal(apply(steps, x, targets, generator(4))[0], features(0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Mixup(0.0), "leave the augmentation out"),
        (lambda: FreqMix(-1.0), "alpha must be above 0"),
        (lambda: Roll(-1), "at least 0 frames"),
        (lambda: SpecAugment(-1, 0), "must be at least 0"),
        (lambda: Either(Mixup(1.0), FreqMix(), 1.5), "between 0 and 1"),
    ],
)
def test_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# ---------------------------------------------------------------------------------- Freq-MixStyle


def statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of every band (batch, mels), over channels and frames."""
    return x.mean((1, 3)), x.std((1, 3))


def styled(seed: int) -> torch.Tensor:
    """Bands of different means and deviations, in every example others."""
    scale = torch.rand(6, 1, 5, 1, generator=generator(seed + 1)) * 3 + 0.5
    shift = torch.randn(6, 1, 5, 1, generator=generator(seed + 2)) * 4
    return torch.randn(6, 2, 5, 50, generator=generator(seed)) * scale + shift


@given(seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_mixed_styles_are_mixtures_of_two_examples_statistics(seed: int) -> None:
    """The share of each example, solved from its means, is one for all bands and deviations too."""
    x, targets = styled(seed), torch.eye(6)
    out, same = FreqMixStyle(0.5, share=1.0)(x, targets, generator(seed))
    assert same is targets
    mean, spread = statistics(x)
    new_mean, new_spread = statistics(out)
    for row in range(6):
        fits = []
        for other in range(6):
            apart = mean[other] - mean[row]
            away = (new_mean[row] - mean[row]) @ apart / apart.square().sum().clamp_min(1e-12)
            if other == row:
                away = torch.tensor(0.0)
            fits.append(
                -1e-4 <= away <= 1 + 1e-4
                and torch.allclose(new_mean[row], mean[row] + away * apart, atol=1e-3)
                and torch.allclose(
                    new_spread[row], spread[row] + away * (spread[other] - spread[row]), atol=1e-3
                )
            )
        assert any(fits)


def test_mixed_styles_keep_what_is_left_of_a_band_without_its_statistics() -> None:
    x = styled(3)
    out, _ = FreqMixStyle(0.5, share=1.0)(x, torch.eye(6), generator(3))
    assert not torch.allclose(out, x)
    for one in (x, out):
        one.sub_(one.mean((1, 3), keepdim=True)).div_(one.std((1, 3), keepdim=True))
    torch.testing.assert_close(out, x, atol=1e-4, rtol=1e-4)


def test_styles_are_mixed_in_a_share_of_the_batches() -> None:
    x, draws = styled(0), generator(1)
    never = FreqMixStyle(0.3, share=0.0)
    assert all(torch.equal(never(x, torch.eye(6), draws)[0], x) for _ in range(20))
    some = FreqMixStyle(0.3, share=0.4)
    mixed = sum(not torch.equal(some(x, torch.eye(6), draws)[0], x) for _ in range(500))
    assert 0.4 * 500 - 4 * 11 < mixed < 0.4 * 500 + 4 * 11  # four deviations of the binomial


def test_a_band_of_one_value_has_no_style() -> None:
    x = torch.randn(3, 1, 4, 1)
    assert torch.equal(FreqMixStyle(0.3, share=1.0)(x, torch.eye(3), generator())[0], x)


def test_a_silent_band_stays_finite() -> None:
    x = torch.zeros(4, 1, 3, 20)
    out, _ = FreqMixStyle(0.3, share=1.0)(x, torch.eye(4), generator())
    assert torch.equal(out, x)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_shares_that_are_no_probability_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        FreqMixStyle(0.3, share=share)
    with pytest.raises(ValueError, match="between 0 and 1"):
        OtherDevices(torch.ones(1, 3), share, 0.0, 1.0, 1e-6)


# ---------------------------------------------------------------------------------- other devices


@given(seed=SEEDS, level=st.floats(-8, 2), spread=st.floats(0.5, 6))
@settings(max_examples=30, deadline=None)
def test_a_device_changes_the_power_of_each_band_by_its_gain(
    seed: int, level: float, spread: float
) -> None:
    power = torch.rand(5, 1, 4, 6, generator=generator(seed), dtype=torch.float64)
    x = ((power + 1e-6).log() - level) / spread
    gains = torch.rand(1, 4, generator=generator(seed + 1), dtype=torch.float64) * 3
    out, _ = OtherDevices(gains, 1.0, level, spread, 1e-6)(x, torch.eye(5), generator(seed))
    heard = (out * spread + level).exp() - 1e-6
    torch.testing.assert_close(heard, power * gains[0, :, None], atol=1e-9, rtol=1e-6)


def test_each_example_has_a_device_of_its_own_or_stays_as_it_is() -> None:
    x = torch.zeros(3000, 1, 1, 1)
    gains = torch.tensor([[2.0], [3.0]])
    out, _ = OtherDevices(gains, 0.5, 0.0, 1.0, 0.0)(x, torch.zeros(3000, 1), generator())
    values, counts = out.flatten().exp().round(decimals=3).unique(return_counts=True)
    assert values.tolist() == [1.0, 2.0, 3.0]
    assert all(abs(n - e) < 120 for n, e in zip(counts.tolist(), (1500, 750, 750), strict=True))
