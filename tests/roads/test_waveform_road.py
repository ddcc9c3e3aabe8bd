"""A waveform in, a class out: real keywords, the spectrogram in `forward`, half of it left."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor, nn

from compressor import Budget, FineTune, Prune, fit, load, measure
from tests.zoo.front_ends import body, mel_filters

KEYWORDS = ("yes", "no", "stop")


class Keywords(nn.Module):
    """Log-mel by a transform of 400 samples, no power of two; two convolutions; a class."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(400))
        self.register_buffer("filters", mel_filters(201, 24))
        self.bands = nn.BatchNorm1d(24)
        self.body = body()
        self.example_input_array = torch.zeros(1, 8000)

    def forward(self, waveform: Tensor) -> Tensor:
        found = torch.stft(waveform, 400, 160, window=self.window, return_complex=True)
        levels = torch.log(self.filters @ found.abs().square() + 1e-6)
        return self.body(self.bands(levels).unsqueeze(1))


def clips(folder: Path, count: int) -> tuple[Tensor, Tensor]:
    """Some clips of every keyword, half a second each, and their classes."""
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["keyword"] in KEYWORDS]
    chosen = [row for word in KEYWORDS for row in [r for r in rows if r["keyword"] == word][:count]]
    waveforms = torch.zeros(len(chosen), 8000)
    for waveform, row in zip(waveforms, chosen, strict=True):
        sound, rate = soundfile.read(folder / "audio" / row["filename"], dtype="float32")
        assert rate == 16_000
        heard = torch.from_numpy(sound[4000:12_000])
        waveform[: len(heard)] = heard
    return waveforms, torch.tensor([KEYWORDS.index(row["keyword"]) for row in chosen])


@pytest.mark.slow
@pytest.mark.data
def test_half_of_a_network_that_hears(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "speech_commands_v002_test"
    if not (folder / "clips.csv").is_file():
        pytest.skip(f"no keywords at {folder}: clips.csv is missing")
    torch.manual_seed(0)
    waveforms, classes = clips(folder, 16)
    data = [(waveforms[n::4], classes[n::4]) for n in range(4)]
    model = Keywords()
    before = measure(model)
    budget = Budget(params=before.params // 2, macs=before.macs // 2)
    schedule = [FineTune(epochs=1), Prune(), FineTune(epochs=1)]
    result = fit(model, data, budget=budget, schedule=schedule, progress=False)
    small = result.model.eval()
    after = measure(small)
    assert after.params <= before.params // 2
    assert after.macs <= before.macs // 2
    assert torch.equal(small.filters, model.filters)
    assert len(small.bands.weight) == 24
    result.write(tmp_path / "small")
    with torch.no_grad():
        wanted = small(waveforms[:5])
        assert torch.equal(load(tmp_path / "small").eval()(waveforms[:5]), wanted)
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    result.export(tmp_path / "small.onnx")
    session = runtime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    (found,) = session.run(None, {given.name: waveforms[:5].numpy()})
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-3, atol=1e-3)
