"""Killed at any moment, the same call again ends in the same bits."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from compressor import storage
from tests.helpers.killed import run_and_save


@pytest.mark.slow
def test_killed_again_and_again_a_process_ends_in_the_same_bits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.warm"])

    def start(run: str, saved: str) -> ForkServerProcess:
        process = context.Process(target=run_and_save, args=(tmp_path / run, tmp_path / saved))
        process.start()
        return process

    for run in ("first", "whole"):  # the first one also waits for the fork server
        began = time.perf_counter()
        start(run, run + " saved").join()
    duration = time.perf_counter() - began  # kills come anywhere in it, however slow the machine
    moments = random.Random(0)  # noqa: S311
    wanted, _ = storage.read(tmp_path / "whole saved", "model")
    late, attempt = 0, 0
    while late < 3:  # a machine that became faster meanwhile ends before it is killed
        attempt += 1
        assert attempt <= 8, (late, duration)
        run, saved, kills, code = f"run {attempt}", f"saved {attempt}", 0, None
        while code != 0:
            process = start(run, saved)
            process.join(timeout=moments.uniform(0, duration / 2) if kills < 30 else None)
            if process.exitcode is None:
                process.kill()
                kills += 1
                late += (tmp_path / run / "checkpoint.json").exists()
            process.join()
            code = process.exitcode
            assert code in {0, -9}
        found, _ = storage.read(tmp_path / saved, "model")
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        duration /= 1.5
