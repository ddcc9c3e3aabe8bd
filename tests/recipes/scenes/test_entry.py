"""What an entry says of itself without being told."""

from __future__ import annotations

from compressor.network import to_network
from recipes.scenes.entry import method
from tests.helpers.recurrent_nets import SceneGru
from tests.helpers.tiny import tiny


def test_a_network_with_recurrent_layers_is_none_of_convolutions_alone() -> None:
    assert method(to_network(SceneGru(10, 8).eval())) == "CRNN"
    assert method(to_network(tiny())) == "CNN"
