"""Threads give the bits of one; what belongs to the process is left as it was, after errors too."""

from __future__ import annotations

import logging
import multiprocessing
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.backends import nnpack
from torch.utils.data import DataLoader

import compressor
from compressor import Budget, FineTune, Int8, Prune, Recalibrate, fit
from compressor.inputs.process import SwitchedOff, exclusive
from compressor.network import to_network
from tests.helpers.killed import Augmented
from tests.helpers.tiny import equal, loader, tiny

CAPS = Budget(params=700)
MODEL, DROPS = tiny(), tiny(dropout=0.3)
"""Made before there are threads: their first weights come from the global generator."""
T = TypeVar("T")


def process() -> dict[str, Any]:
    """Everything that belongs to the process, or to this thread, and that nothing may change."""
    backends = torch.backends
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "mkldnn": backends.mkldnn.enabled,
        "nnpack": torch._C._get_nnpack_enabled(),
        "cudnn": (backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic),
        "fast path": backends.mha.get_fastpath_enabled(),
        "flash": backends.cuda.flash_sdp_enabled(),
        "math": backends.cuda.math_sdp_enabled(),
        "efficient": backends.cuda.mem_efficient_sdp_enabled(),
        "dispatch": torch._C._len_torch_dispatch_stack(),
        "functions": torch._C._len_torch_function_stack(),
        "exporting": torch.compiler.is_exporting(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "torch draws": torch.get_rng_state().tolist(),
        "numpy draws": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python draws": random.getstate(),
        "filters": list(warnings.filters),
        "logging": (logging.root.manager.disable, logging.getLogger("torch.onnx").level),
        "emit stacks": torch.fx.config.do_not_emit_stack_traces,
    }


@pytest.fixture
def untouched() -> Iterator[None]:
    before = process()
    yield
    after = process()
    assert {k: (v, after[k]) for k, v in before.items() if after[k] != v} == {}


def at_once(work: Callable[[int], T], count: int = 8) -> list[T]:
    """What the same work gives in so many threads that start together."""
    together = threading.Barrier(count)

    def started(number: int) -> T:
        together.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(started, range(count)))


def without_data(_: int = 0) -> nn.Module:
    return fit(MODEL, budget=CAPS).model


def with_data(_: int = 0) -> nn.Module:
    """Dropout, a loader that shuffles and augmentations draw from three global generators."""
    data = DataLoader(Augmented(), batch_size=32, shuffle=True)
    schedule = [Prune(), Recalibrate(), FineTune(epochs=1)]
    return fit(DROPS, data, budget=CAPS, schedule=schedule).model


def rounded(_: int = 0) -> nn.Module:
    return fit(MODEL, loader(), budget=CAPS, schedule=[Prune(), Int8(epochs=0)]).model


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("work", [without_data, with_data])
def test_threads_give_the_bits_of_one(work: Callable[[int], nn.Module]) -> None:
    alone = work(0)
    assert all(equal(alone, other) for other in at_once(work, 2))


@pytest.mark.slow
@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("work", [without_data, with_data, rounded])
def test_eight_threads_give_the_bits_of_one(work: Callable[[int], nn.Module]) -> None:
    alone = work(0)
    assert all(equal(alone, other) for other in at_once(work))
    assert equal(alone, work(0)), "and so does the next one"


@pytest.mark.usefixtures("untouched")
def test_different_work_at_once() -> None:
    model, example = tiny(), torch.zeros(1, 1, 8, 8)
    work: list[Callable[[], Any]] = [
        lambda: compressor.measure(model),
        lambda: len(compressor.trace(model).axes),
        lambda: len(to_network(model, (example,)).steps),
        lambda: fit(model, budget=CAPS).report.after,
    ]
    expected = [one() for one in work]
    assert at_once(lambda n: work[n](), 4) == expected
    assert model.training


LEFT = [0]
"""Forward passes until `Raises` raises; of all copies together."""


class Raises(nn.Module):
    """Fails in the middle of a forward pass, with switches of the process turned."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = tiny()
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        LEFT[0] -= 1
        x = self.inside(x)
        if LEFT[0] < 0:
            torch.backends.mkldnn.enabled = False
            torch.set_grad_enabled(False)
            torch.use_deterministic_algorithms(mode=True)
            torch.manual_seed(7)
            random.seed(7)
            raise RuntimeError("in the middle")
        return x


RAISES = Raises()
SCHEDULE = (Prune(), Recalibrate(), FineTune(epochs=9))


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("after", [0, 1, 6, 60])
def test_a_model_that_fails_in_the_middle_leaves_nothing_changed(after: int) -> None:
    LEFT[0] = after
    with pytest.raises(Exception, match=r"middle|verified|reached|finite") as error:
        fit(RAISES, loader(), budget=CAPS, schedule=SCHEDULE)
    assert LEFT[0] < 0, error.value


@pytest.mark.usefixtures("untouched")
def test_failures_in_threads_leave_nothing_changed_either() -> None:
    LEFT[0] = 30

    def work(_: int) -> bool:
        try:
            fit(RAISES, loader(), budget=CAPS, schedule=SCHEDULE)
        except Exception:  # noqa: BLE001 - whatever it is called
            return True
        return False

    assert all(at_once(work, 3))


def test_a_switch_is_off_until_the_last_thread_has_left() -> None:
    state = [True]

    def switch(enabled: bool) -> bool:  # noqa: FBT001 - as torch's are
        before, state[0] = state[0], enabled
        return before

    off, first, second = SwitchedOff(switch), threading.Event(), threading.Event()

    def short() -> None:
        with off():
            first.set()
            second.wait(10)

    thread = threading.Thread(target=short)
    thread.start()
    first.wait(10)
    with off():
        second.set()
        thread.join(10)
        assert not state[0]
    assert state[0]
    with pytest.raises(ZeroDivisionError), off():
        _ = 1 / 0
    assert state[0]


@pytest.mark.usefixtures("untouched")
def test_networks_of_integers_in_threads() -> None:
    made = rounded()
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    alone = made(x)
    assert all(torch.equal(alone, y) for y in at_once(lambda _: made(x)))
    assert nnpack.set_flags(torch._C._get_nnpack_enabled())


def held() -> None:
    with exclusive():
        pass


def looked_at() -> Any:
    with exclusive():
        return compressor.measure(MODEL)


def joined(work: Callable[[], T]) -> T:
    """What a thread of its own, waited for, makes of some work; raises what it raised."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except RuntimeError as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)  # the test ends, if nothing else does
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def of_a_pool(work: Callable[[], T]) -> T:
    with ThreadPoolExecutor(2) as pool:
        return pool.submit(work).result(60)


def first_of_a_pool(work: Callable[[], T]) -> T:
    with ThreadPoolExecutor(2) as pool:
        return next(as_completed([pool.submit(work), pool.submit(work)], 60)).result()


def through_another(work: Callable[[], T]) -> T:
    return joined(lambda: of_a_pool(work))


WAYS = (joined, of_a_pool, first_of_a_pool, through_another)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("way", WAYS)
def test_a_thread_that_its_run_waits_for_is_refused(way: Callable[..., Any]) -> None:
    """It would wait for the run, and the run for it, for ever."""
    assert way(looked_at) == looked_at()
    said = r"waits for this thread: neither would end. Call it in"
    with pytest.raises(RuntimeError, match=said), exclusive():
        way(looked_at)


@pytest.mark.slow
@pytest.mark.usefixtures("untouched")
def test_a_run_may_call_the_library_itself() -> None:
    schedule = [Prune(), FineTune(epochs=1)]

    def work(*_: object) -> float:
        without_data()
        looked_at()
        return 0.0

    alone = fit(DROPS, loader(), budget=CAPS, schedule=schedule).model
    watched = fit(DROPS, loader(), budget=CAPS, schedule=schedule, val=work, on_epoch=work).model
    assert equal(alone, watched)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_in_the_middle_of_a_run_has_turns_of_its_own() -> None:
    """A data loader's worker, whose data set works in threads, say."""
    with exclusive():
        child = multiprocessing.get_context("fork").Process(target=joined, args=(held,))
        child.start()
        child.join(20)
        ended = child.exitcode
        child.kill()
    assert ended == 0


def forked_while(
    context: Callable[[], AbstractContextManager[None]], work: Callable[[], None]
) -> int | None:
    """How a process ends that was forked while another thread is inside of a context."""
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with context():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(10)
    ended = child.exitcode
    child.kill()
    leave.set()
    thread.join(10)
    return ended


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_while_a_switch_is_off_has_it_on() -> None:
    state = [True]

    def switch(enabled: bool) -> bool:  # noqa: FBT001 - as torch's are
        before, state[0] = state[0], enabled
        return before

    def wrong() -> None:
        if not state[0]:
            raise SystemExit(3)
        with off():
            pass

    off = SwitchedOff(switch)

    assert forked_while(off, wrong) == 0


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_waits_for_no_thread_of_its_parent() -> None:
    assert forked_while(exclusive, held) == 0
    with exclusive(), exclusive():
        pass
