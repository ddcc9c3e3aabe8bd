"""Validation made from the training list: no place in both parts, like numbers of everything."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.data.esc50 import read_esc50
from recipes.data.listing import Listing
from recipes.data.split import by_location
from recipes.data.tau import read_tau


def places(per_scene: int, clips: int = 6, seed: int = 0) -> Listing:
    """Four scenes at places of their own, most clips by device a."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"{scene}-{place}-{clip}", scene, "abcaaa"[clip], f"x-{scene}{place}")
        for scene in ("bus", "metro", "park", "tram")
        for place in range(per_scene)
        for clip in range(int(rng.integers(3, clips + 1)))
    ]
    table = pd.DataFrame(rows, columns=["file", "scene", "device", "location"])
    table["label"] = table["scene"].astype("category").cat.codes.astype(np.int64)
    return Listing(Path(), table, ("bus", "metro", "park", "tram"))


@pytest.mark.slow
@given(
    per_scene=st.integers(5, 20),
    share=st.sampled_from([0.5, 0.25, 0.2]),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=50)
def test_no_place_is_divided_and_nothing_is_lost(per_scene: int, share: float, seed: int) -> None:
    whole = places(per_scene, seed=seed)
    train, validation = by_location(whole, share, seed=seed)
    assert not set(train.table["location"]) & set(validation.table["location"])
    files = [*train.table["file"], *validation.table["file"]]
    assert sorted(files) == sorted(whole.table["file"])
    order = {name: i for i, name in enumerate(whole.table["file"])}
    for part in (train, validation):
        assert part.table["file"].map(order).is_monotonic_increasing
        assert set(part.table["scene"]) == set(whole.table["scene"])
        assert set(part.table["device"]) == set(whole.table["device"])


def test_equal_seeds_divide_equally_and_others_otherwise() -> None:
    whole = places(12)
    parts = [by_location(whole, seed=seed)[1].table["file"].tolist() for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


@pytest.fixture(scope="module")
def mobile(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Listing:
    """The official training list of 2020, without sound."""
    source = shared_data / "tau_lists" / "tau2020_mobile_13962"
    if not source.is_dir():
        pytest.skip(f"no official lists at {source}")
    root = tmp_path_factory.mktemp("tau")
    (root / "evaluation_setup").mkdir()
    shutil.copy(source / "fold1_train.csv", root / "evaluation_setup")
    return read_tau(root, "train", missing="unchecked")


@pytest.mark.data
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_training_list_of_2020_mobile(mobile: Listing, seed: int) -> None:
    """A fifth of the clips within a point, scenes and devices within two points of their share."""
    train, validation = by_location(mobile, seed=seed)
    assert not set(train.table["location"]) & set(validation.table["location"])
    assert len(train) + len(validation) == 13_962
    assert len(validation) / 13_962 == pytest.approx(0.2, abs=0.01)
    for column in ("scene", "device"):
        shares = [part.table[column].value_counts(normalize=True) for part in (mobile, validation)]
        assert (shares[1] - shares[0]).abs().max() < 0.02


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.37, 0.4, 0.45])
def test_shares_that_are_no_whole_part(mobile: Listing, share: float) -> None:
    assert len(by_location(mobile, share)[1]) / 13_962 == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 6))]
)
@pytest.mark.parametrize("share", [0.2, 0.4])
def test_places_of_very_unlike_sizes(seed: int, share: float) -> None:
    """Log-normal: the part stays within a quarter of the share asked for."""
    rng = np.random.default_rng(seed)
    sizes = [(s, p, int(3 + 10 * rng.lognormal(0, 1))) for s in ("bus", "park") for p in range(15)]
    rows = [
        (f"{scene}-{place}-{clip}", scene, "abca"[clip % 4], f"{scene}-{place}")
        for scene, place, size in sizes
        for clip in range(size)
    ]
    table = pd.DataFrame(rows, columns=["file", "scene", "device", "location"])
    part = by_location(Listing(Path(), table, ("bus", "park")), share)[1]
    assert len(part) / len(table) == pytest.approx(share, rel=0.25)


def test_a_share_that_whole_places_do_not_give() -> None:
    """Two places, one of one clip and one of nine: a tenth or nine tenths."""
    rows = [(f"{clip}", "bus", "a", f"x-{min(clip, 1)}") for clip in range(10)]
    table = pd.DataFrame(rows, columns=["file", "scene", "device", "location"])
    with pytest.raises(ValueError, match=r"of 0\.5 was asked for, .* has 0\.[19]00 of the clips"):
        by_location(Listing(Path(), table, ("bus",)), 0.5)


def test_nothing_to_divide() -> None:
    whole = places(3)
    with pytest.raises(ValueError, match="There are no clips to divide"):
        by_location(whole.select(np.zeros(len(whole), np.bool_)))


def test_too_few_places() -> None:
    with pytest.raises(ValueError, match=r"has 4 locations, and 1 of scene bus: .* needs 5 in all"):
        by_location(places(1))
    whole = places(5)
    rare = whole.table["scene"].eq("park") & ~whole.table["location"].eq("x-park0")
    with pytest.raises(ValueError, match="1 of scene park"):
        by_location(whole.select(~rare))


def test_a_device_at_one_place_cannot_be_in_both_parts() -> None:
    whole = places(5)
    elsewhere = (whole.table["device"] == "c") & (whole.table["location"] != "x-bus0")
    with pytest.raises(ValueError, match="there is no device c in "):
        by_location(whole.select(~elsewhere))


@pytest.mark.parametrize("share", [0.0, 0.6, -1.0])
def test_shares_that_leave_no_training(share: float) -> None:
    with pytest.raises(ValueError, match=r"share must lie in \(0, 0\.5\]"):
        by_location(places(5), share)


@pytest.mark.data
def test_a_fold_of_esc50_is_held_out(esc50_root: Path) -> None:
    train, held_out = read_esc50(esc50_root, (1, 2, 3, 5)), read_esc50(esc50_root, (4,))
    assert (len(train), len(held_out)) == (1_600, 400)
    assert set(held_out.table["fold"]) == {4}
    sources = [
        {Path(name).name.rsplit("-", 2)[0] for name in part.table["file"]}
        for part in (train, held_out)
    ]
    assert not sources[0] & sources[1], "clips of one recording stay together"
    with pytest.raises(ValueError, match="Of ESC-50 hold out a fold"):
        by_location(train)
