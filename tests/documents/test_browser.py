"""The documentation in a real browser: pages show something, and the console is silent."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOOKED_AT = ("index", "phases/prune", "results", "reference", "report")
ALL = "all-pages.html"
"""A page that shows every other one in a frame, one after the other."""

WALK = """<!doctype html><title>all</title><iframe id="frame"></iframe><script>
const pages = PAGES, frame = document.getElementById("frame")
frame.onload = () => {
  if (pages.length) frame.src = pages.shift()
  else console.info("seen all")
}
frame.src = pages.shift()
</script>"""

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
    "--window-size=1280,1700",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    return found


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *said: object) -> None:
        del said


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where a server on this machine shows the site."""
    pages = sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html"))
    (site / ALL).write_text(WALK.replace("PAGES", json.dumps(pages)), "utf-8")
    handler = functools.partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
    (site / ALL).unlink()


def looked(
    browser: str, address: str, folder: Path, patience: str = "--virtual-time-budget=5000"
) -> tuple[Path, list[str]]:
    """A picture of a page, and what its console said."""
    picture = folder / "page.png"
    command = [
        browser,
        *FLAGS,
        patience,
        f"--user-data-dir={folder}",
        f"--screenshot={picture}",
        address,
    ]
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False, timeout=300
    )
    assert picture.is_file(), done.stderr[-2000:]
    return picture, re.findall(r"CONSOLE.*", done.stderr)


def colours(picture: Path) -> np.ndarray:
    """Parts of the picture that each colour has, the largest first."""
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    counts = np.unique(pixels, axis=0, return_counts=True)[1]
    return np.sort(counts)[::-1] / len(pixels)


@pytest.mark.parametrize("page", LOOKED_AT)
def test_a_page_shows_something(page: str, browser: str, address: str, tmp_path: Path) -> None:
    picture, said = looked(browser, f"{address}/{page}.html", tmp_path)
    assert said == []
    parts = colours(picture)
    assert len(parts) > 100  # letters, a head in colour, pictures
    assert 0.02 < 1 - parts[0] < 0.98
    top = np.asarray(Image.open(picture).convert("RGB"))[10, 300]
    assert top[1] > top[0] + 50  # the head is teal: the theme's style is there


def test_a_blank_page_would_be_noticed(browser: str, address: str, tmp_path: Path) -> None:
    del address
    picture, _ = looked(browser, "about:blank", tmp_path)
    assert len(colours(picture)) == 1


def test_the_console_would_be_heard(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "wrong.html"
    page.write_text("<!doctype html><script>missing()</script>", "utf-8")
    assert any(
        "missing is not defined" in line for line in looked(browser, f"file://{page}", tmp_path)[1]
    )


def test_no_page_complains(browser: str, address: str, tmp_path: Path) -> None:
    """Nothing in the console of any page, but that the last one was seen."""
    _, said = looked(browser, f"{address}/{ALL}", tmp_path, "--timeout=200000")
    assert len(said) == 1, said
    assert '"seen all"' in said[0]
