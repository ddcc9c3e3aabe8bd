# %% [markdown]
# # Keywords on a microcontroller
#
# Four words of Google's speech commands, a network of 8-bit integers for TensorFlow Lite Micro
# under a cap on working memory, and the question whether it fits a board. Point `COMPRESSOR_DATA`
# at a folder that holds `speech_commands_v0.02` as Google packs it (a folder a word). Without it
# the words are generated tones.

# %%
import os
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import compressor
from compressor import Budget, FineTune, Int8, Prune, Recalibrate, Train
from compressor.__main__ import main as command
from compressor.quantization import presets

WORDS = ("down", "no", "up", "yes")
RATE, CLIPS = 16_000, 100
FOLDER = Path(os.environ.get("COMPRESSOR_DATA", "../shared/data"))


# %%
def recorded(folder: Path) -> tuple[Tensor, Tensor]:
    """Waveforms int16 (clips, samples) and the words' numbers."""
    audio, labels = [], []
    for number, word in enumerate(WORDS):
        for file in sorted((folder / word).glob("*.wav"))[:CLIPS]:
            clip, _ = soundfile.read(file, dtype="int16")
            audio.append(np.pad(clip[:RATE], (0, RATE - len(clip[:RATE]))))
            labels.append(number)
    return torch.from_numpy(np.stack(audio)), torch.tensor(labels)


def generated() -> tuple[Tensor, Tensor]:
    """A sweep a word, in noise."""
    draw, time = np.random.default_rng(0), np.arange(RATE) / RATE
    labels = np.tile(np.arange(len(WORDS)), CLIPS)
    starts = np.array([300, 900, 1_500, 2_500])[labels] * draw.uniform(0.8, 1.25, len(labels))
    sweep = np.sin(2 * np.pi * starts[:, None] * (1 + 0.3 * time) * time)
    noise = draw.normal(0, 1, (len(labels), RATE))
    return torch.from_numpy((4_000 * (sweep + noise)).astype(np.int16)), torch.tensor(labels)


folder = FOLDER / "speech_commands_v0.02"
if folder.is_dir():
    audio, labels = recorded(folder)
else:
    print(f"there is no {folder}: generated tones stand in for words")
    audio, labels = generated()

# %% [markdown]
# Logarithms of the power in 20 bands and 26 frames: the front end stays outside of the file.

# %%
window = torch.hann_window(640)
spectra = torch.stft(audio / 2**15, 640, 640, window=window, return_complex=True).abs().square()
bands = nn.functional.adaptive_avg_pool2d(spectra[:, None], (20, spectra.shape[-1]))
x = (bands + 1e-4).log() / 3
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
x, labels, held = x[order], labels[order], len(x) // 4
loader = DataLoader(TensorDataset(x[held:], labels[held:]), batch_size=32, shuffle=True)


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


model = nn.Sequential(
    nn.Conv2d(1, 24, 3, stride=2, padding=1, bias=False),
    nn.BatchNorm2d(24),
    nn.ReLU(),
    separable(24, 32, 1),
    separable(32, 32, 2),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(32, len(WORDS)),
)

# %% [markdown]
# Four kilobytes of activations, two thousand weights. The preset trains with the runtime's own
# rounding.

# %%
result = compressor.fit(
    model,
    loader,
    budget=Budget(ram="4KiB", params="2k"),
    schedule=[
        Train(epochs=6, lr=4e-3),
        Prune(),
        Recalibrate(),
        FineTune(epochs=4, lr=4e-3),
        Int8(epochs=2, preset=presets.TFLM),
    ],
)
with torch.no_grad():
    right = (result.model(x[:held]).argmax(1) == labels[:held]).double().mean()
print(f"{100 * right:.1f} % of {held} clips, {result.report.after}")

# %%
result.export("keywords.tflite")
result.firmware("firmware", inputs=x[:4])
command(["fits", "keywords.tflite", "--board", "arduino-nano-33-ble"])

# %% [markdown]
# `firmware/` has C++ around the network, with test vectors for the device:
# `docs/microcontroller.md`.
