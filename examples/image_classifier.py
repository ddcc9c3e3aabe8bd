# %% [markdown]
# # A classifier of pictures, made to fit
#
# Handwritten digits, which scikit-learn brings with it: a small network is trained, brought under
# three budgets, written to one file and read back without its class. A minute on a CPU.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import compressor
from compressor import Budget, Train

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)
train = DataLoader(TensorDataset(images[:1200], labels[:1200]), batch_size=64, shuffle=True)
test = DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=64)


# %% [markdown]
# A residual network as anybody would write it. Nothing in it is the library's.


# %%
class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.second(self.norm(self.first(x)).relu())).relu()


class Digits(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.Sequential(Block(width), nn.MaxPool2d(2), Block(width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


# %%
def accuracy(network: nn.Module) -> float:
    network.eval()
    with torch.no_grad():
        right = [(network(x).argmax(1) == y).sum().item() for x, y in test]
    return 100 * sum(right) / len(labels[1200:])


# %% [markdown]
# The dense network is trained under a budget that asks nothing of it.

# %%
torch.manual_seed(0)
rate = 4e-3
dense = compressor.fit(
    Digits(), train, budget=Budget(params="1M"), schedule=[Train(epochs=8, lr=rate)]
).model
print(f"dense: {accuracy(dense):.1f} %, {compressor.measure(dense, images[:1])}")

# %% [markdown]
# Three budgets. `lr` is the rate that the dense network was trained at; the fine-tune looks
# around it.

# %%
results = {}
for name, budget in {
    "half of the parameters": Budget(params="10k"),
    "a quarter of the MACs": Budget(macs="200k"),
    "a file of 6 KiB": Budget(bytes="6KiB"),
}.items():
    results[name] = compressor.fit(dense, train, budget=budget, epochs=4, lr=rate)
    print(f"{name}: {accuracy(results[name].model):.1f} %, {results[name].report.after}")

# %% [markdown]
# The report says what was done; its lines are explained in `docs/report.md`.

# %%
small = results["a file of 6 KiB"]
print(small.report)

# %% [markdown]
# One file, which needs neither the class nor the training code.

# %%
length = small.write("digits.safetensors")
again = compressor.load("digits.safetensors")
assert length <= 6 * 1024
assert accuracy(again) == accuracy(small.model)
print(f"{length:,} bytes, {accuracy(again):.1f} %")
