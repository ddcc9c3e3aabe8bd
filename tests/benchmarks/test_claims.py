"""Roads of the papers' claims run at a tiny size, and the tables say what the records say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.accuracy import claims
from benchmarks.accuracy.claim_sound import GROUNDS, Heard, need
from benchmarks.accuracy.claims import Piece, Setting, pieces
from benchmarks.accuracy.claims_page import CLAIMS, report
from benchmarks.accuracy.papers import CONTROL, DENSE, FAST, LENGTHS, NETS, RECIPE
from benchmarks.common import sound
from benchmarks.common.command import recording
from benchmarks.common.records import Record, Records, add, make, read
from recipes.running.run_folder import RunFolder

SPEECH = GROUNDS["speech"]


def noise(bands: int, frames: int) -> Heard:
    """Noise whose level tells the class, by three devices."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(48) % SPEECH.classes
    x = torch.randn(48, 1, bands, frames, generator=generator) + y[:, None, None, None] / 4
    return Heard((x, y), (x[:24], y[:24]), {"a": (x[:24], y[:24]), "s4": (x[:12], y[:12])})


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    def heard(ground: str, bands: int, *, scaled: bool) -> Heard:
        mels = GROUNDS[ground].mels(bands, scaled=scaled)
        return noise(bands, mels.frames(16_000))

    monkeypatch.setattr(claims, "heard", heard)
    return Setting({"speech": FAST}, 24, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*features were to remain:UserWarning")
@pytest.mark.parametrize(
    ("net", "road", "stages"),
    [
        ("Shared-ResNet", RECIPE, {"dense", "pruned", "result"}),
        ("ASC, narrow", RECIPE, {"dense", "pruned", "result"}),
        ("ASC, narrow", CONTROL, {"dense", "result"}),
        ("tandem", DENSE, {"linear", "dense"}),
        ("tandem", RECIPE, {"dense", "rows", "pruned", "result"}),
    ],
)
def test_a_road_leaves_a_record(net: str, road: str, stages: set[str], setting: Setting) -> None:
    one = Piece("speech", net, 0, setting)
    found = one.run(road)
    assert set(found["accuracy"]) == stages
    for levels in found["accuracy"].values():
        assert set(levels) == {"train", "validation", "a", "s4"}
    if road == RECIPE:
        cap = NETS[net].budget(one.trained(one.heard()))
        for name, most in cap.caps.items():
            assert found[name] <= most
    assert (one.folder.path / "dense.safetensors").is_file()
    if road == CONTROL:  # a call that was killed before it could write its record
        again = one.run(road)
        assert again["accuracy"] == found["accuracy"]
        assert again["CPU seconds"] is None


def test_a_record_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    """On a machine whose `runs/` is empty, too: the committed line is enough."""
    options = recording("x", ground=GROUNDS, net=NETS).parse_args(["--net", "ASC", "--seed", "0"])
    runs = list(pieces(options, Setting(LENGTHS, None, tmp_path)))[:2]
    file = tmp_path / "records.jsonl"
    for run in runs:
        add(file, run.key, {"accuracy": 1})
    make(file, runs)  # which would train, and there is no data folder to train on
    assert len(read(file).found) == 2
    assert not (tmp_path / "speech").exists()


def test_dense_networks_come_before_their_roads() -> None:
    options = recording("x", ground=GROUNDS, net=NETS).parse_args(["--seed", "0"])
    keys = [run.key for run in pieces(options)]
    for key in keys:
        first = next(k for k in keys if all(k[n] == key[n] for n in ("ground", "net", "seed")))
        assert first["road"] == DENSE
    assert len({tuple(key.items()) for key in keys}) == len(keys)


@pytest.mark.parametrize("net", NETS)
def test_a_control_trains_for_as_long_as_the_recipe(net: str, tmp_path: Path) -> None:
    one, folder = NETS[net], RunFolder(tmp_path)
    for ground, length in LENGTHS.items():
        at = (GROUNDS[ground], length, folder)
        longer = one.epochs(CONTROL, *at)
        same = [road for road in one.roads if road in (RECIPE, "no teacher", "gradual")]
        assert all(one.epochs(road, *at) == longer for road in same)
        assert longer > 1


def test_every_claim_is_about_a_network_and_a_road_that_there_are() -> None:
    for claim in CLAIMS:
        for point in (claim.after, claim.before):
            assert point.road == DENSE or point.road in NETS[point.net].roads, claim


@pytest.fixture
def no_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Speech commands of which one of two clips is missing."""
    root = tmp_path / "speech_commands_v002_test"
    (root / "audio").mkdir(parents=True)
    (root / "clips.csv").write_text(
        "filename,keyword,speaker,part\na.ogg,go,1,train\nb.ogg,no,2,test\n"
    )
    (root / "audio" / "a.ogg").touch()
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path))
    return root


@pytest.mark.usefixtures("no_clips")
def test_a_folder_with_missing_clips_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(FileNotFoundError, match=r"1 of 2 clips are not below .*b\.ogg"):
        need(["speech"])
    with pytest.raises(FileNotFoundError, match=r"esc50"):
        need(["ESC-50"])


def test_a_folder_without_its_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"There is no .*clips\.csv"):
        sound.keyword_list()


# ------------------------------------------------------------------------------------------- tables


def record(road: str, seed: int, **stages: float) -> Record:
    """Of the network of 2020 on ESC-50: the same accuracy on every part."""
    levels: dict[str, Any] = {
        stage: dict.fromkeys(("train", "validation", "a"), value) for stage, value in stages.items()
    }
    return {
        "ground": "ESC-50", "net": "Shared-ResNet", "road": road, "seed": seed, "accuracy": levels,
        "params": 10, "macs": 20, "epochs": 5, "CPU seconds": 3600,
    }  # fmt: skip


FOUND = [
    record(DENSE, 0, dense=80.0),
    record(DENSE, 1, dense=82.0),
    record(CONTROL, 0, dense=80.0, result=80.5),
    record(CONTROL, 1, dense=82.0, result=82.3),
    record(RECIPE, 0, dense=80.0, pruned=79.0, result=78.0),
    record(RECIPE, 1, dense=82.0, pruned=82.0, result=82.0),
]


def test_claims_are_paired_by_seed_and_stand_beside_their_control() -> None:
    page = report(Records(tuple(FOUND)))
    row = "| 60 % zero and 16 bits | -0.2 to 0.0 | 2020, Table 4 | ESC-50 | -1.0 | 1.0 |"
    assert f"{row} -1.4 (1.1) | yes | 2 |" in page
    assert "| 16 bits on top | - |  | ESC-50 | -0.5 | 0.5 | - | - | 2 |" in page
    assert "89 % zero" not in page
    assert "6.0 CPU hours for 6 records" in page


def test_a_network_has_learned_if_its_control_gains_little() -> None:
    page = report(Records(tuple(FOUND)))
    assert "| +0.4 (0.1) | yes | 2 |" in page
    still = [record(DENSE, 0, dense=50.0), record(CONTROL, 0, dense=50.0, result=50.5)]
    assert "| +0.5 | no | 1 |" in report(Records(tuple(still)))


@pytest.mark.parametrize(
    ("level", "gained", "said"), [(78.0, 0.1, "no"), (80.9, 0.1, "yes"), (80.9, 0.9, "not learned")]
)
def test_a_claim_holds_to_two_standard_errors(level: float, gained: float, said: str) -> None:
    found = [
        one
        for seed in (0, 1)
        for one in (
            record(DENSE, seed, dense=81.0),
            record(CONTROL, seed, dense=81.0, result=81.0 + gained),
            record(RECIPE, seed, dense=81.0, result=level),
        )
    ]
    assert f" | {said} | 2 |" in report(Records(tuple(found))).partition("2020, Table 4")[2]


def test_why_a_claim_fails_is_said_where_there_are_roads_to_compare() -> None:
    found = [
        {**record(road, 0, dense=80.0, result=80.0 - lost), "net": "ASC"}
        for road, lost in ((DENSE, 0.0), (RECIPE, 3.0), ("gradual", 1.0))
    ]
    page = report(Records(tuple(found)))
    assert "on ESC-50, points against dense: as the recipe has it -3.0; in five steps -1.0." in page
    assert "points against dense" not in report(Records(tuple(found[:2])))


def test_the_committed_page_is_what_the_records_say() -> None:
    script = Path(claims.__file__)
    found = read(script.with_suffix(".jsonl"), {s for g in GROUNDS.values() for s in g.seeds})
    committed = script.with_suffix(".md").read_text("utf-8")
    # But for the versions of who wrote it, which end with the first sentence.
    assert committed.partition(". ")[2] == report(found).partition(". ")[2]


def test_a_page_without_records_says_how_many_there_are_to_be() -> None:
    page = report(Records())
    assert "No records yet (speech: 0 of" in page
    assert report(Records(tuple(FOUND))).count("ESC-50: 6 of ") == 1


def test_roads_that_ask_why_are_gone_with_fewer_seeds() -> None:
    options = recording("x", ground=GROUNDS, net=NETS).parse_args(["--ground", "speech"])
    options.seed = []
    seeds: dict[str, list[int]] = {}
    for run in pieces(options):
        if run.key["net"] == "ASC":
            seeds.setdefault(str(run.key["road"]), []).append(int(run.key["seed"]))
    assert seeds[RECIPE] == seeds[DENSE] == [0, 1, 2, 3, 4]
    assert seeds["gradual"] == [0, 1, 2]
    options.seed = [7]
    assert any(run.key["road"] == "gradual" for run in pieces(options))
