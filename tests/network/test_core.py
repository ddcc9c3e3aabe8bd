"""A network equals the model it was made from: results, gradients, statistics, cost, names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import models
from compressor import TraceError, measure
from compressor.inputs.copies import private_copy
from compressor.network import Network, Ref, Rewrite, Step, Weight, packet, to_network
from compressor.network.file.plain import from_plain, to_plain
from tests.zoo import FAMILIES, TRICKY

aten = torch.ops.aten

MODELS: dict[str, Callable[[], nn.Module]] = {
    "bcresnet": lambda: models.BCResNet(1, mels=64, frames=20),
    "bcresnet_asc": lambda: models.BCResNetASC(10, mels=64, frames=20),
    "shared_resnet": lambda: models.SharedResNet(16, mels=64, frames=40),
    "tandem": lambda: models.Tandem(64, 10, frames=20),
    "baseline_2022": lambda: models.DCASEBaseline(2022),
    "residual_cnn": lambda: models.ResidualCNN(mels=32, frames=40),
}
ZOO = ("unet",)
TRAPS = (
    "shared_conv",
    "shared_norm",
    "tied_parameter",
    "unused_conv",
    "weight_norm",
    "two_inputs",
    "two_outputs",
    "select_channels",
    "view_constant",
    "instance_norm_affine",
    "batch_norm_no_running_stats",
    "prelu_channels",
    "gru",
    "dropout2d",
)
ALL = MODELS | {name: FAMILIES[name] for name in ZOO} | {name: TRICKY[name] for name in TRAPS}


@cache
def pair(name: str) -> tuple[nn.Module, Network]:
    """A model with moved statistics, and its network; tests work on copies."""
    torch.manual_seed(0)
    model = ALL[name]()
    for statistic, buffer in model.named_buffers():
        if statistic.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return model, to_network(model)


def inputs(model: nn.Module, batch: int) -> tuple[Tensor, ...]:
    example = model.example_input_array
    listed = example if isinstance(example, tuple) else (example,)
    generator = torch.Generator().manual_seed(batch)
    return tuple(torch.randn(batch, *x.shape[1:], generator=generator) for x in listed)


def flat(result: object) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, dict):
        yield from flat(list(result.values()))
    elif isinstance(result, list | tuple):
        for part in result:
            yield from flat(part)


def same(left: object, right: object) -> bool:
    """Bit for bit, NaN included."""
    pairs = list(zip(flat(left), flat(right), strict=True))
    return bool(pairs) and all(
        a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs
    )


def trained(model: nn.Module, xs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Loss, gradients and buffers after a step in train mode, with the same dropout for all."""
    twin = private_copy(model).train()
    torch.manual_seed(1)
    loss = sum((y.square().mean() for y in flat(twin(*xs))), torch.zeros(()))
    loss.backward()
    gradients = {f"{k}.grad": p.grad for k, p in twin.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients, **dict(twin.named_buffers())}


@pytest.mark.parametrize("name", ALL)
def test_it_equals_the_model_in_evaluation_for_any_batch_size(name: str) -> None:
    model, made = pair(name)
    twin, copy = private_copy(model).eval(), private_copy(made).eval()
    for batch in (1, 2, 5):
        xs = inputs(model, batch)
        with torch.no_grad():
            assert same(twin(*xs), copy(*xs)), batch


@pytest.mark.parametrize("name", ALL)
def test_it_trains_as_the_model_does(name: str) -> None:
    model, made = pair(name)
    xs = inputs(model, 3)
    expected, found = trained(model, xs), trained(made, xs)
    lifted = found.keys() - expected.keys()
    assert all(not found[name].is_floating_point() for name in lifted)  # constants of the code
    for key, tensor in expected.items():
        assert torch.equal(tensor, found[key]), key


@pytest.mark.parametrize("name", ALL)
def test_it_has_the_names_and_the_cost_of_the_model(name: str) -> None:
    model, made = pair(name)
    assert {k: t.shape for k, t in model.state_dict().items()} == {
        k: t.shape for k, t in made.state_dict().items()
    }
    assert measure(made) == measure(model)


@pytest.mark.parametrize("name", ALL)
def test_it_is_rebuilt_from_plain_data(name: str) -> None:
    model, made = pair(name)
    data, tensors = to_plain(made)
    again = from_plain(data, tensors)
    xs = inputs(model, 2)
    with torch.no_grad():
        assert same(private_copy(made).eval()(*xs), again(*xs))
    expected, found = trained(made, xs), trained(again, xs)
    assert expected.keys() == found.keys()
    assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())
    assert to_plain(again)[0] == data


LARGE = ("mobilenet_v3_small", "shufflenet_v2_x1_0", "crnn", "conv_attention")


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in (*LARGE, *TRICKY) if n not in ALL])
def test_networks_of_the_zoo_are_written_and_stored(name: str) -> None:
    torch.manual_seed(0)
    model = (FAMILIES | TRICKY)[name]().eval()
    made = to_network(model).eval()
    xs = inputs(model, 2)
    with torch.no_grad():
        expected, found = list(flat(model(*xs))), list(flat(made(*xs)))
        again = from_plain(*to_plain(made))(*xs)
    exact = "attention" not in name  # whose fast path in evaluation is another kernel
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, **({"rtol": 0.0, "atol": 0.0} if exact else {}))
    assert same(found, again)


def test_ties_stay_ties() -> None:
    _, made = pair("tied_parameter")
    names = [name for name, _ in made.named_parameters(remove_duplicate=False)]
    again = from_plain(*to_plain(made))
    for found in (made, private_copy(made), again):
        assert len(dict(found.named_parameters())) < len(names)
        assert [n for n, _ in found.named_parameters(remove_duplicate=False)] == names


def test_nothing_writes_into_a_tensor_that_is_read_elsewhere() -> None:
    """Where it is surely the same, the form that makes a new tensor takes the place."""
    layers = (
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.ReLU(inplace=True),
        nn.Hardswish(inplace=True),
    )
    model = nn.Sequential(nn.ReLU(inplace=True), *layers)
    made = to_network(model, torch.zeros(1, 1, 5, 5))
    assert not [step.name for step in made.steps if step.writes]
    x = torch.randn(2, 1, 5, 5)
    before = x.clone()
    found = made(x)
    assert torch.equal(x, before)
    assert torch.equal(found, model(x))


class Writes(nn.Module):
    """What is written through a view has to be seen in what it is a view of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.example_input_array = torch.zeros(1, 1, 6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = x.relu()
        first = y[:, :2]
        first.mul_(2.0)  # seen in y
        x.add_(1.0)  # not seen in y
        x.neg_()
        return y + x


def test_writing_through_a_view_is_left_as_it_is() -> None:
    model = Writes()
    made = to_network(model)
    assert [packet(s) for s in made.steps if s.writes] == [aten.mul_]
    xs = inputs(model, 3)
    assert torch.equal(model(*xs), made(*xs))
    assert torch.equal(made(*xs), from_plain(*to_plain(made))(*xs))


def test_momentum_none_is_the_plain_mean_of_all_batches() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=None), nn.Flatten())
    made = to_network(model, torch.zeros(1, 1, 5, 5))
    for batch in (2, 3, 4):
        x = torch.randn(batch, 1, 5, 5)
        assert torch.equal(model(x), made(x))
    assert made.tensor("1.num_batches_tracked") == 3
    assert torch.equal(model[1].running_mean, made.tensor("1.running_mean"))


def test_each_module_keeps_the_mode_it_was_in() -> None:
    """A normalisation that a user put into eval mode learns nothing in the network either."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    model.train()
    model[1].eval()
    made = to_network(model, torch.zeros(1, 1, 5, 5))
    x = torch.randn(4, 1, 5, 5)
    assert torch.equal(model(x), made(x))
    assert not made.tensor("1.running_mean").any()
    assert made.tensor("2.running_mean").any()
    assert not [m for m in made.eval().modules() if m.training]


def test_dropout_that_looks_at_no_mode_never_stops() -> None:
    class Always(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, 0.5, training=True)

    made = to_network(Always(), torch.ones(1, 1000)).eval()
    torch.manual_seed(0)
    assert 300 < int((made(torch.ones(1, 1000)) == 0).sum()) < 700


def test_it_runs_in_other_precisions_and_exports_again() -> None:
    model, made = pair("bcresnet")
    (x,) = inputs(model, 2)
    wide, exact = private_copy(made).double().eval(), private_copy(model).double().eval()
    assert torch.equal(wide(x.double()), exact(x.double()))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = private_copy(made).eval()(x)
        assert torch.equal(rounded, private_copy(model).eval()(x))
    assert rounded.dtype == torch.bfloat16
    sizes = (({0: torch.export.Dim("batch")},),)
    again = torch.export.export(private_copy(made).eval(), (x,), dynamic_shapes=sizes).module()
    (many,) = inputs(model, 5)
    assert torch.equal(again(many), private_copy(made).eval()(many))


def test_a_network_of_a_network_is_a_copy() -> None:
    _, made = pair("bcresnet")
    again = to_network(made)
    assert again.steps == made.steps
    assert again.tensor("stem.0.weight") is not made.tensor("stem.0.weight")


def test_shapes_are_those_of_one_input() -> None:
    _, made = pair("bcresnet")
    assert made.shapes["conv2d"] == (1, 16, 32, 20)
    assert made.shapes[made.outputs.name] == (1, 10)
    convolutions = [s for s in made.steps if packet(s) is aten.conv2d]
    assert all(made.shapes[s.name][1] == made.tensor(s.args[1]).shape[0] for s in convolutions)


class Fixed(nn.Module):
    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 3)
        self.run = forward
        self.example_input_array = torch.zeros(1, 3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.linear, x)


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda f, x: f(x.view(1, -1)), "aten.view"),
        (lambda f, x: f(x.view(2, -1)), "aten.view"),
        (lambda f, x: f(torch.cat([r.reshape(1, 12) for r in x])), "aten.cat"),
        (lambda f, x: f((x + torch.zeros(2, 3, 4)).flatten(1)), "aten.add"),
        (lambda f, x: f(x.flatten(1)) + (1 if x.shape[0] == 2 else 0), "a decision of its forward"),
        (
            lambda f, x: f(x.flatten(1)) + (1 if x.shape[0] == 1 else 0),
            "treats some batch sizes apart",
        ),
    ],
)
def test_a_model_for_one_batch_size_is_refused(
    forward: Callable[[nn.Module, Tensor], Tensor], said: str
) -> None:
    with pytest.raises(TraceError, match=said):
        to_network(Fixed(forward))


def test_what_a_network_cannot_hold_is_refused() -> None:
    class Lowers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return x @ x.mT

    with pytest.raises(TraceError, match="move autocast out"):
        to_network(Lowers(), torch.zeros(1, 2, 2))


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def test_a_call_put_in_is_read_by_all_who_read_the_result() -> None:
    model, made = pair("residual_cnn")
    rewrite = Rewrite(made)
    first = made.steps[2]
    assert packet(first) is aten.relu
    assert len(made.consumers(first.name)) == 2  # a block and its shortcut
    rewrite.insert_after(first.name, rewrite.add("stem.halved", Half()))
    after = rewrite.build().eval()
    hooked = private_copy(model).eval()
    hooked.stem.register_forward_hook(lambda _m, _x, y: y / 2)
    xs = inputs(model, 2)
    assert torch.equal(after(*xs), hooked(*xs))
    assert len(made.steps) + 1 == len(after.steps)
    assert after.tensor("stem.0.weight") is made.tensor("stem.0.weight")


def test_steps_are_replaced_by_a_call_and_what_nobody_reads_is_gone() -> None:
    class Conv(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.new_zeros(len(x), 16, (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2)

    model, made = pair("residual_cnn")
    conv, norm, relu = made.steps[:3]
    rewrite = Rewrite(made)
    with pytest.raises(ValueError, match=f"{relu.name!r} cannot be replaced"):
        Rewrite(made).replace([relu.name, made.steps[3].name], Step("new", "stem.new"))
    call = Step("new", rewrite.add("stem.new", Conv()), (Ref(made.inputs[0]),), {}, "stem")
    rewrite.replace([conv.name, norm.name], call)
    after = rewrite.build().eval()
    gone = {k for k, _ in made.named_parameters()} - {k for k, _ in after.named_parameters()}
    assert gone == {"stem.0.weight", "stem.1.weight", "stem.1.bias"}
    assert after.producer(Ref("new")).module == "stem"
    xs = inputs(model, 2)
    assert torch.equal(after(*xs)[0], after(*xs)[1])  # nothing of the input is left
    with pytest.raises(ValueError, match="choose another name"):
        Rewrite(after).add("stem.new", Conv())


def test_a_weight_can_be_computed() -> None:
    """As int8 training does: a call on the weight, whose result the convolution reads."""
    model, made = pair("residual_cnn")
    rewrite, conv = Rewrite(made), made.steps[0]
    call = Step("w", rewrite.add("stem.0.halved", Half()), (Weight("stem.0.weight"),))
    halved = rewrite.insert_before(conv.name, call)
    rewrite.edit(conv.name, args=(conv.args[0], halved, *conv.args[2:]))
    after = rewrite.build().eval()
    twin = private_copy(model).eval()
    twin.stem[0].weight.data /= 2
    xs = inputs(model, 2)
    assert torch.equal(after(*xs), twin(*xs))


def test_a_network_of_nonsense_is_refused() -> None:
    x, tree = torch.zeros(1, 2), nn.Module()
    with pytest.raises(ValueError, match="'y', which no step before it makes"):
        Network([Step("z", aten.relu.default, (Ref("y"),))], ["x"], Ref("z"), tree, (x,))
    with pytest.raises(ValueError, match="two results of the network are named 'x'"):
        Network([Step("x", aten.relu.default, (Ref("x"),))], ["x"], Ref("x"), tree, (x,))
    with pytest.raises(ValueError, match="takes 1 inputs, not 2"):
        Network([], ["x"], Ref("x"), tree, (x,))(x, x)


def test_the_former_name_of_to_network_warns_and_is_the_same() -> None:
    with pytest.warns(DeprecationWarning, match="to_network"):
        from compressor.network import network  # noqa: PLC0415 - what is tested
    assert network is to_network
    with pytest.raises(ImportError, match="nothing_such"):
        from compressor.network import nothing_such  # noqa: F401, PLC0415 - likewise
