"""All networks of the comparison by kind."""

from __future__ import annotations

from benchmarks.breadth.case import Case
from benchmarks.breadth.networks import (
    audio,
    branching,
    gated,
    generative,
    hybrids,
    mobile,
    modern,
    others,
    pictures,
    plain,
    residual,
    sequences,
    transformers,
    waves,
)

KINDS: dict[str, tuple[Case, ...]] = {
    "plain convolutional": plain.CASES,
    "residual": residual.CASES,
    "attention over channels, several scales": gated.CASES,
    "for phones": mobile.CASES,
    "branches": branching.CASES,
    "computed weights, norms over channels, mixers": modern.CASES,
    "pictures, maps and boxes": pictures.CASES,
    "generative": generative.CASES,
    "spectrograms": audio.CASES,
    "waveforms, front ends inside": waves.CASES,
    "recurrent, words": sequences.CASES,
    "transformers": transformers.CASES,
    "attention of other forms": hybrids.CASES,
    "others": others.CASES,
}
"""In the order of the tables."""
NETWORKS: dict[str, Case] = {case.name: case for cases in KINDS.values() for case in cases}
