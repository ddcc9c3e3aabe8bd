"""The linear model of moments and the tandem built on it."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models import BCResNetASC, LinearMoments, Tandem, moments
from models.layers import SHORT
from models.linear import EPS


def spectrograms(batch: int = 3, mels: int = 32, frames: int = 12, seed: int = 0) -> Tensor:
    return torch.randn(batch, 1, mels, frames, generator=torch.Generator().manual_seed(seed))


class TestMoments:
    def test_against_scipy(self) -> None:
        """Without an epsilon they are the textbook's, kurtosis as Pearson has it."""
        x = spectrograms().double().exp()  # skewed
        array = x[:, 0].numpy()
        found = moments(x, 5, eps=0).numpy()
        fifth = scipy.stats.moment(array, 5, axis=-1) / array.var(-1) ** 2.5
        skewness = scipy.stats.skew(array, axis=-1)
        kurtosis = scipy.stats.kurtosis(array, axis=-1, fisher=False)
        expected = (array.mean(-1), array.var(-1), skewness, kurtosis, fifth)
        assert found.shape == (3, 5, 32)
        for order, moment in enumerate(expected):
            torch.testing.assert_close(torch.tensor(found[:, order]), torch.tensor(moment))

    def test_epsilon_is_where_the_formula_has_it(self) -> None:
        """m_k / (m_2 + eps) ** (k / 2), on bands whose variance is about the epsilon."""
        x = spectrograms().double() * EPS**0.5
        array = x[:, 0].numpy()
        found = moments(x, 8)
        for k in range(3, 9):
            below = (array.var(-1) + EPS) ** (k / 2)
            expected = torch.tensor(scipy.stats.moment(array, k, axis=-1) / below)
            torch.testing.assert_close(found[:, k - 1], expected)

    @settings(max_examples=50, deadline=None)
    @given(
        gain=st.floats(0.1, 10),
        sign=st.sampled_from([-1, 1]),
        level=st.floats(-100, 100),
        seed=st.integers(0, 99),
    )
    def test_level_and_gain(self, gain: float, sign: int, level: float, seed: int) -> None:
        """Only the mean hears the level, only mean and variance the gain; odd ones its sign."""
        x = spectrograms(seed=seed).double()
        plain = moments(x, 6, eps=1e-12)
        heard = moments(sign * gain * x + level, 6, eps=1e-12)
        torch.testing.assert_close(heard[:, 0], sign * gain * plain[:, 0] + level)
        torch.testing.assert_close(heard[:, 1], gain**2 * plain[:, 1])
        for k in range(3, 7):
            torch.testing.assert_close(heard[:, k - 1], sign**k * plain[:, k - 1])

    def test_frames_have_no_order(self) -> None:
        x = spectrograms().double()
        mixed = x[..., torch.randperm(12, generator=torch.Generator().manual_seed(1))]
        torch.testing.assert_close(moments(mixed, 5), moments(x, 5))

    def test_lower_orders_are_the_first(self) -> None:
        x = spectrograms()
        for order in range(1, 6):
            torch.testing.assert_close(moments(x, order), moments(x, 5)[:, :order])

    @pytest.mark.parametrize("level", [0.0, -100.0, 1e-30, 3.3333e7, -1e18, 0.1])
    def test_even_bands_have_a_mean_and_nothing_else(self, level: float) -> None:
        """To the bit: rounding of the mean must not look like a deviation."""
        x = torch.full((2, 1, 4, 33), level)
        found = moments(x, 5)
        assert torch.equal(found[:, 0], x[:, 0, :, 0])
        assert not found[:, 1:].any()

    @pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-6, 1.0, 1e6, 1e18])
    @pytest.mark.parametrize("frames", [1, 2, 34])
    def test_values_and_gradients_are_finite(self, scale: float, frames: int) -> None:
        """In single precision, for silence, one frame, faint and enormous levels."""
        x = (scale * spectrograms(frames=frames)).requires_grad_()
        found = moments(x, 10)
        found.sum().backward()
        assert found.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()

    def test_one_silent_band_among_others(self) -> None:
        x = spectrograms()
        x[:, :, 3] = -100
        x.requires_grad_()
        found = moments(x, 5)
        assert not found[:, 1:, 3].any()
        found.square().sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()

    @pytest.mark.parametrize("dtype", SHORT)
    def test_of_16_bits_are_those_of_32_rounded(self, dtype: torch.dtype) -> None:
        """One frame in 334 that stands out has a hyperskewness of 6,058."""
        x = spectrograms(frames=334).to(dtype)
        x[:, :, 0] = torch.zeros(334, dtype=dtype)
        x[:, :, 0, 7] = 100
        found = moments(x, 5)
        assert found.dtype == dtype
        assert found.isfinite().all()
        assert torch.equal(found, moments(x.float(), 5).to(dtype))
        expected = torch.tensor([332.0, 6058.0])
        torch.testing.assert_close(found[0, 3:, 0].float(), expected, rtol=0.01, atol=0)


class TestLinearMoments:
    @pytest.mark.parametrize("order", [1, 2, 5, 10])
    def test_features_are_moment_by_moment(self, order: int) -> None:
        """Feature (k - 1) * mels + band is moment k of that band, as a selection of bands needs."""
        model = LinearMoments(8, order, 2, frames=12).eval()
        x = spectrograms(mels=8)
        nn.init.zeros_(model.classifier.bias)
        found = moments(x, order) / (1 + model.standardise.eps) ** 0.5
        for k in range(order):
            for band in (0, 5):
                nn.init.zeros_(model.classifier.weight)
                model.classifier.weight.data[1, k * 8 + band] = 1
                torch.testing.assert_close(model(x)[:, 1], found[:, k, band])

    def test_features_are_standardised(self) -> None:
        """Without it, mean and variance of a log-mel band dwarf its skewness."""
        model = LinearMoments(32, frames=12).train()
        seen: list[Tensor] = []
        model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        model(20 * spectrograms(64) - 50)
        (features,) = seen
        torch.testing.assert_close(features.mean(0), torch.zeros(160), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            features.var(0, unbiased=False), torch.ones(160), atol=1e-3, rtol=0
        )

    def test_a_silent_batch_does_no_harm(self) -> None:
        model = LinearMoments(32, frames=12).train()
        loss = nn.functional.cross_entropy(
            model(torch.full((4, 1, 32, 12), -100.0)), torch.arange(4)
        )
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert model.eval()(spectrograms()).isfinite().all()


class TestTandem:
    @pytest.mark.parametrize("training", [False, True])
    def test_the_first_prediction_is_the_linear_one(self, *, training: bool) -> None:
        """Bit for bit (section 2.1: "only depends on the linear part")."""
        torch.manual_seed(0)
        model = Tandem(32, 4, 3, frames=12).train(training)
        x = spectrograms(8)
        assert torch.equal(model(x), torch.log_softmax(model.linear(x), dim=1))

    def test_first_step_moves_the_ends_and_the_second_all(self) -> None:
        torch.manual_seed(0)
        model = Tandem(32, 4, 3, frames=12).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, labels = spectrograms(16), torch.arange(16) % 3

        def moved() -> set[str]:
            before = {name: p.detach().clone() for name, p in model.named_parameters()}
            optimizer.zero_grad()
            nn.functional.nll_loss(model(x), labels).backward()
            optimizer.step()
            return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}

        ends = {f"{part}.{p}" for part in ("linear.classifier", "cnn.classifier") for p in WB}
        assert moved() == ends
        assert moved() == dict(model.named_parameters()).keys()

    def test_a_trained_linear_model_is_taken_in(self) -> None:
        linear = LinearMoments(32, 3, 4, frames=12).eval()
        model = Tandem(32, 4, 4, frames=12, linear=linear).eval()
        x = spectrograms()
        assert model.linear is linear
        assert torch.equal(model(x), torch.log_softmax(linear(x), dim=1))

    def test_what_it_returns_are_log_probabilities_of_the_sum(self) -> None:
        torch.manual_seed(0)
        model = Tandem(32, 4, 3, frames=12).eval()
        nn.init.normal_(model.cnn.classifier.weight)
        nn.init.normal_(model.cnn.classifier.bias)
        x, labels = spectrograms(), torch.tensor([0, 1, 2])
        out = model(x)
        torch.testing.assert_close(out.exp().sum(1), torch.ones(3))
        logits = model.linear(x) + model.cnn(x)
        nll, loss = nn.functional.nll_loss, nn.functional.cross_entropy
        torch.testing.assert_close(nll(out, labels), loss(logits, labels))
        torch.testing.assert_close(loss(out, labels), loss(logits, labels))

    def test_zero_start_leaves_a_plain_network_alone(self) -> None:
        assert BCResNetASC(4, 3, mels=32).classifier.weight.any()


WB = ("weight", "bias")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LinearMoments(order=0), r"\(order=0\): order must be at least 1"),
        (lambda: LinearMoments(order=11), r"\(order=11\): order must be at most 10"),
        (lambda: LinearMoments(mels=0), "mels must be at least 1"),
        (lambda: LinearMoments(num_classes=0), "num_classes must be at least 1"),
        (lambda: LinearMoments(frames=0), "frames must be at least 1"),
        (lambda: Tandem(200), "multiple of 32: 192 or 224 would work"),
        (
            lambda: Tandem(192, 4, linear=LinearMoments(256)),
            r"Tandem\(mels=192, num_classes=10\): the linear model has 256 bands and 10 classes",
        ),
        (lambda: Tandem(32, 4, 3, linear=LinearMoments(32)), "32 bands and 10 classes"),
        (lambda: Tandem(32, 4, linear=nn.Linear(3, 3)), r"\(linear=Linear\): .* LinearMoments"),
    ],
)
def test_sizes_that_cannot_run_are_refused(build: object, message: str) -> None:
    """At construction, with what would work."""
    with pytest.raises(ValueError, match=message):
        build()
