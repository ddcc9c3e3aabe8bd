"""A server on the loopback address that plays Zenodo and GitHub, for the tests of downloads."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pooch
import pytest
import soundfile
from rich.console import Console

from recipes import download
from recipes.data.tau import read_tau
from recipes.download import DATA_SETS, DataSet
from recipes.files import archive, resume
from recipes.generated.scenes import SceneSettings, write_scenes

PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
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
    """Checksums that its record states instead of the right ones."""
    other: Callable[[Handler, int], None] | None = None
    """What it answers instead, when asked for what comes after so many bytes of a file."""

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
        if self.site.other:
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            return self.site.other(self, start)
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


def small_archives(folder: Path) -> dict[str, bytes]:
    """A small data set in three archives, as TAU's are: meta, and sound in two."""
    root = write_scenes(folder / NAME, SMALL)
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


@contextmanager
def served(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The server; pooch believes that it is Zenodo's."""
    site = Site(dict(files))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site))
    server.handle_error = lambda *_: None  # a client that was killed
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    for variable in PROXIES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(resume, "RETRIES", 0)
    monkeypatch.setattr(resume, "CHUNK", 4_096)
    pretend(monkeypatch.setattr, site.address)
    try:
        yield site
    finally:
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
    return download.fetch_data_set(data_set, to, Console(quiet=True))


def whole(root: Path) -> None:
    """Everything is there and can be read at once, and nothing else is left."""
    assert len(read_tau(root, "train")) == 10
    assert len(read_tau(root, "test")) == 90
    assert len(list((root / "audio").iterdir())) == 100
    for path in (root / "audio").iterdir():
        assert soundfile.info(path).frames == 16_000
    left = {path.name for path in root.parent.joinpath(f"{NAME}.download").iterdir()}
    assert left <= {"lock"}


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _call(address: str, to: Path, before: str) -> None:
    for variable in PROXIES:
        os.environ.pop(variable, None)
    pretend(setattr, address)
    names = {"archive": archive, "download": download, "Path": Path, "die": _die}
    exec(before, names)  # noqa: S102 - our own code
    download.fetch_data_set(DATA_SETS["tau2022"], to)


def calling(site: Site, to: Path, before: str = "") -> ForkServerProcess:
    """A download by a process of its own, which may be told when to `die`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.warm"])
    process = context.Process(target=_call, args=(site.address, to, before))
    process.start()
    return process
