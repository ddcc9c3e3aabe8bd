"""Settings of a front end that travel in a `.tflite`: read back, printed, refused if damaged."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor.__main__ import main
from compressor.export.features import NOTE, SCALES, TAPERS, Features, asked, features_of
from compressor.export.micro.translation import translated
from compressor.export.micro.writing import written
from compressor.export.onnx import onnx_bytes
from compressor.export.reading.contents import read, unpack
from compressor.export.tflite import made, write
from recipes.features.logmel import FLOOR, LogMel, MelSettings, hamming
from recipes.features.portable import PortableLogMel
from tests.helpers.micro_nets import integers
from tests.zoo.micro import MICRO

KEYWORDS = Features(
    sample_rate=16_000, window=480, hop=160, transform=1024, mels=40, fmin=20, fmax=8_000
)


SETTINGS = st.builds(
    Features,
    sample_rate=st.integers(8000, 96_000), window=st.integers(1, 4096), hop=st.integers(1, 4096),
    transform=st.integers(4096, 8192), mels=st.integers(1, 256), fmin=st.floats(0, 100),
    fmax=st.floats(101, 4000), taper=st.sampled_from(TAPERS), scale=st.sampled_from(SCALES),
    equal_area=st.booleans(), centred=st.booleans(), floor=st.floats(0, 10),
    level=st.floats(-10, 10),
)  # fmt: skip


@given(SETTINGS)
def test_what_is_written_is_read(given: Features) -> None:
    assert features_of(given.content()) == given


@pytest.mark.parametrize(
    "change",
    [
        {"hop": 0}, {"mels": 2.5}, {"window": True}, {"fmax": 9_000}, {"transform": 100},
        {"spread": 0}, {"floor": float("nan")}, {"taper": "kaiser"}, {"level": "loud"},
        {"centred": 1}, {"sample_rate": 1 << 40},
    ],
)  # fmt: skip
def test_what_names_no_spectrogram_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"Features\("):
        replace(KEYWORDS, **change)
    content = json.dumps({"kind": "log-mel", **asdict(KEYWORDS), **change}).encode()
    with pytest.raises(ValueError, match=r"Features\("):
        features_of(content)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b"3", b'{"kind":"log-mel"}'])
def test_damage_is_said(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|describes no|lacks"):
        features_of(content)


def test_a_file_says_what_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = integers(MICRO["plain"]())
    settings = replace(KEYWORDS, mels=network.example[0].shape[2])
    place = tmp_path / "model.tflite"
    size = write(network, place, settings)
    assert read(place).features == settings
    assert unpack(made(network)[1]).features is None
    assert size == place.stat().st_size > len(made(network)[1])
    assert main(["fits", str(place)]) == 0
    assert f"  takes  {settings}\n" in capsys.readouterr().out
    main(["fits", str(place)])
    assert "16,000 Hz, frames of 480 samples every 160" in capsys.readouterr().out


def test_damaged_settings_are_a_sentence_of_the_file(tmp_path: Path) -> None:
    program = translated(integers(MICRO["plain"]()))
    for content in (b"{", b"x" * 20_000):
        place = tmp_path / "model.tflite"
        place.write_bytes(written(program, notes={NOTE: content}))
        with pytest.raises(ValueError, match=rf"is no \.tflite file that can be read: its {NOTE}"):
            read(place)
        assert main(["fits", str(place)]) == 2


def test_other_bands_and_other_things_are_refused(tmp_path: Path) -> None:
    network = integers(MICRO["plain"]())
    with pytest.raises(ValueError, match=r"makes 41 bands and the network takes"):
        write(network, tmp_path / "model.tflite", replace(KEYWORDS, mels=41))
    with pytest.raises(ValueError, match="takes features, not a waveform"):
        asked(KEYWORDS, torch.zeros(1, 16_000), (1, 1, 40, 101))
    with pytest.raises(ValueError, match=r"settings alone are for \.tflite files"):
        onnx_bytes(network, KEYWORDS)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def by_the_settings(waveform: Tensor, made: Features) -> Tensor:
    """Written from the line that `fits` prints, without a look at the recipes' front ends."""
    half = made.transform // 2
    padded = nn.functional.pad(waveform, (half, half))
    taper = (
        torch.hamming_window(made.window)
        if made.taper == "hamming"
        else torch.hann_window(made.window)
    )
    spectrum = torch.stft(
        padded, made.transform, made.hop, made.window, taper, center=False, return_complex=True
    ).abs() ** made.exponent  # fmt: skip
    edges = _hertz(torch.linspace(*(_mel(f) for f in (made.fmin, made.fmax)), made.mels + 2))
    bins = torch.arange(spectrum.shape[-2]) * made.sample_rate / made.transform
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = torch.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    filters = filters.clamp(min=0) * (2 / (high - low) if made.equal_area else 1)
    return ((filters @ spectrum + made.floor).log() - made.level) / made.spread


def _mel(hertz: float) -> float:
    """Slaney's: 15 mels to 1 kHz, then 27 for every factor of 6.4."""
    at = torch.tensor(hertz)
    return float(
        at * 3 / 200 if hertz < 1000 else 15 + 27 * (at / 1000).log() / torch.tensor(6.4).log()
    )


def _hertz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.tensor(6.4) ** ((mel - 15) / 27))


@pytest.mark.parametrize("taper", [None, hamming])
def test_a_front_end_of_the_recipes_says_all_of_its_settings(taper: object) -> None:
    more = {} if taper is None else {"taper": taper, "equal_area": False, "exponent": 1.0}
    settings = MelSettings(window=0.030, hop=0.010, mels=40, transform=1024, level=-6, **more)
    said = asked(PortableLogMel(settings), None, (1, 1, 40, 101))
    assert said is not None
    assert said.floor == FLOOR
    waveform = torch.rand(2, 16_000, generator=torch.Generator().manual_seed(0)) - 0.5
    wanted = LogMel(settings)(waveform)[:, 0]
    torch.testing.assert_close(by_the_settings(waveform, said), wanted, atol=1e-3, rtol=1e-3)
    assert {f.name for f in fields(Features)} > {"sample_rate", "window", "hop"}
