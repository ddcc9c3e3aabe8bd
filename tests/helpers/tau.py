"""A small TAU data set with names of both forms; its sound is never read."""

from __future__ import annotations

from pathlib import Path

TRAIN = [
    ("audio/airport-lisbon-1000-40000-0-a.wav", "airport"),
    ("audio/park-paris-12-17-3-s1.wav", "park"),
    ("audio/tram-vienna-3-9-b.wav", "tram"),
    ("audio/tram-lyon-4-10-a.wav", "tram"),
]
TEST = [("audio/park-milan-77-500-9-s6.wav", "park"), ("audio/tram-milan-78-501-a.wav", "tram")]
UNUSED = [("audio/bus-milan-79-502-a.wav", "park")]


def table(path: Path, header: str, rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *map("\t".join, rows), ""]))


def meta_rows(*rows: tuple[str, str]) -> list[tuple[str, ...]]:
    found = []
    for name, scene in rows:
        parts = Path(name).stem.split("-")
        found.append((name, scene, f"{parts[1]}-{parts[2]}", parts[-1]))
    return found


def write_meta(root: Path, *rows: tuple[str, str]) -> None:
    header = "filename\tscene_label\tidentifier\tsource_label"
    table(root / "meta.csv", header, meta_rows(*rows))


def small(root: Path) -> Path:
    setup = root / "evaluation_setup"
    table(setup / "fold1_train.csv", "filename\tscene_label", TRAIN)
    table(setup / "fold1_evaluate.csv", "filename\tscene_label", TEST)
    table(setup / "fold1_test.csv", "filename", [row[:1] for row in TEST])
    write_meta(root, *TRAIN, *TEST, *UNUSED)
    (root / "audio").mkdir()
    for name, _ in [*TRAIN, *TEST, *UNUSED]:
        (root / name).touch()
    (root / "audio" / "metro-nowhere-1-2-a.wav").touch()  # in no list
    return root
