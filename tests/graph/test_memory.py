"""Which results lie in whose memory, held to PyTorch's own storages."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.graph.memory import aliases, root
from compressor.graph.program import export, in_place


class Views(nn.Module):
    """Views of views, copies, writes and an operation that gives what came in."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.nn.functional.dropout(x.clone(), 0.5, self.training)
        first, second = y.chunk(2, 1)
        second[:, :, 0].fill_(2.0)
        whole = y.flatten(1).relu().view(y.shape)
        whole[:, 0] = first[:, 0] * 3
        return whole.transpose(1, 2) + y.reshape(-1).view(y.shape).transpose(1, 2)


class Storages(torch.fx.Interpreter):
    """Notes the place in memory of every result."""

    def __init__(self, graph: torch.fx.Graph) -> None:
        super().__init__(nn.Module(), graph=graph)
        self.found: dict[torch.fx.Node, int] = {}
        self.kept: list[Tensor] = []

    def run_node(self, n: torch.fx.Node) -> object:
        result = super().run_node(n)
        tensors = result if isinstance(result, list | tuple) else [result]
        if n.op == "call_function":
            self.kept += tensors  # nothing is freed and taken again
            self.found[n] = tensors[0].untyped_storage().data_ptr()
        return result


def test_roots_are_storages() -> None:
    program = export(Views().eval(), (torch.randn(1, 4, 3),))
    run = Storages(program.graph)
    run.run(torch.randn(1, 4, 3))
    assert len(set(run.found.values())) > 3
    for one, place in run.found.items():
        for other, elsewhere in run.found.items():
            assert (root(one) is root(other)) == (place == elsewhere), (one, other)
    writes = [node for node in program.graph.nodes if in_place(node)]
    assert len(writes) == 2
    for write in writes:
        assert write in aliases(root(write))
