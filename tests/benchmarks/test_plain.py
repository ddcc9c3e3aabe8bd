"""The rival of the training benchmark computes what ours computes, so that comparing is fair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD
from torch.utils.data import DataLoader

from benchmarks.common import contest
from benchmarks.common.contest import Contest, Result
from benchmarks.speed import caching, plain, training
from benchmarks.speed.plain import KeptFilters, PlainBCResNetASC, log_mel, roll_and_mask
from models import BCResNetASC
from recipes.data.audio import decode
from recipes.data.esc50 import FORMAT, read_esc50
from recipes.features.logmel import FLOOR, MELS_2020, MELS_2021, MelSettings, log_mels
from recipes.training.paper_plans import Training2021

CPU = torch.device("cpu")
MASKED = Training2021(bands=40, frames=8)
OLD_IMPORTS = pytest.mark.filterwarnings("ignore:.*slated for removal:DeprecationWarning")
"""`librosa.load` imports audioread, which imports what Python 3.13 no longer has."""

LAYERS = {
    1: "stem.0",
    2: "stem.1",
    4: "stage1.0",
    5: "stage1.1",
    8: "stage2.0",
    9: "stage2.1",
    12: "stage3.0",
    13: "stage3.1",
    15: "stage4.0",
    16: "stage4.1",
    17: "stage4.2",
    19: "classifier",
}
INSIDE = {
    "conv": "pointwise",
    "bn": "norm_in",
    "frequency": "depthwise",
    "ssn.bn": "norm.norm",
    "time": "temporal.depthwise",
    "time_bn": "temporal.norm",
    "mix": "temporal.pointwise",
}
"""What the rival calls the parts of a network and of a block, and what we call them."""


def our_name(name: str) -> str:
    """Ours for "layers.4.ssn.bn.weight" and the like."""
    _, index, *inside, entry = name.split(".")
    ours = [LAYERS[int(index)], *([INSIDE[".".join(inside)]] if inside else []), entry]
    return ".".join(ours)


def twins(width: int) -> tuple[BCResNetASC, PlainBCResNetASC]:
    """Ours with random statistics and affine parameters, and the rival with the same."""
    torch.manual_seed(width)
    ours, theirs = BCResNetASC(width), PlainBCResNetASC(width)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight.data, module.running_var):
                value.uniform_(0.5, 2)
            for value in (module.bias.data, module.running_mean):
                value.normal_()
    state = ours.state_dict()
    theirs.load_state_dict({name: state[our_name(name)] for name in theirs.state_dict()})
    for module in (*ours.modules(), *theirs.modules()):
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return ours, theirs


@pytest.mark.parametrize(("width", "count"), [(10, 8_055), (80, 314_970)])
def test_the_rival_has_the_published_number_of_parameters(width: int, count: int) -> None:
    assert sum(p.numel() for p in PlainBCResNetASC(width).parameters()) == count
    assert sum(p.numel() for p in BCResNetASC(width).parameters()) == count


@pytest.mark.parametrize("width", [10, 80])
def test_with_our_weights_the_rival_gives_our_output(width: int) -> None:
    ours, theirs = twins(width)
    assert sorted(map(our_name, theirs.state_dict())) == sorted(ours.state_dict())
    x = torch.randn(2, 1, 256, 34, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = ours.eval()(x)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(theirs.eval()(x), expected, rtol=1e-5, atol=1e-5)


def test_with_our_weights_the_rival_gives_our_gradients_and_statistics() -> None:
    ours, theirs = (network.double().train() for network in twins(10))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 1, 64, 34, generator=generator, dtype=torch.float64)
    for network in (ours, theirs):
        functional.cross_entropy(network(x), torch.arange(4)).backward()
    gradients = {name: value.grad for name, value in ours.named_parameters()}
    for name, value in theirs.named_parameters():
        torch.testing.assert_close(value.grad, gradients[our_name(name)], rtol=1e-6, atol=1e-9)
    for name, value in theirs.named_buffers():
        torch.testing.assert_close(value, ours.get_buffer(our_name(name)))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [MELS_2021, MELS_2020], ids=["2021", "2020"])
def test_the_rival_hears_what_we_hear(settings: MelSettings) -> None:
    audio = np.random.default_rng(0).integers(-9000, 9000, (1, 2, settings.sample_rate), np.int16)
    ours = log_mels(torch.from_numpy(audio), settings, CPU)[0].double().numpy()
    power = np.exp(ours * settings.spread + settings.level) - FLOOR
    clip = training.as_librosa_loads(audio)[0]
    for decibels in (log_mel(clip, settings), KeptFilters(settings).log_mel(clip)):
        assert decibels.shape == power.shape
        np.testing.assert_allclose(10 ** (decibels / 10), power, rtol=1e-3, atol=1e-8)


def test_the_rival_rolls() -> None:
    x = np.random.default_rng(0).normal(size=(64, 34)).astype(np.float32)
    unmasked = Training2021()
    starts = set()
    for seed in range(20):
        found = roll_and_mask(x, unmasked, np.random.default_rng(seed))
        shift = [k for k in range(34) if np.array_equal(found, np.roll(x, k, axis=1))]
        assert len(shift) == 1
        starts.update(shift)
    assert len(starts) > 10


def test_the_rival_masks_at_most_two_bands_and_two_spans() -> None:
    x = np.random.default_rng(0).normal(size=(256, 34)).astype(np.float32)
    before = x.copy()
    still = Training2021(roll=0.0, bands=40, frames=8)
    most = [0, 0]
    for seed in range(50):
        changed = roll_and_mask(x, still, np.random.default_rng(seed)) != x
        for axis, widest in ((0, 40), (1, 8)):
            covered = changed.all(axis=1 - axis)
            assert covered.sum() <= 2 * widest
            edges = np.diff(np.pad(covered, 1).astype(int))
            assert (edges == 1).sum() <= 2
            most[axis] = max(most[axis], covered.sum())
        rows, columns = changed.all(axis=1), changed.all(axis=0)
        assert np.array_equal(changed, rows[:, None] | columns[None])
    assert most[0] > 40
    assert most[1] > 8
    assert np.array_equal(x, before)


@pytest.mark.slow
def test_recordings_become_the_spectrograms_that_are_made_beforehand() -> None:
    clips = np.random.default_rng(0).normal(size=(3, 16_000)).astype(np.float32)
    labels = np.array([2, 0, 1])
    recordings = plain.Recordings(clips, labels, MASKED, MELS_2021)
    made = plain.Spectrograms([log_mel(clip, MELS_2021) for clip in clips], labels, MASKED)
    assert len(recordings) == len(made) == 3
    for i in (2, 0, 1):
        (x, label), (y, same) = recordings[i], made[i]
        assert x.shape == (1, 256, 34)
        assert torch.equal(x, y)
        assert label == same == labels[i]


def test_the_rival_learns() -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(20) % 2
    x = [rng.normal(size=(64, 34)).astype(np.float32) for _ in classes]
    for clip, label in zip(x, classes, strict=True):
        clip[32 * label : 32 * label + 32] += 2
    plan = Training2021(lr=0.05, mixup=0.3)
    torch.manual_seed(0)
    model = PlainBCResNetASC(4)
    optimizer = SGD(model.parameters(), lr=plan.lr, momentum=plan.momentum)
    loader = DataLoader(plain.Spectrograms(x, classes, plan), batch_size=10, shuffle=True)
    losses = [plain.train_epoch(model, loader, optimizer, plan, CPU) for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]


# -------------------------------------------------------------------------------------- measuring


def test_ways_run_in_turn_forwards_and_backwards() -> None:
    order: list[str] = []
    ways = {name: (lambda name=name: order.append(name)) for name in "abc"}
    found = contest.alternate(ways, n=3, least=0.0, device=CPU)
    assert "".join(order) == "aabbcc" + "abc" + "cba" + "abc"
    assert all(len(seconds) == 3 for seconds in found.values())


def test_short_work_is_repeated() -> None:
    counted = [0]

    def count() -> None:
        counted[0] += 1
        sum(range(1000))

    found = contest.alternate({"count": count}, n=1, least=0.01, device=CPU)
    assert counted[0] > 50
    assert 0 < found["count"][0] < 0.001


def test_a_row_says_how_many_times_faster() -> None:
    ways = {"slow": _hold, "slower": _hold}
    found = Result(
        Contest("work", 10, _hold, ways, goal=3.0),
        {"ours": [1.0, 2.0, 1.0], "slow": [2.0, 5.0, 4.0], "slower": [8.0, 8.0, 8.0]},
        {"ours": 1.25, "slow": None, "slower": 3.0},
    )
    assert found.rows() == [
        ["work", "10", "slow", "2", "2.00 / 2.50 / 4.00", "3, missed", "1.2", ""],
        ["work", "10", "slower", "1", "4.00 / 8.00 / 8.00", "", "1.2", "3.0"],
    ]


def _hold(mebibytes: int) -> contest.Call:
    """Work that needs so much memory while it lasts."""
    return lambda: int(np.ones(mebibytes * contest.MIB, np.uint8)[-1])


@pytest.mark.slow
def test_the_peak_is_that_of_the_work_alone() -> None:
    ballast = np.ones(512 * contest.MIB, np.uint8)  # a child's `ru_maxrss` would start with it
    peak = contest.resident_peak(_hold, 64)
    if peak is None:
        pytest.skip("no account of a process's memory at /proc/self")
    assert 63 < peak < 68
    assert ballast[-1]


@pytest.mark.data
@pytest.mark.usefixtures("esc50_root")
def test_the_sound_is_esc50_end_to_end(shared_data: Path) -> None:
    paths = read_esc50(shared_data / "esc50").paths[:2]
    stream = np.concatenate([decode(path, FORMAT)[0] for path in paths])
    found = training.sound(8, 1, 16_000, 1)
    assert np.array_equal(found, stream[: 8 * 16_000].reshape(8, 1, 16_000))
    stereo = training.sound(1, 10, 16_000, 2)
    assert np.array_equal(stereo[0, 0], stereo[0, 1])
    assert np.array_equal(stereo[0, 1], stream)


@OLD_IMPORTS
def test_generated_files_are_decoded_in_every_way(tmp_path: Path) -> None:
    paths = caching.write_wavs(tmp_path, 6)
    rows = caching.rows("noise", paths, caching.TAU, 2)
    assert rows[0][:2] == ["noise", "librosa.load"]
    assert rows[1][1] == "cache, 1 thread"
    assert rows[2][1] == "cache, 2 threads"


@pytest.fixture
def no_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without ESC-50."""
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path))
    kept = (training.sound, training._their_features)
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()


@OLD_IMPORTS
@pytest.mark.slow
@pytest.mark.usefixtures("no_sound")
def test_the_whole_script_runs_small(capsys: pytest.CaptureFixture[str]) -> None:
    training.main(["--quick", "--no-memory"])
    page = capsys.readouterr().out.partition("# Training beside")[2]
    heads = (" | ".join(head) for head in (contest.HEAD, caching.HEAD))
    for part in ("noise, ESC-50 is not there", "n = 1 rounds", *heads):
        assert part in page
    for rows, count in (("| front end", 6), ("| network step", 4), ("| step with", 4)):
        assert page.count(rows) == count
    assert page.count("bfloat16, channels-last, traced") == 4
    assert page.count("| epoch") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("no_sound")
def test_only_what_is_asked_for_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    training.main(["--quick", "--no-memory", "--only", "network step, 2 channels, batch 4,"])
    page = capsys.readouterr().out.partition("# Training beside")[2]
    assert page.count("network step") == 1
    assert "Decoding" not in page


def test_the_options_are_every_combination() -> None:
    names = [str(option) for option in training.options(training.Sizes())]
    assert len(names) == len(set(names)) == 12
    assert not names[0]
    assert names[-1] == ", bfloat16, channels-last, compiled to a CUDA graph"


def test_an_option_changes_layout_and_precision() -> None:
    option = training.Option(bfloat16=True, channels_last=True)
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(1, 2, 5, 5))
    seen: list[Tensor] = []
    network[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    prepared = option.prepare(network, CPU)
    loss = option.loss(prepared, (torch.randn(2, 2, 5, 5), torch.tensor([0, 1])))
    assert loss.dtype == torch.float32
    assert seen[0].dtype == torch.bfloat16
    assert prepared[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert training.PLAIN.prepare(network, CPU)[0].weight.is_contiguous()
