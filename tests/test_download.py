"""Downloads from a server on the loopback address that plays Zenodo and GitHub."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
import soundfile
from rich.console import Console

from recipes import archive, download
from recipes.download import DATA_SETS, Archive, DataSet
from recipes.esc50_data import read_esc50
from recipes.scenes import SceneSettings, write_scenes
from recipes.tau_data import read_tau

ROOT = Path(__file__).resolve().parents[1]
NAME = DATA_SETS["tau2022"].folder
SMALL = SceneSettings(
    train_recordings=1, train_copies=0, test_recordings=1, clips_per_location=1, sample_rate=16_000
)


@dataclass
class Site:
    """What the server has, what it was asked, and how it misbehaves."""

    files: dict[str, bytes]
    address: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True
    cut: int | None = None
    """Bytes of a file after which the connection breaks."""
    pause: float = 0.0
    """Seconds between pieces of 4 kB."""
    sums: dict[str, str] = field(default_factory=dict)

    def record(self) -> bytes:
        """Zenodo's answer about the record."""
        files = [
            {
                "key": name,
                "size": len(content),
                "checksum": "md5:" + self.sums.get(name, md5(content)),
                "links": {"self": f"{self.address}/files/{name}"},
            }
            for name, content in self.files.items()
        ]
        return json.dumps({"id": 6337421, "files": files}).encode()

    def fetched(self) -> list[str]:
        """Names of the archives asked for, in order."""
        return [path.rpartition("/")[2] for path, _ in self.asked if path.startswith("/files/")]


class Handler(BaseHTTPRequestHandler):
    def __init__(self, site: Site, *args: object) -> None:
        self.site = site
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.site.asked.append((self.path, asked))
        if self.path == "/api/records/6337421":
            return self.give(200, self.site.record())
        content = self.site.files.get(self.path.rpartition("/")[2])
        if content is None:
            return self.send_error(404)
        if not (asked and self.site.ranges):
            return self.give(200, content)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return self.give(416, b"", f"bytes */{len(content)}")
        return self.give(206, content[start:], f"bytes {start}-{len(content) - 1}/{len(content)}")

    def give(self, status: int, content: bytes, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.site.cut is not None and self.path.startswith("/files/"):
            content = content[: self.site.cut]
        for start in range(0, len(content), 4096):
            self.wfile.write(content[start : start + 4096])
            time.sleep(self.site.pause)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small data set in three archives, as TAU's are: meta, and sound in two."""
    root = write_scenes(tmp_path_factory.mktemp("scenes") / NAME, SMALL)
    files = {
        f"{NAME}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*.*"))
    }
    sound = [name for name in files if name.endswith(".wav")]
    parts = {
        "meta": [name for name in files if name.endswith(".csv")],
        "audio.1": sound[:50],
        "audio.2": sound[50:],
    }
    return {
        f"{NAME}.{part}.zip": zipped({name: files[name] for name in names})
        for part, names in parts.items()
    }


@pytest.fixture
def site(archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The server; pooch believes that it is Zenodo's."""
    site = Site(dict(archives))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site))
    server.handle_error = lambda *_: None  # a client that was killed
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "RETRIES", 0)
    monkeypatch.setattr(download, "CHUNK", 4_096)
    pretend(monkeypatch.setattr, site.address)
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def pretend(setattr_: Callable[..., None], address: str) -> None:
    """Send pooch's questions about a DOI to the server."""
    setattr_(
        pooch.downloaders,
        "doi_to_url",
        lambda doi, **_: f"https://zenodo.org/records/{doi.rpartition('.')[2]}",
    )
    setattr_(pooch.downloaders.ZenodoRepository, "base_api_url", f"{address}/api/records")


def fetch(to: Path, data_set: DataSet = DATA_SETS["tau2022"]) -> Path:
    return download.download(data_set, to, Console(quiet=True))


def whole(root: Path) -> None:
    """Everything is there and can be read at once, and nothing else is left."""
    assert len(read_tau(root, "train")) == 10
    assert len(read_tau(root, "test")) == 90
    assert len(list((root / "audio").iterdir())) == 100
    for path in (root / "audio").iterdir():
        assert soundfile.info(path).frames == 16_000
    left = {path.name for path in root.parent.joinpath(f"{NAME}.download").iterdir()}
    assert left <= {"lock"}


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
    monkeypatch.setattr(download, "RETRIES", 20)
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
    with pytest.raises(ValueError, match=r"audio\.1\.zip .* is not the file that was published"):
        fetch(tmp_path)
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
    site.record = lambda: b'{"message": "no such record"}'  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match=r"KeyError: 'files'.* by hand"):
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
        download._alone(tmp_path / f"{NAME}.download"),
        pytest.raises(OSError, match="Another process downloads to"),
    ):
        fetch(tmp_path)
    assert not site.asked


CALL = """
import sys
from pathlib import Path
import pooch
from recipes import download
from tests.test_download import pretend
pretend(setattr, sys.argv[1])
download.download(download.DATA_SETS["tau2022"], Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_download_goes_on(site: Site, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.download").mkdir()
    site.pause = 0.005
    name = list(site.files)[1]
    part = tmp_path / f"{NAME}.download" / f"{name}.part"
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", CALL, site.address, str(tmp_path)], cwd=ROOT, env={**os.environ}
    )
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size > 100_000):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(site.files[name])
    site.pause = 0.0
    site.asked.clear()
    whole(fetch(tmp_path))
    assert [asked for path, asked in site.asked if "audio.1" in path] == [f"bytes={kept}-"]
    assert not [path for path, _ in site.asked if "meta" in path], "unpacked before the kill"


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch.setattr, "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["download", "tau2022", "--to", str(tmp_path)])
    with pytest.raises(SystemExit, match="could not be read"):
        download.main()
