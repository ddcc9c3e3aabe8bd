"""A transformer that looks at its mask is exported as one that is told."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules import transformer

from compressor import trace
from compressor.graph.causality import NAME, unseen_masks


class Translator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        layer = nn.TransformerDecoderLayer(8, 2, 12, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 1)
        self.head = nn.Linear(8, 4)
        self.example_input_array = (torch.randn(1, 5, 3), torch.randn(1, 6, 3))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.head(self.decoder(self.embed(x), self.embed(memory), tgt_mask=mask))


def test_a_decoder_with_a_mask_made_in_forward_shrinks() -> None:
    torch.manual_seed(0)
    assert set(trace(Translator()).frozen) == {"head"}


def test_pytorchs_own_function_is_put_back() -> None:
    before = getattr(transformer, NAME)
    with unseen_masks():
        assert getattr(transformer, NAME) is not before
    assert getattr(transformer, NAME) is before
