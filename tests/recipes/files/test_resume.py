"""Answers to the question for the rest of a file: the good go on, the others destroy nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from rich.progress import Progress

from recipes.files import resume
from recipes.files.resume import Resume
from tests.helpers.server import Handler, Site, served

WHOLE = bytes(range(256)) * 100
HAVE = 10_000
PAGE = b"<html>Please log in</html>"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with served({"a.zip": WHOLE}, monkeypatch) as site:
        yield site


def fetched(site: Site, part: Path, have: int) -> bytes:
    part.write_bytes(WHOLE[:have])
    bar = Progress(disable=True)
    task = bar.add_task("")
    try:
        Resume(part, len(WHOLE), bar, task).fetch(f"{site.address}/files/a.zip")
    finally:
        assert [path.name for path in part.parent.iterdir()] == [part.name]
    return part.read_bytes()


def answer(status: int, content: bytes, **headers: str | int) -> Callable[[Handler, int], None]:
    """What a server answers to whatever it is asked; underscores stand for hyphens."""

    def give(handler: Handler, _: int) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(content)

    return give


def chunked(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)


TOTAL = len(WHOLE)
USELESS = {
    "page": (answer(200, PAGE, Content_Length=len(PAGE), Content_Type="text/html"), "a web page"),
    "page-without-length": (answer(200, PAGE, Content_Type="text/html"), "a web page"),
    "text": (answer(200, PAGE, Content_Length=len(PAGE)), "has 26 bytes instead of 25,600"),
    "text-in-chunks": (
        answer(200, chunked(PAGE), Transfer_Encoding="chunked"),
        "sent 26 bytes instead of 25,600",
    ),
    "breaks-off": (answer(200, WHOLE[:12_000], Content_Length=TOTAL), "IncompleteRead"),
    "breaks-off-unseen": (answer(200, WHOLE[:12_000]), "broke off after 12,000 of 25,600 bytes"),
    "another-start": (
        answer(206, WHOLE[7:], Content_Range=f"bytes 7-{TOTAL - 1}/{TOTAL}"),
        "status 206 in answer to a question for the whole",
    ),
    "another-size": (
        answer(206, WHOLE[HAVE:], Content_Range=f"bytes {HAVE}-{TOTAL - 1}/30000"),
        "has 30,000 bytes instead of 25,600",
    ),
    "too-much": (
        answer(206, bytes(TOTAL), Content_Range=f"bytes {HAVE}-{TOTAL - 1}/*"),
        "sent more than 25,600",
    ),
    "nothing": (answer(416, b"", Content_Length=0), "416"),
    "busy": (answer(503, PAGE, Content_Type="text/html"), "503"),
}


@pytest.mark.parametrize("kind", USELESS)
def test_an_answer_that_does_not_go_on_leaves_the_part(
    site: Site, tmp_path: Path, kind: str
) -> None:
    site.other, message = USELESS[kind]
    with pytest.raises((requests.RequestException, ValueError), match=message):
        fetched(site, tmp_path / "part", HAVE)
    assert (tmp_path / "part").read_bytes() == WHOLE[:HAVE]


def test_a_server_that_never_ends_is_left_where_the_file_should_end(
    site: Site, tmp_path: Path
) -> None:
    piece, sent = bytes(1 << 16), [0]

    def endless(handler: Handler, start: int) -> None:
        del start
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while sent[0] < 1 << 26:
                sent[0] += handler.wfile.write(piece)

    site.other = endless
    with pytest.raises(ValueError, match="sent more than 25,600"):
        fetched(site, tmp_path / "part", 0)
    assert sent[0] < 1 << 26  # what fits into sockets, and no more
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= TOTAL


@pytest.mark.parametrize(
    "other",
    [
        answer(200, WHOLE, Content_Length=TOTAL),
        answer(200, chunked(WHOLE), Transfer_Encoding="chunked"),
        answer(200, WHOLE),
        answer(206, WHOLE, Content_Range=f"bytes 0-{TOTAL - 1}/{TOTAL}"),
    ],
    ids=["length", "chunks", "neither", "206"],
)
def test_an_answer_from_the_start_replaces_the_part(
    site: Site, tmp_path: Path, other: Callable[[Handler, int], None]
) -> None:
    site.other = other
    part = tmp_path / "part"
    assert fetched(site, part, HAVE) == WHOLE
    part.write_bytes(b"of another file")
    assert fetched(site, part, 0) == WHOLE


def test_one_that_goes_on_elsewhere_is_asked_for_the_whole(site: Site, tmp_path: Path) -> None:
    def other(handler: Handler, start: int) -> None:
        if start:
            return handler.give(206, WHOLE[7:], f"bytes 7-{TOTAL - 1}/{TOTAL}")
        return handler.give(200, WHOLE)

    site.other = other
    assert fetched(site, tmp_path / "part", HAVE) == WHOLE
    assert [asked for _, asked in site.asked] == [f"bytes={HAVE}-", None]


def test_a_server_that_gives_little_at_a_time(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(handler: Handler, start: int) -> None:
        handler.give(206, WHOLE[start : start + 9_000], f"bytes {start}-{start + 8_999}/{TOTAL}")

    site.other = other
    monkeypatch.setattr(resume, "RETRIES", 2)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert fetched(site, tmp_path / "part", 0) == WHOLE


def test_a_whole_part_asks_for_nothing(site: Site, tmp_path: Path) -> None:
    (tmp_path / "part.new").write_bytes(b"of a call that was killed")
    assert fetched(site, tmp_path / "part", TOTAL) == WHOLE
    assert not site.asked


@pytest.mark.parametrize("have", [0, HAVE])
@pytest.mark.parametrize("after", [None, 5_000], ids=["before", "within"])
def test_a_slow_server(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, have: int, after: int | None
) -> None:
    """It is said that the time ran out, whenever it did, and what came is kept."""

    def other(handler: Handler, start: int) -> None:
        if after is not None:
            answer(
                206,
                WHOLE[start : start + after],
                Content_Range=f"bytes {start}-{TOTAL - 1}/{TOTAL}",
                Content_Length=TOTAL - start,
            )(handler, start)
        time.sleep(0.5)

    site.other = other
    monkeypatch.setattr(resume, "DEFAULT_TIMEOUT", 0.1)
    part = tmp_path / "part"
    with pytest.raises(requests.RequestException, match="timed out"):
        fetched(site, part, have)
    kept = part.read_bytes()
    assert WHOLE.startswith(kept)
    assert len(kept) == have + (4_096 if after else 0)
