"""What newcomers type wrong: every message is short and says what to write instead."""

from __future__ import annotations

import errno
import importlib.resources
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, Criterion, Distill, Joint, Prune, Session, fit, measure, trace
from compressor.errors import BudgetError, CountError
from compressor.inputs.losses import cross_entropy, loss_of
from compressor.phases import FineTune
from compressor.storage import remedy
from compressor.wording import LONGEST, brief
from tests.helpers.tiny import Tiny, TwoInputs, loader, refuses, scenes, tiny

CAPS = Budget(params=700)
INPUTS, LABELS = scenes(8).tensors


def bare(model: nn.Module | None = None) -> nn.Module:
    """A model without an example of its input."""
    model = model or tiny()
    del model.example_input_array
    return model


def kind_of(value: object) -> str:
    """A name for a case: no text of a number of thousands of digits."""
    return type(value).__name__


# ------------------------------------------------------------------------------------- the example


@pytest.mark.parametrize(
    ("model", "batch", "loss"),
    [
        (Tiny(), (INPUTS, LABELS), None),
        (Tiny(), [INPUTS, LABELS], None),
        (Tiny(), {"x": INPUTS, "y": LABELS}, lambda m, b: cross_entropy(m, (b["x"], b["y"]))),
        (Tiny(), INPUTS, lambda m, b: m(b).square().mean()),
        (TwoInputs(), ((INPUTS, INPUTS.expand(-1, 2, -1, -1)), LABELS), None),
    ],
    ids=["pair", "list", "dict", "inputs alone", "two inputs"],
)
def test_the_example_is_what_the_loss_shows_the_model(
    model: nn.Module, batch: object, loss: Callable[..., Tensor] | None
) -> None:
    before = {name: t.clone() for name, t in model.state_dict().items()}
    result = fit(bare(model), [batch], budget=CAPS, schedule=[Prune()], loss=loss)
    assert [tuple(x.shape[:1]) for x in result.example] == [(1,)] * len(result.example)
    assert torch.equal(result.example[0], INPUTS[:1])
    assert result.report.after.params <= 700
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    session = Session(bare(model.__class__()), budget=CAPS, data=[batch], loss=loss)
    assert session.cost.params <= 700


def test_a_given_example_and_the_models_own_come_first() -> None:
    wide = torch.zeros(1, 1, 12, 12)
    result = fit(bare(), loader(8), budget=CAPS, schedule=[Prune()], example=wide)
    assert result.example[0].shape == wide.shape
    model = tiny()
    model.example_input_array = wide
    assert Session(model, budget=CAPS, data=loader(8)).example[0].shape == wide.shape


def test_a_model_called_with_names_gives_no_example() -> None:
    def named(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(model(x=batch[0]), batch[1])

    with refuses(r"the loss calls the Tiny with x=a tensor of shape \(8, 1, 8, 8\).*torch.zeros"):
        fit(bare(), [(INPUTS, LABELS)], budget=CAPS, schedule=[Prune()], loss=named)


@pytest.mark.parametrize(
    ("layer", "suggestion"),
    [
        (nn.Conv1d(5, 8, 3), "torch.zeros(1, 5, 1000)"),
        (nn.Conv2d(3, 8, 3), "torch.zeros(1, 3, 32, 32)"),
        (nn.Conv3d(2, 8, 3), "torch.zeros(1, 2, 8, 32, 32)"),
        (nn.ConvTranspose2d(7, 8, 3), "torch.zeros(1, 7, 32, 32)"),
        (nn.Linear(6, 2), "torch.zeros(1, 6)"),
        (nn.GRU(9, 4, batch_first=True), "torch.zeros(1, 100, 9)"),
        (nn.Embedding(10, 4), "torch.zeros(1, 16, dtype=torch.long)"),
    ],
)
def test_without_data_the_error_suggests_a_shape_that_works(
    layer: nn.Module, suggestion: str
) -> None:
    model = nn.Sequential(layer)
    for call in (partial(fit, budget=CAPS), partial(Session, budget=CAPS), trace, measure):
        with pytest.raises(ValueError, match=r"has no example input.* example=") as caught:
            call(model)
        assert f"example={suggestion} " in str(caught.value)
    assert measure(model, eval(suggestion, {"torch": torch})).params  # noqa: S307 - our own code


# ---------------------------------------------------------------------------------------- the loss


class Focal(nn.Module):
    """A criterion of one's own."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets).square()


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.MultiMarginLoss(),
        functional.cross_entropy,
        partial(functional.cross_entropy, label_smoothing=0.1),
        Criterion(Focal()),
        Criterion(functional.cross_entropy),
    ],
)
def test_a_function_of_outputs_and_targets_is_a_loss(loss: Any) -> None:
    given = loss.function if isinstance(loss, Criterion) else loss
    model = tiny().eval()
    expected = given(model(INPUTS), LABELS)
    assert torch.equal(loss_of(loss)(model, (INPUTS, LABELS)), expected)
    fit(tiny(), [(INPUTS, LABELS)], budget=CAPS, schedule=[Prune(), FineTune(1)], loss=loss)
    assert Session(tiny(), budget=CAPS, data=[(INPUTS, LABELS)], loss=loss).cost.params <= 700


def test_a_loss_of_model_and_batch_stays_what_it_is() -> None:
    class Own(nn.Module):
        def forward(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            return cross_entropy(model, batch)

    for loss in (cross_entropy, Own(), partial(cross_entropy)):
        assert loss_of(loss) is loss
        fit(tiny(), [(INPUTS, LABELS)], budget=CAPS, schedule=[Prune()], loss=loss)


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (Focal(), r"loss\(model, batch\) fails .*loss=compressor.Criterion\(function\)"),
        (lambda out, _: out, r"loss\(model, batch\) must return .*compressor.Criterion"),
        (nn.CrossEntropyLoss, r"loss is the class CrossEntropyLoss: make one"),
        (nn.MSELoss(), r"MSELoss, called with \(model\(inputs\), targets\), fails on the first"),
        ("ce", r"loss='ce' is a str: pass a function"),
    ],
)
def test_losses_that_do_not_work(loss: object, match: str) -> None:
    with refuses(match):
        fit(tiny(), [(INPUTS, LABELS)], budget=CAPS, schedule=[Prune()], loss=loss)
    with refuses(match):
        Session(tiny(), budget=CAPS, data=[(INPUTS, LABELS)], loss=loss)


def test_a_criterion_is_a_function() -> None:
    for wrong in (nn.MSELoss, 3, "mse"):
        with refuses("must be a function of outputs and targets"):
            Criterion(wrong)


# --------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (loader(), r"this is a DataLoader: the order is fit\(model, loader, budget=...\)"),
        (CAPS, r"this is a Budget: the order is"),
        (torch.zeros(3, 4000), r"this is a tensor of shape \(3, 4000\): the order is"),
        (OrderedDict(tiny().state_dict()), r"an OrderedDict with 'stem.weight', .*load_state_dict"),
        ("net.pt", r"'net.pt' is a str: a path. Build the model and load its weights"),
        (lambda x: x, r"this is a function: if it builds a model, call it"),
        (Tiny, r"Tiny is a class: build one first, Tiny\("),
        (None, r"this is None"),
        (nn.ModuleList([nn.Conv2d(1, 4, 3)]), r"a ModuleList, which has no forward\(\)"),
    ],
)
def test_what_is_no_model(model: object, match: str) -> None:
    with refuses(match) as caught:
        fit(model, loader(8), budget=CAPS)
    assert len(str(caught.value)) < 300
    with refuses(match):
        Session(model, budget=CAPS, data=loader(8))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize_per:UserWarning")
def test_models_that_torch_has_compiled_or_packed() -> None:
    model = tiny().eval()
    for made in (torch.jit.script(model), torch.jit.trace(model, model.example_input_array)):
        for call in (partial(fit, budget=CAPS), partial(Session, budget=CAPS), trace):
            with refuses(
                r"made by torch.jit, whose layers cannot be cut: pass the model as it was"
            ):
                call(made, example=INPUTS)
    packed = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    with refuses(r"the layer 'head.* of the Tiny is a Lin.*, quantised already.*and Int8\(\) in"):
        fit(packed, budget=CAPS, example=INPUTS)
    exported = torch.export.export(model, (INPUTS,))
    with refuses("an ExportedProgram: pass the module that it was exported from"):
        fit(exported, budget=CAPS)


def test_wrapped_and_rewritten_models_go_on_working() -> None:
    for made in (nn.DataParallel(tiny()), torch.fx.symbolic_trace(tiny())):
        assert fit(made, budget=CAPS, example=INPUTS).report.after.params <= 700


def test_a_lazy_model() -> None:
    with refuses(r"'0.weight' is not known yet.*Run the model once.*model\(inputs\)", CountError):
        fit(nn.Sequential(nn.LazyConv2d(4, 3)), budget=CAPS, example=INPUTS)


# -------------------------------------------------------------------------------------- the budget


@pytest.mark.parametrize(
    ("cap", "match"),
    [
        (10**400, r"\(401 characters\)\): a cap must be below 2\*\*63"),
        (10**5000, r"an int of 16,610 bits\): a cap must be below"),
        (1e300, r"below 2\*\*63"),
        ("9e99", r"below 2\*\*63"),
        (2**63, r"below 2\*\*63"),
        (float("inf"), r"must be finite"),
        (float("nan"), r"must be finite"),
        (Decimal("sNaN"), r"must be finite"),
        (Decimal("Infinity"), r"must be finite"),
        (0, r"at least 1, this is 0. Leave params out"),
        (-(10**400), r"at least 1"),
        (0.5, r"this is 0.5. A part of what the network has is a text, Budget\(params='50%'\)"),
        (Fraction(1, 4), r"this is 1/4. A part .* Budget\(params='25%'\)"),
        ("0%", r"'0%'\): a share is above 0% and at most 100%"),
        ("150%", r"'150%'\): a share is above 0% and at most 100%"),
        ("-3%", r"'-3%'\): a share is above 0% and at most 100%"),
        ("1% of 60", r"at least 1, and 1% of 60 is 0"),
        ("50% of many", r"cannot read a number"),
        (True, r"not bool"),
        (torch.tensor(5), r"not Tensor: write int\(...\) around it"),
        ([5], r"not list"),
        ("128,000", r"without thousands separators"),
        ("x" * 5000, r"\(5,002 characters\)\): cannot read a number"),
    ],
    ids=kind_of,
)
def test_caps_that_are_none(cap: object, match: str) -> None:
    with refuses(match, BudgetError) as caught:
        Budget(params=cap)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "cap", [128_000, 128e3, "128k", "1.28e5", np.int64(128_000), np.float32(128_000),
            Decimal("128000.9"), Fraction(256_001, 2), 2**63 - 1],
)  # fmt: skip
def test_caps_of_every_kind_of_number(cap: Any) -> None:
    assert Budget(params=cap).params == (2**63 - 1 if cap == 2**63 - 1 else 128_000)


# ------------------------------------------------------------------------------ words and packages


@pytest.mark.parametrize(
    "value", [tiny(), loader(), "x" * 10**5, 10**9999, torch.zeros(99, 99), list(range(999)),
              {n: n for n in range(999)}, [[[0] * 99] * 99] * 99, np.zeros((99, 99)), b"x" * 999],
    ids=kind_of,
)  # fmt: skip
def test_large_values_are_named_in_a_few_words(value: object) -> None:
    assert 0 < len(brief(value)) <= 2 * LONGEST


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ETXTBSY])
def test_errors_of_the_system_that_nobody_foresaw(code: int) -> None:
    assert "Make room" not in remedy(OSError(code, "?"), importlib.resources.files("compressor"))


# ------------------------------------------------------------------------------ what else there is


@pytest.mark.parametrize(
    ("example", "match"),
    [
        ([INPUTS], r"a list of 1 .*pass tuple\(inputs\)"),
        ((1, 1, 8, 8), r"zeros of that shape pass torch.zeros\(1, 1, 8, 8\)"),
        (INPUTS.numpy(), r"pass torch.from_numpy\(array\)"),
        (loader(8), r"not a DataLoader: pass the inputs of a batch, next\(iter\(loader\)\)\[0\]"),
        ({"x": INPUTS}, r"not a dict with 'x': forward of the Tiny takes one argument"),
        (torch.tensor(1.0), r"a single number, without a batch: pass .*torch.zeros\(1, 1, 32"),
    ],
)
def test_what_is_no_example(example: object, match: str) -> None:
    for call in (partial(fit, budget=CAPS), partial(Session, budget=CAPS), trace, measure):
        with pytest.raises((TypeError, ValueError), match=match):
            call(tiny(), example=example)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"val": lambda _, __: 0}, r"val=a function does not take one argument.*the model alone"),
        ({"on_epoch": lambda: 0}, r"on_epoch=a function does not take .*the log alone"),
        ({"compiler": lambda _, __: 0}, r"compiler=a function does not .*the network alone"),
        ({"keep": [nn.Conv2d(1, 1, 1)]}, r"keep= holds a Conv2d: pass names of layers"),
        ({"schedule": {"a": Prune()}}, r"schedule is a dict with 'a' and must be a list of phases"),
        ({"schedule": (p for p in [Prune()])}, r"schedule is a generator and must be a list"),
        ({"schedule": [[Prune()]]}, r"schedule\[0\] is a list of 1 \(a Prune\), no phase"),
        (
            {"data": [(INPUTS, functional.one_hot(LABELS))]},
            r"a row of zeros is targets.argmax\(1\)",
        ),
    ],
)
def test_arguments_of_fit(options: dict[str, Any], match: str) -> None:
    with refuses(match):
        fit(tiny(), **{"data": loader(8), "budget": CAPS, **options})


def test_functions_whose_signature_is_unknown_are_called() -> None:
    seen: list[object] = []
    fit(tiny(), loader(8), budget=CAPS, schedule=[Prune(), FineTune(1)], on_epoch=seen.append)
    assert seen


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (partial(Distill, temperature="3"), r"Distill\(temperature='3'\): must be a number"),
        (partial(Distill, weight=70), r"weight between 0 and 1"),
        (partial(Joint, averages=4), r"Joint\(averages=4\): must be a tuple of numbers"),
        (partial(Joint, averages=("4",)), r"must be a tuple of numbers of bits"),
        (
            partial(Session, tiny(), budget=CAPS, prune=[Prune()]),
            r"phases are a schedule, Sess",
        ),
    ],
)
def test_settings_of_other_kinds(make: Callable[[], object], match: str) -> None:
    with refuses(match):
        make()


def test_a_result_is_no_model_and_none_no_path() -> None:
    result = fit(tiny(), budget=CAPS)
    with refuses("this is a Result: pass the model itself, result.model"):
        fit(result, budget=CAPS)
    for write in (result.write, result.save):
        for path in (None, "", 3):
            with refuses("names no file or directory: pass a path"):
                write(path)
