"""Fetch a file over HTTP, going on where an earlier call or an earlier answer stopped."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from pooch.downloaders import DEFAULT_TIMEOUT, REQUESTS_HEADERS
from rich.progress import Progress, TaskID

RETRIES = 3
"""Number of times that a broken connection is taken up again."""
CHUNK = 1 << 16
"""Bytes that are read together; as many may be lost where a connection breaks."""


@dataclass(frozen=True)
class Resume:
    """Fetches one file; pooch's own downloader starts anew, and archives of TAU have 2 GB each.

    An answer that goes on where the part ends is added to it. One that starts anew, as of a server
    that ignores the question for the rest, is kept apart and takes the part's place when it is
    whole. What is no such answer (a web page, a file of another size) leaves the part as it was.

    Attributes:
        part: File of what came so far.
        size: Bytes of the whole file, as published.
        bar: Shows the progress.
        task: Its line.
    """

    part: Path
    size: int
    bar: Progress
    task: TaskID

    @property
    def _fresh(self) -> Path:
        return self.part.with_name(f"{self.part.name}.new")

    def fetch(self, url: str) -> None:
        """Bring `part` to its whole size; whether it is the right file, a checksum says.

        Raises:
            requests.RequestException: If the server cannot be reached, refuses, answers something
                else or breaks off too often.
            ValueError: If the server has a file of another size.
        """
        self._fresh.unlink(missing_ok=True)  # of a call that was killed
        for again in range(1, RETRIES + 1):
            try:
                self._attempt(url)
            except requests.RequestException:
                time.sleep(again)
            else:
                return
        self._attempt(url)

    def _attempt(self, url: str) -> None:
        """One question, or two where the answer to the first is of no use."""
        have = self.part.stat().st_size if self.part.is_file() else 0
        if have == self.size:  # killed before the checksum was known
            return
        if have < self.size:
            with self._asked(url, have) as answer:
                start = _start(answer)
                if start == have:
                    self._receive(answer, self.part, have)
                    return
                if start == 0:
                    self._renew(answer)
                    return
        with self._asked(url, 0) as answer:
            if _start(answer) != 0:
                raise requests.RequestException(
                    f"status {answer.status_code} in answer to a question for the whole file"
                )
            self._renew(answer)

    @contextmanager
    def _asked(self, url: str, have: int) -> Iterator[requests.Response]:
        """The server's answer about what comes after `have` bytes."""
        headers = {**REQUESTS_HEADERS, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with requests.get(url, headers=headers, stream=True, timeout=DEFAULT_TIMEOUT) as answer:
            beyond = answer.status_code == requests.codes.requested_range_not_satisfiable
            if have and beyond:
                yield answer  # it has no rest: it may have the whole
                return
            answer.raise_for_status()
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                raise requests.RequestException(
                    "a web page came instead, as from a network that waits for a login"
                )
            yield answer

    def _renew(self, answer: requests.Response) -> None:
        """Put an answer that starts anew in the part's place, once it is whole."""
        try:
            self._receive(answer, self._fresh, 0)
            self._fresh.replace(self.part)
        finally:
            self._fresh.unlink(missing_ok=True)

    def _receive(self, answer: requests.Response, file: Path, have: int) -> None:
        """Add an answer to a file of `have` bytes, which must then be whole."""
        stated = _whole_size(answer)
        if stated not in (None, self.size):
            raise ValueError(f"the server has {stated:,} bytes instead of {self.size:,}.")
        self.bar.update(self.task, completed=have)
        with file.open("ab") as opened:
            came = have
            for chunk in answer.iter_content(CHUNK):
                came += len(chunk)
                if came > self.size:  # a server may send for ever
                    break
                opened.write(chunk)
                self.bar.advance(self.task, len(chunk))
        # An answer in chunks says itself where it ends; any other may have broken off.
        chunked = answer.status_code == requests.codes.ok and "Transfer-Encoding" in answer.headers
        if came < self.size and not chunked:
            raise requests.ConnectionError(f"broke off after {came:,} of {self.size:,} bytes")
        if came != self.size:
            os.truncate(file, have)
            sent = "more than" if came > self.size else f"{came:,} bytes instead of"
            raise ValueError(f"the server sent {sent} {self.size:,}.")


def _start(answer: requests.Response) -> int | None:
    """Place in the file where an answer starts; none if it does not say."""
    if answer.status_code == requests.codes.ok:
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _whole_size(answer: requests.Response) -> int | None:
    """Bytes of the whole file, of which an answer may be the rest; none if it does not say."""
    given = answer.headers.get("Content-Length", "")
    if answer.status_code == requests.codes.partial:
        given = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(given) if given.isdecimal() else None
