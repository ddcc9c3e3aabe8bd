"""The networks run, export, learn and can be compressed; sizes that cannot run are refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, BudgetError, fit, measure
from models import (
    AudioTransformer,
    BCResNet,
    BCResNetASC,
    CPMobile,
    CPResNet,
    DCASEBaseline,
    LinearMoments,
    ResidualCNN,
    SharedResNet,
    Tandem,
    TCResNet,
)
from models.cp_resnet import kernel_sizes
from tests.zoo import cp_resnet, shared_resnet

SMALL: dict[str, Callable[[], nn.Module]] = {
    "BC-ResNet": lambda: BCResNet(1, mels=64, frames=20),
    "ASC": lambda: BCResNetASC(8, mels=32, frames=12),
    "ASC, no ResNorm": lambda: BCResNetASC(8, residual_norm=None, mels=32, frames=12),
    "ASC, ResNorm outside": lambda: BCResNetASC(8, mels=32, frames=12, inside=False),
    "ASC, learned": lambda: BCResNetASC(8, mels=32, frames=12, learned=True),
    "residual CNN": lambda: ResidualCNN(5, widths=(4, 6), blocks=(1, 2)),
    "Shared-ResNet": lambda: SharedResNet(8, mels=64, frames=40),
    "unshared": lambda: SharedResNet(8, mels=64, frames=40, shared=False),
    "CP-ResNet": lambda: CPResNet(8, mels=64, frames=40),
    "CP-Mobile": lambda: CPMobile(5, channels=8, mels=64, frames=20),
    "baseline 2024": lambda: CPMobile.baseline2024(5, mels=64, frames=20),
    "TC-ResNet": lambda: TCResNet(5, (4, 6), mels=8, frames=20),
    "linear": lambda: LinearMoments(32, frames=12),
    "tandem": lambda: Tandem(32, 8, frames=12),
    "baseline 2020": lambda: DCASEBaseline(2020),
    "baseline 2021": lambda: DCASEBaseline(2021),
    "baseline 2022": lambda: DCASEBaseline(2022),
    "transformer": lambda: AudioTransformer(width=16, depth=2, mels=16, frames=24),
}
QUICK = {"residual CNN", "linear", "baseline 2022"}
"""Exported and compressed in unit tests too; the others take seconds together."""
WHOLE = [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in SMALL]


def noise(model: nn.Module, batch: int) -> Tensor:
    return torch.randn(batch, *model.example_input_array.shape[1:])


@pytest.fixture(params=SMALL)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return SMALL[request.param]()


def test_example_input_is_neither_parameter_nor_buffer(model: nn.Module) -> None:
    """It must not be counted, saved or moved."""
    assert not any("example" in name for name in model.state_dict())
    assert model.example_input_array.shape[0] == 1
    out = model.eval()(model.example_input_array)
    assert out.shape[0] == 1
    assert out.ndim == 2
    assert out.isfinite().all()


@pytest.mark.parametrize("model", WHOLE, indirect=True)
def test_exports_for_any_batch_and_agrees(model: nn.Module) -> None:
    """`torch.export` sees the same function, at another batch size than the example's."""
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(model.eval(), (noise(model, 2),), dynamic_shapes=shapes)
    more = noise(model, 3)
    torch.testing.assert_close(program.module()(more), model(more))


def test_every_parameter_learns(model: nn.Module) -> None:
    """No branch is cut off from the loss."""
    if isinstance(model, Tandem):  # starts with a zero convolution, which lets nothing through
        nn.init.normal_(model.cnn.classifier.weight)
    labels = torch.arange(4) % 3
    nn.functional.cross_entropy(model.train()(noise(model, 4)), labels).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("model", WHOLE, indirect=True)
def test_can_be_compressed(model: nn.Module) -> None:
    """To 60 % of parameters and MACs, without data; only the linear model has nothing to cut."""
    whole = measure(model)
    budget = Budget(params=int(0.6 * whole.params), macs=int(0.6 * whole.macs))
    if isinstance(model, LinearMoments):
        with pytest.raises(BudgetError, match="in 'classifier'"):
            fit(model, budget=budget)
        return
    small = fit(model, budget=budget).model
    cost = measure(small)
    assert cost.params <= budget.caps["params"]
    assert cost.macs <= budget.caps["macs"]
    assert small.eval()(noise(model, 2)).shape == model.eval()(noise(model, 2)).shape


@pytest.mark.slow
def test_the_tandem_fits_the_limits_of_2022() -> None:
    """128,000 parameters and 30 million MACs, from 192 bands, with the linear part whole."""
    torch.manual_seed(0)
    small = fit(Tandem(192), budget=Budget(params=128e3, macs=30e6)).model
    cost = measure(small)
    assert cost.params <= 128_000
    assert cost.macs <= 30_000_000
    assert small.linear.classifier.weight.shape == (10, 5 * 192)


def test_none_is_residual_normalization_left_out() -> None:
    """The paper's baseline: what remains is the same network, parameter by parameter."""
    with_norm = BCResNetASC(4, mels=32, frames=12).eval()
    without = BCResNetASC(4, residual_norm=None, mels=32, frames=12).eval()
    without.load_state_dict(with_norm.state_dict())
    for stage in (with_norm.stage1, with_norm.stage2, with_norm.stage3, with_norm.stage4):
        stage[-1] = nn.Identity()
    outside = BCResNetASC(4, mels=32, frames=12, inside=False).eval()
    outside.load_state_dict(with_norm.state_dict())
    x = noise(without, 2)
    assert torch.equal(outside(x), with_norm(x))
    assert torch.equal(without(with_norm.norm_in(x)), with_norm(x))


def test_a_learned_weight_starts_at_the_fixed_one() -> None:
    torch.manual_seed(0)
    fixed = BCResNetASC(4, mels=32, frames=12).eval()
    learned = BCResNetASC(4, mels=32, frames=12, learned=True).eval()
    new = learned.load_state_dict(fixed.state_dict(), strict=False).missing_keys
    assert new == ["norm_in.weight", *(f"stage{i}.{2 + i // 4}.weight" for i in range(1, 5))]
    x = noise(fixed, 2)
    torch.testing.assert_close(learned(x), fixed(x))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: SharedResNet(4, 10, mels=64, frames=64), lambda: shared_resnet(width=4, size=64)),
        (lambda: CPResNet(4, 5, 10, mels=64, frames=64), lambda: cp_resnet(width=4, size=64)),
    ],
    ids=["Shared-ResNet", "CP-ResNet"],
)
def test_a_second_implementation_agrees(
    ours: Callable[[], nn.Module], theirs: Callable[[], nn.Module]
) -> None:
    """The zoo's, written apart from this one, with its weights copied in order of use."""
    torch.manual_seed(0)
    model, other = ours(), theirs()
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor), alpha=0.2)
    pairs = zip(model.state_dict().items(), other.state_dict().values(), strict=True)
    model.load_state_dict({name: value.reshape(own.shape) for (name, own), value in pairs})
    x = noise(model, 2)
    torch.testing.assert_close(model.eval()(x), other.eval()(x))
    torch.testing.assert_close(model.train()(x), other.train()(x))


def test_kernels_of_the_receptive_field() -> None:
    """rho = 5 is the authors' default: 3x3 kernels end inside block 4."""
    assert kernel_sizes(5) == [(3, 1), (3, 3), (3, 3), (3, 1), *[(1, 1)] * 8]
    assert kernel_sizes(0) == [(3, 1), *[(1, 1)] * 11]
    assert kernel_sizes(22) == [(3, 1), *[(3, 3)] * 11]


def frames_seen(model: nn.Module, classifier: nn.Module) -> int:
    """Frames that one position before the final mean depends on, found by its gradient.

    With positive weights and averages instead of maxima nothing cancels and nothing is left out.
    """
    model = model.double().eval()
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(2))
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    seen: list[Tensor] = []
    classifier.register_forward_hook(lambda _, __, output: seen.append(output))
    x = torch.ones_like(model.example_input_array, dtype=torch.float64).requires_grad_()
    model(x)
    seen[0][0, 0, seen[0].shape[2] // 2, seen[0].shape[3] // 2].backward()
    assert x.grad is not None
    return int((x.grad != 0).any(dim=2).sum(dim=-1)[0, 0])


@pytest.mark.parametrize(("rho", "expected"), [*enumerate([23, 31, 39, 55, 71, 87, 103, 135])])
def test_receptive_field_of_cp_resnet(rho: int, expected: int) -> None:
    model = CPResNet(1, rho, mels=17, frames=401)
    assert frames_seen(model, model.classifier) == expected


def test_receptive_field_of_asc() -> None:
    """115 frames, where the paper's 109 leaves out the poolings: 2 and 4 frames."""
    model = BCResNetASC(2, residual_norm=None, mels=32, frames=401)
    assert frames_seen(model, model.classifier) == 109 + 2 + 4


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BCResNetASC(mels=40), "at least 32 and a multiple of 32: 32 or 64 would work"),
        (lambda: BCResNetASC(mels=250), "multiple of 32: 224 or 256 would work"),
        (lambda: BCResNetASC(frames=6), "frames must be at least 7"),
        (lambda: BCResNetASC(11), "channels must be even"),
        (lambda: BCResNetASC(0), "channels must be at least 1"),
        (lambda: BCResNetASC(residual_norm=-1), "weight must be finite and at least 0"),
        (lambda: BCResNetASC(residual_norm=None, learned=True), "needs a value to start from"),
        (lambda: BCResNet(num_classes=0), "num_classes must be at least 1"),
        (lambda: BCResNet(0.3), "multiple of 0.25"),
        (lambda: BCResNet(sub_bands=5, mels=256), "multiple of 40: 240 or 280 would work"),
        (lambda: BCResNet(sub_bands=0), "sub_bands must be at least 1"),
        (lambda: BCResNet(mels=32), "at least 64 and a multiple of 32: 64 or 96 would work"),
        (lambda: BCResNet(mels=40), "64 or 96 would work"),
        (lambda: BCResNet(sub_bands=1, mels=9), "40 or 48 would work"),
        (lambda: ResidualCNN(widths=(8, 16)), "got 2 and 4"),
        (lambda: ResidualCNN(blocks=(1, 1, 1, 0)), r"blocks\[3\] must be at least 1"),
        (lambda: TCResNet(widths=()), "the stem needs a width"),
        (lambda: CPMobile(blocks=(1, 0)), "blocks must be at least 1"),
        (lambda: CPMobile(blocks=()), "at least one stage"),
        (lambda: CPMobile(blocks=(1,), strides={2: (2, 2)}), "no block 2, as there are 1 blocks"),
        (lambda: CPMobile(expansion=0), "both must be above 0"),
        (lambda: TCResNet(widths=(8, 0)), r"widths\[1\] must be at least 1"),
        (lambda: SharedResNet(mels=40), "multiple of 32: 32 or 64 would work"),
        (lambda: SharedResNet(mels=250), "multiple of 32: 224 or 256 would work"),
        (lambda: SharedResNet(mels=0), "mels must be at least 1"),
        (lambda: SharedResNet(sub_bands=3, mels=64), "multiple of 48: 48 or 96 would work"),
        (lambda: SharedResNet(sub_bands=0), "sub_bands must be at least 1"),
        (lambda: SharedResNet(repeats=0), "repeats must be at least 1"),
        (lambda: SharedResNet(frames=14), "frames must be at least 15"),
        (lambda: SharedResNet(in_channels=0), "in_channels must be at least 1"),
        (lambda: CPResNet(rho=23), r"\(rho=23\): .* from 0 to 22"),
        (lambda: CPResNet(rho=-1), "from 0 to 22"),
        (lambda: CPResNet(mels=16), r"\(mels=16\): mels must be at least 17"),
        (lambda: CPResNet(frames=16), "frames must be at least 17"),
        (lambda: CPResNet(channels=0), "channels must be at least 1"),
        (lambda: DCASEBaseline(2023), r"DCASEBaseline\(2023\): baselines of 2020, 2021, 2022"),
        (lambda: DCASEBaseline("2022"), r"\('2022'\): .* give the year as an int"),
        (lambda: DCASEBaseline([2022]), r"\(\[2022\]\): .* are known"),
        (lambda: BCResNet(mels=64.0), r"\(mels=64\.0\): mels must be a whole number"),
        (lambda: BCResNetASC(8.0), "channels must be a whole number"),
        (lambda: CPResNet(rho=2.5), "rho must be a whole number"),
        (lambda: CPResNet(4.0), "channels must be a whole number"),
        (lambda: SharedResNet(mels=64.0), "mels must be a whole number"),
        (lambda: ResidualCNN(widths=(8, 8.0, 8, 8)), r"widths\[1\] must be a whole number"),
        (lambda: LinearMoments(32, 2.5), "order must be a whole number"),
        (lambda: AudioTransformer(heads=0), "heads must be at least 1"),
        (lambda: AudioTransformer(width=8, heads=16), "key_width must be at least 1"),
        (lambda: AudioTransformer(hidden=0), "hidden must be at least 1"),
        (lambda: AudioTransformer(patch=(8, 0)), r"patch\[1\] must be at least 1"),
        (lambda: AudioTransformer(stride=(8,)), "both are two numbers, of bands and of frames"),
        (lambda: AudioTransformer(patch=(41, 8)), "larger than the spectrogram of 40 bands"),
        (lambda: AudioTransformer(frames=11), "larger than the spectrogram of 40 bands and 11"),
    ],
)
def test_sizes_that_cannot_run_are_refused(build: object, message: str) -> None:
    """At construction, with what would work."""
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "build",
    [
        *(lambda n=n: BCResNetASC(2, mels=32, frames=n) for n in (7, 8, 15)),
        *(lambda n=n: SharedResNet(1, mels=32, frames=n) for n in (15, 16, 31)),
        *(lambda n=n: CPResNet(1, mels=n, frames=n) for n in (17, 18, 31)),
        lambda: LinearMoments(1, 1, 1, frames=1),
    ],
)
def test_runs_at_its_least_sizes(build: Callable[[], nn.Module]) -> None:
    """The bounds that the constructors state are the true ones."""
    model = build().eval()
    assert model(model.example_input_array).isfinite().all()


@pytest.mark.parametrize(
    "build",
    [
        *(lambda m, s=s: BCResNet(1, 2, s, mels=m, frames=1) for s in (1, 2, 3, 4, 5, 8)),
        lambda m: BCResNetASC(2, mels=m, frames=7),
        *(lambda m, s=s: SharedResNet(1, sub_bands=s, mels=m, frames=15) for s in (1, 2, 3)),
    ],
)
def test_sizes_that_a_refusal_names_do_run(build: Callable[[int], nn.Module]) -> None:
    named: set[int] = set()
    for mels in range(1, 100):
        try:
            build(mels)
        except ValueError as error:
            named |= set(map(int, re.search(r"(\d+) or (\d+) would work", str(error)).groups()))
    assert named
    for size in named:
        model = build(size).eval()
        assert model(model.example_input_array).isfinite().all()


def test_sizes_may_be_numpy_integers() -> None:
    """They come from tables and loops."""
    assert CPResNet(np.int64(2), np.int64(1)).stem[0].weight.shape == (2, 2, 5, 5)


@pytest.mark.parametrize("sub_bands", [1, 2, 3])
def test_rows_are_refused_exactly_where_shared_resnet_fails(sub_bands: int) -> None:
    """Every number of rows: refused, or the forward pass succeeds; and multiples of 16 S do."""
    running = SharedResNet(1, sub_bands=sub_bands, mels=16 * sub_bands, frames=15).eval()
    for mels in range(1, 35 * sub_bands):
        try:
            SharedResNet(1, sub_bands=sub_bands, mels=mels, frames=15)
        except ValueError:
            assert mels % (16 * sub_bands)
            with pytest.raises(RuntimeError):
                running(torch.zeros(1, 2, mels, 15))
        else:
            assert running(torch.zeros(1, 2, mels, 15)).isfinite().all()
