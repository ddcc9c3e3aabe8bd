"""The metrics are those of scikit-learn, and of the official results."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from recipes.judging.metrics import Evaluation, checked_distributions, evaluate, half_width

CLASSES = ("airport", "bus", "metro", "park")
DEVICES = ("a", "b", "s1", "s10", "s4", "s9")


def draw(seed: int, clips: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, some of them exactly 0, and labels that may leave classes out."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), clips)
    probabilities[rng.random(clips) < 0.1] = np.eye(classes)[0]
    return probabilities, rng.integers(classes, size=clips)


@pytest.fixture
def evaluation() -> Evaluation:
    probabilities, labels = draw(0, 200)
    devices = [DEVICES[i % 6] for i in range(200)]
    cities = ["paris" if i < 50 else "lyon" for i in range(200)]
    return evaluate(probabilities, labels, CLASSES, devices=devices, cities=cities)


@given(seed=st.integers(0, 2**20), clips=st.integers(1, 60), classes=st.integers(2, 12))
def test_figures_are_those_of_scikit_learn(seed: int, clips: int, classes: int) -> None:
    probabilities, labels = draw(seed, clips, classes)
    answers = probabilities.argmax(1)
    names = tuple(f"class {i}" for i in range(classes))
    found = evaluate(probabilities, labels, names)
    every = list(range(classes))
    assert found.overall.accuracy == pytest.approx(oracle.accuracy_score(labels, answers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of answers that are no clip's class
        assert found.accuracy == pytest.approx(oracle.balanced_accuracy_score(labels, answers))
    assert found.log_loss == pytest.approx(oracle.log_loss(labels, probabilities, labels=every))
    matrix = oracle.confusion_matrix(labels, answers, labels=every)
    np.testing.assert_array_equal(found.confusion, matrix)


@given(seed=st.integers(0, 2**20), clips=st.integers(1, 60))
def test_groups_are_scored_as_if_alone(seed: int, clips: int) -> None:
    probabilities, labels = draw(seed, clips)
    rng = np.random.default_rng(seed)
    devices, cities = rng.choice(DEVICES, clips), rng.choice(["lyon", "paris"], clips)
    found = evaluate(probabilities, labels, CLASSES, devices=devices, cities=cities)
    classes = np.array(CLASSES)[labels]
    groups = ((found.device_wise, devices), (found.city_wise, cities), (found.class_wise, classes))
    for scores, names in groups:
        assert {name for name, score in scores.items() if score.clips} == set(names.tolist())
        for name in set(names.tolist()):
            alone = evaluate(probabilities[names == name], labels[names == name], CLASSES)
            assert scores[name] == alone.overall


@pytest.mark.parametrize(
    ("accuracy", "published"),
    [(0.761, 0.94), (0.734, 0.97), (0.721, 0.99), (0.701, 1.01), (0.638, 1.06), (0.456, 1.10)],
)
def test_intervals_are_those_of_the_official_poster_of_2021(
    accuracy: float, published: float
) -> None:
    assert round(100 * half_width(accuracy, 7_920), 2) == published


def test_interval_of_2025_fits_its_evaluation_set() -> None:
    assert 100 * half_width(0.581, 135_730) == pytest.approx(0.26, abs=0.005)  # 57.9 to 58.4


def test_figure_of_a_public_submission_is_the_mean_over_classes() -> None:
    # puy_vai_task1a_1 of 2021: what it recognised of the official test split, and what it reports.
    clips = np.array([296, 297, 297, 297, 297, 297, 297, 297, 297, 296])
    hits = np.array([171, 243, 182, 205, 247, 135, 204, 121, 255, 221])
    labels = np.repeat(np.arange(10), clips)
    answers = labels.copy()
    for place in range(10):
        wrong = np.flatnonzero(labels == place)[hits[place] :]
        answers[wrong] = (place + 1) % 10
    found = evaluate(np.eye(10)[answers], labels, [str(i) for i in range(10)])
    assert 100 * found.accuracy == pytest.approx(66.84593684593685, rel=1e-12)
    assert 100 * found.overall.accuracy != pytest.approx(66.84593684593685, rel=1e-6)


def test_interval_of_the_class_mean_covers_what_it_should() -> None:
    rng = np.random.default_rng(0)
    chances, clips = np.array([0.9, 0.5, 0.7]), np.array([400, 100, 50])
    inside = []
    for _ in range(1_000):
        labels = np.repeat(np.arange(3), clips)
        answers = np.where(rng.random(550) < chances[labels], labels, (labels + 1) % 3)
        macro = evaluate(np.eye(3)[answers], labels, "abc").macro
        inside.append(abs(macro.accuracy - chances.mean()) <= macro.half_width)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_a_class_without_clips_has_no_score_and_does_not_count() -> None:
    probabilities, labels = np.eye(4)[[0, 1, 3]], np.array([0, 1, 1])
    found = evaluate(probabilities, labels, CLASSES)
    assert found.class_wise["park"].clips == 0
    assert math.isnan(found.class_wise["park"].accuracy)
    assert found.accuracy == 0.75  # airport 1, bus 1/2
    assert "park" in str(found)
    assert "no clips" in str(found)
    assert found.data()["class_wise"]["park"]["accuracy"] is None


def test_devices_come_in_order_of_their_numbers(evaluation: Evaluation) -> None:
    assert list(evaluation.device_wise) == ["a", "b", "s1", "s4", "s9", "s10"]


def test_table_is_tidy(evaluation: Evaluation) -> None:
    table = evaluation.table()
    assert list(table.columns) == ["by", "name", "clips", "accuracy", "half_width", "log_loss"]
    assert table.value_counts("by").to_dict() == {
        "overall": 2,
        "class": 4,
        "device": 6,
        "city": 2,
    }
    for by in ("class", "device", "city"):
        part = table[table["by"] == by]
        assert part["clips"].sum() == 200
        hits = (part["clips"] * part["accuracy"]).sum()
        assert hits / 200 == pytest.approx(evaluation.overall.accuracy)


def test_data_survives_json(evaluation: Evaluation) -> None:
    data = evaluation.data()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["device_wise"]["s10"]["clips"] == 33
    assert np.sum(data["confusion"]) == 200


def test_text_names_the_challenge_s_figures(evaluation: Evaluation) -> None:
    text = str(evaluation)
    assert f"{100 * evaluation.accuracy:.2f} %" in text.splitlines()[0]
    assert f"log loss {evaluation.log_loss:.3f}" in text.splitlines()[0]
    assert all(name in text for name in (*CLASSES, *DEVICES, "lyon", "paris"))


@pytest.mark.parametrize("classes", [4, 30])
def test_plot_is_a_picture(tmp_path: Path, classes: int) -> None:
    probabilities, labels = draw(1, 50, classes)
    path = tmp_path / "deep" / "confusion.png"
    evaluate(probabilities, labels, [f"class {i}" for i in range(classes)]).plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in path.parent.iterdir()] == ["confusion.png"]


def test_half_precision_is_close_enough() -> None:
    probabilities, labels = draw(2, 100)
    found = evaluate(probabilities.astype(np.float16), labels, CLASSES)
    assert found.log_loss == pytest.approx(evaluate(probabilities, labels, CLASSES).log_loss, 0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_tensors_are_taken_as_a_network_gives_them(dtype: torch.dtype) -> None:
    """Of any type, with gradients asked for."""
    shares = torch.eye(4, dtype=dtype)[[0, 1, 3]].requires_grad_()
    found = evaluate(shares, torch.tensor([0, 1, 1]), CLASSES)
    assert found.data() == evaluate(np.eye(4)[[0, 1, 3]], np.array([0, 1, 1]), CLASSES).data()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64])
def test_labels_are_integers_of_any_type(dtype: type[np.integer]) -> None:
    """Small ones too, in which the number of a cell of the confusion matrix has no room."""
    shares, names = np.eye(20)[[19, 18]], [str(i) for i in range(20)]
    found = evaluate(shares, np.array([19, 17], dtype), names)
    assert np.argwhere(found.confusion).tolist() == [[17, 18], [19, 19]]


def test_rounding_above_one_counts_as_one() -> None:
    """No log loss is negative."""
    row = [[1.0000002, 0, 0, 0]]
    assert evaluate(row, np.array([0]), CLASSES).log_loss == 0
    assert checked_distributions(row, CLASSES).max() == 1


@pytest.mark.parametrize(
    ("names", "shown"),
    [("abb", "'abb'"), (["a", None, "b"], "None"), (["a", math.nan, "b"], "nan"), ([1, 2, 3], "1")],
)
def test_names_that_are_no_texts_are_refused(names: object, shown: str) -> None:
    for what in ("devices", "cities"):
        with pytest.raises(ValueError, match=f"{what} must be .* one for each clip: got {shown}"):
            evaluate(GOOD, np.zeros(3, int), CLASSES, **{what: names})


GOOD = np.full((3, 4), 0.25)
NAN, INFINITE, NEGATIVE = GOOD.copy(), GOOD.copy(), GOOD.copy()
NAN[1, 2] = np.nan
INFINITE[1] = [np.inf, -np.inf, 0.5, 0.5]
NEGATIVE[1] = [1.5, -0.5, 0, 0]


@pytest.mark.parametrize("bad", [NAN, INFINITE, NEGATIVE, GOOD * [[1], [1.1], [1]]])
def test_rows_that_are_no_distribution_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"1 of 3 rows are no distribution.*: row 1 sums to"):
        evaluate(bad, np.zeros(3, int), CLASSES)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(2, int), r"must be \(3,\) integers: got \(2,\)"),
        (np.zeros(3), "float64"),
        (np.array([0, 4, 1]), "label 4 of clip 1"),
        (np.array([0, 1, -1]), "label -1 of clip 2"),
    ],
)
def test_bad_labels_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(GOOD, labels, CLASSES)


def test_other_mistakes_are_refused() -> None:
    labels = np.zeros(3, int)
    with pytest.raises(ValueError, match=r"\(clips, 3\).*got \(3, 4\)"):
        evaluate(GOOD, labels, CLASSES[:3])
    with pytest.raises(ValueError, match="at least one clip"):
        evaluate(GOOD[:0], labels[:0], CLASSES)
    with pytest.raises(ValueError, match="named twice"):
        evaluate(GOOD, labels, ("a", "b", "b", "c"))
    with pytest.raises(ValueError, match="3 clips and 2 devices"):
        evaluate(GOOD, labels, CLASSES, devices=["a", "b"])
    with pytest.raises(ValueError, match="3 clips and 4 cities"):
        evaluate(GOOD, labels, CLASSES, cities=["paris"] * 4)
