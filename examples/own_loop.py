# %% [markdown]
# # Your own training loop
#
# A loop with what real loops have: mixup, an averaged copy of the weights, a schedule of the
# learning rate, clipped gradients. A `Session` shrinks the network in the midst of it; the
# optimiser and the average follow.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

import compressor
from compressor import Budget, Int8, Prune

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)
train = DataLoader(TensorDataset(images[:1200], labels[:1200]), batch_size=64, shuffle=True)
test = DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=64)


def accuracy(network: nn.Module) -> float:
    network.eval()
    with torch.no_grad():
        right = [(network(x).argmax(1) == y).sum().item() for x, y in test]
    return 100 * sum(right) / len(labels[1200:])


# %%
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, stride=2, padding=1),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(64, 10),
)

# %% [markdown]
# Three shrinks, one after every 40 steps of the optimiser. `session.model` stays the same object.

# %%
epochs = 10
session = compressor.Session(
    model, budget=Budget(params="8k"), prune=Prune(steps=3), every=40, data=train
)
network = session.model
optimizer = session.optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=epochs * len(train))
average = session.average(
    AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.98), use_buffers=True)
)

for epoch in range(epochs):
    network.train()
    for x, y in train:
        share, other = torch.rand(()).item(), torch.randperm(len(x))
        logits = network(share * x + (1 - share) * x[other])
        loss = share * cross_entropy(logits, y) + (1 - share) * cross_entropy(logits, y[other])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        session.step()
        average.update_parameters(network)
    width = sum(p.numel() for p in network.parameters())
    print(f"epoch {epoch + 1}: {width:,} parameters, {accuracy(average.module):.1f} %")

# %%
result = session.finish()
print(result.report.after)

# %% [markdown]
# To 8 bits: a session rounds nothing, so that the integers are one more call, on the network that
# is left.

# %%
integers = compressor.fit(
    result.model, train, budget=Budget(bytes="12KiB"), schedule=[Int8(epochs=2)]
)
print(f"{accuracy(integers.model):.1f} %, {integers.write('own_loop.safetensors'):,} bytes")
