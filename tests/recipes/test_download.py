"""Downloads from a server on the loopback address that plays Zenodo and GitHub."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from recipes import download
from recipes.data.esc50 import read_esc50
from recipes.download import DATA_SETS, Archive
from recipes.files import archive, resume
from recipes.files.lock import locked
from tests.helpers.server import (
    NAME,
    Site,
    calling,
    fetch,
    pretend,
    served,
    small_archives,
    whole,
    zipped,
)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return small_archives(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def site(archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with served(archives, monkeypatch) as site:
        yield site


def test_a_data_set_arrives_ready_to_be_read(site: Site, tmp_path: Path) -> None:
    root = fetch(tmp_path)
    assert root == tmp_path / NAME
    whole(root)
    assert site.fetched() == list(site.files)


def test_what_is_complete_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    fetch(tmp_path)
    site.asked.clear()
    fetch(tmp_path)
    assert not site.fetched()
    shutil.rmtree(tmp_path / NAME)
    whole(fetch(tmp_path))


def test_only_what_changed_at_the_source_is_fetched(site: Site, tmp_path: Path) -> None:
    fetch(tmp_path)
    name = next(iter(site.files))
    site.files[name] = zipped({f"{NAME}/README.md": b"a new version"})
    site.asked.clear()
    root = fetch(tmp_path)
    assert site.fetched() == [name]
    assert (root / "README.md").read_bytes() == b"a new version"


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
def test_a_connection_that_breaks_is_taken_up_again(
    site: Site, tmp_path: Path, *, ranges: bool
) -> None:
    site.cut, site.ranges = 4_096, ranges
    store = tmp_path / f"{NAME}.download"
    for _ in range(2):
        with pytest.raises(ConnectionError, match=r"meta\.zip could not be read .* Call again"):
            fetch(tmp_path)
    part = next(store.glob("*.part"))
    assert part.stat().st_size == (8_192 if ranges else 4_096)
    site.cut = None
    site.asked.clear()
    whole(fetch(tmp_path))
    expected = f"bytes={8_192 if ranges else 4_096}-"
    assert [asked for path, asked in site.asked if "meta" in path] == [expected]


def test_a_broken_connection_is_retried_within_a_call(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "RETRIES", 20)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    site.cut = 409_600
    site.files = {name: site.files[name] for name in list(site.files)[:2]}
    fetch(tmp_path)
    sizes = [len(content) for content in site.files.values()]
    assert len(site.fetched()) == sum(-(-size // 409_600) for size in sizes)


def test_a_part_that_is_whole_already(site: Site, tmp_path: Path) -> None:
    """Killed after the last byte and before the check."""
    store = tmp_path / f"{NAME}.download"
    store.mkdir()
    for name, content in site.files.items():
        (store / f"{name}.part").write_bytes(content)
    whole(fetch(tmp_path))


def test_a_part_of_another_file_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    store = tmp_path / f"{NAME}.download"
    store.mkdir()
    first, second, _ = site.files
    (store / f"{first}.part").write_bytes(bytes(10**7))  # longer than the file
    (store / f"{second}.part").write_bytes(bytes(500))  # its start is not the file's
    whole(fetch(tmp_path))


def test_a_wrong_checksum(site: Site, tmp_path: Path) -> None:
    name = list(site.files)[1]
    site.sums[name] = "0" * 32
    with pytest.raises(ValueError, match=rf"{name} from .* expected md5:0+ but got .* by hand"):
        fetch(tmp_path)
    assert not (tmp_path / NAME / "audio").exists(), "what is not right is not unpacked"
    site.sums.clear()
    whole(fetch(tmp_path))


def test_an_archive_put_there_by_hand_is_taken(site: Site, tmp_path: Path) -> None:
    store = tmp_path / f"{NAME}.download"
    store.mkdir()
    name = list(site.files)[1]
    (store / name).write_bytes(site.files[name])
    whole(fetch(tmp_path))
    assert name not in site.fetched()


def test_a_wrong_checksum_is_fetched_once(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more where it began as a part of perhaps another file."""
    monkeypatch.setattr(resume, "RETRIES", 3)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    name = next(iter(site.files))
    site.sums[name] = "0" * 32
    with pytest.raises(ValueError, match=r"not the file that was published: expected md5:0+ but"):
        fetch(tmp_path)
    assert site.fetched() == [name]
    part = tmp_path / f"{NAME}.download" / f"{name}.part"
    part.write_bytes(site.files[name][:100])
    site.asked.clear()
    with pytest.raises(ValueError, match="is not the file that was published"):
        fetch(tmp_path)
    assert [asked for path, asked in site.asked if "/files/" in path] == ["bytes=100-", None]


def test_what_was_deleted_is_fetched_again(site: Site, tmp_path: Path) -> None:
    root = fetch(tmp_path)
    *_, last = site.files
    max((root / "audio").iterdir()).unlink()
    site.asked.clear()
    console = Console(file=io.StringIO())
    download.fetch_data_set(DATA_SETS["tau2022"], tmp_path, console)
    whole(root)
    assert site.fetched() == [last]
    assert f"1 of 50 files of {last} are gone from {root}: it is" in console.file.getvalue()
    shutil.rmtree(root / "audio")
    site.asked.clear()
    whole(fetch(tmp_path))
    assert site.fetched() == [name for name in site.files if "audio" in name]


def test_a_marker_that_lists_nothing_is_not_believed(site: Site, tmp_path: Path) -> None:
    root = fetch(tmp_path)
    for marker in (root / ".unpacked").iterdir():
        marker.write_bytes(b"")
    shutil.rmtree(root / "audio")
    whole(fetch(tmp_path))
    assert site.fetched() == 2 * list(site.files)


def test_a_closed_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch.setattr, "http://127.0.0.1:9")
    message = r"record of doi:10\.5281/zenodo\.6337421 could not be read .*zenodo\.org/records/6337"
    with pytest.raises(ConnectionError, match=message) as caught:
        fetch(tmp_path)
    assert f"unpack them so that {tmp_path / NAME} holds" in str(caught.value)


def test_a_server_that_answers_something_else(site: Site, tmp_path: Path) -> None:
    site.record = lambda: b"<html>Please log in to the network</html>"  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match=r"JSONDecodeError.* by hand"):
        fetch(tmp_path)


ZIP = {"key": "a.zip", "size": 3, "checksum": "md5:" + 32 * "0", "links": {"self": "x"}}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"message": "no such record"}, "KeyError: 'files'"),
        ([], "TypeError"),
        (None, "TypeError"),
        ({"files": None}, "TypeError"),
        ({"files": ["x"]}, "Error"),
        ({"files": [None]}, "TypeError"),
        ({"files": [ZIP | {"checksum": None}]}, "TypeError"),
        ({"files": [ZIP | {"checksum": "md5:"}]}, "has no checksum or no size"),
        ({"files": [ZIP | {"size": 0}]}, "has no checksum or no size"),
        ({"files": [ZIP | {"key": "../a.zip"}]}, "it lists 1 files and no zip"),
        ({"id": 6337421, "files": []}, "it lists 0 files and no zip archive among them"),
        ({"files": [{"key": "a.txt", "checksum": "md5:0"}]}, "it lists 1 files and no zip"),
    ],
)
def test_records_of_another_kind(site: Site, tmp_path: Path, record: object, why: str) -> None:
    site.record = lambda: json.dumps(record).encode()  # type: ignore[method-assign]
    with pytest.raises(
        ConnectionError, match=rf"record of doi.*could not be read .*{why}.*by hand"
    ):
        fetch(tmp_path)


def test_a_full_disk_is_told_before_the_start(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 10_000})()
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"3 archives, unpacked, need 0\.01 GB in .* Make space"):
        fetch(tmp_path)
    assert not site.fetched()


def test_a_second_download_to_the_same_folder(site: Site, tmp_path: Path) -> None:
    with (
        locked(tmp_path / f"{NAME}.download" / "lock", "downloads to it"),
        pytest.raises(OSError, match=r"Another process downloads to .*\.download: wait"),
    ):
        fetch(tmp_path)
    assert not site.asked


@pytest.mark.slow
def test_a_killed_download_goes_on(site: Site, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.download").mkdir()
    site.pause = 0.005
    name = list(site.files)[1]
    part = tmp_path / f"{NAME}.download" / f"{name}.part"
    process = calling(site, tmp_path)
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size > 100_000):
        assert time.monotonic() < deadline
        assert process.is_alive(), "it ended by itself"
        time.sleep(0.005)
    process.kill()
    process.join()
    kept = part.stat().st_size
    assert 0 < kept < len(site.files[name])
    site.pause = 0.0
    site.asked.clear()
    whole(fetch(tmp_path))
    assert [asked for path, asked in site.asked if "audio.1" in path] == [f"bytes={kept}-"]
    assert not [path for path, _ in site.asked if "meta" in path], "unpacked before the kill"


DEATHS = {
    "before the checksum": "download._checksum = die",
    "between two files": """
write, count = archive._write, iter(range(70))
archive._write = lambda *given: die() if next(count, None) is None else write(*given)""",
    "within a file": """
archive.shutil.copyfileobj = lambda source, file, _: (file.write(b"x"), file.flush(), die())""",
    "before the marker": "download.write_bytes = die",
    "after the marker": """
Path.unlink = lambda path, **_: die() if path.suffix == ".zip" else None""",
}


@pytest.mark.slow
@pytest.mark.parametrize("before", DEATHS.values(), ids=[*DEATHS])
def test_a_call_killed_anywhere_loses_nothing(site: Site, tmp_path: Path, before: str) -> None:
    """What came is not fetched again, and the next call ends with all."""
    process = calling(site, tmp_path, before)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    came = site.fetched()
    assert came
    site.asked.clear()
    whole(fetch(tmp_path))
    assert site.fetched() == [name for name in site.files if name not in came]


def test_esc50_comes_as_one_archive_of_a_commit(site: Site, tmp_path: Path) -> None:
    source = DATA_SETS["esc50"]
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(80_000), 16_000, format="WAV")
    content = zipped(
        {
            f"{source.top}/meta/esc50.csv": b"filename,fold,target,category\n1-1-A-0.wav,1,0,dog\n",
            f"{source.top}/audio/1-1-A-0.wav": buffer.getvalue(),
        }
    )
    site.files["archive.zip"] = content
    there = Archive(
        url=f"{site.address}/files/archive.zip",
        checksum="sha256:" + hashlib.sha256(content).hexdigest(),
        size=len(content),
    )
    root = fetch(tmp_path, replace(source, archives={"archive.zip": there}))
    assert root == tmp_path / "esc50"
    assert len(read_esc50(root)) == 1


def test_every_data_set_is_fully_described() -> None:
    for data_set in DATA_SETS.values():
        assert (data_set.doi is None) != (data_set.archives is None)
        assert data_set.page.startswith("https://")
    assert {name: data_set.doi for name, data_set in DATA_SETS.items() if data_set.doi} == {
        "tau2020": "10.5281/zenodo.3819968",
        "tau2020-3class": "10.5281/zenodo.3670185",
        "tau2022": "10.5281/zenodo.6337421",
    }


def test_the_command_line_says_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch.setattr, "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["download", "tau2022", "--to", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        download.main()
    assert "could not be read" in capsys.readouterr().err
