"""What all tests share: one thread, and where real sound lies."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]


# The same cases for everybody: what is green here is green there. `make explore` draws new ones.
settings.register_profile("repeat", derandomize=True, max_examples=50)
settings.register_profile("explore", print_blob=True, max_examples=100)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


def pytest_configure() -> None:
    # One thread: results then do not depend on the machine, and small networks run faster.
    torch.set_num_threads(1)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    # What is there by now, 600,000 objects, stays to the end: the collector need not look at it
    # again and again, nor `fit`, which looks for averages of its model.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def stays() -> Iterator[None]:
    """Likewise what a file's tests have imported and remembered, hundreds of modules of PyTorch."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sound: COMPRESSOR_DATA, else ../shared/data beside the project."""
    folder = Path(os.environ.get("COMPRESSOR_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real sound at {folder}; set COMPRESSOR_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def tau2022(shared_data: Path) -> Path:
    """A few clips of TAU Urban Acoustic Scenes 2022 Mobile, in its official layout."""
    folder = shared_data / "TAU-urban-acoustic-scenes-2022-mobile-development-mini"
    if not folder.is_dir():
        pytest.skip(f"no TAU clips at {folder}")
    return folder


@pytest.fixture(scope="session")
def esc50_root(shared_data: Path) -> Path:
    """ESC-50 in its official layout."""
    folder = shared_data / "esc50"
    if not (folder / "meta" / "esc50.csv").is_file():
        pytest.skip(f"no ESC-50 at {folder}: meta/esc50.csv is missing")
    return folder
