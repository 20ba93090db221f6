#!/usr/bin/env bash
# fastai 2.8.12 with torch 2.15.0: weights that are frozen again after a training shrink on.
#
# Expected: after `freeze()`, training leaves the weights of the frozen layers as they are.
# Seen: after an earlier unfrozen training of the same learner they shrink by (1 - lr * wd) at each
#   step. `zero_grad` leaves their gradients at zero, not None; so the optimizer still goes through
#   them, and its weight decay does not ask whether a gradient is wanted.
# In a learner that is frozen from the start their gradients are None, and they do stay.
#
# Prints what it saw; fails if this has changed.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check torch==2.15.0 fastai==2.8.12

cat > look.py <<'PYTHON'
import torch
import fastai.callback.progress  # gives Learner no_bar
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

BATCHES, LR, WD = 20, 0.01, 0.1
inputs, labels = torch.randn(BATCHES * 8, 4), torch.randint(3, (BATCHES * 8,))
batches = DataLoader(TensorDataset(inputs, labels), 8)


def shrunk(first_unfrozen):
    """Train the last layer for an epoch; return what the first one's weights were multiplied by."""
    body, head = nn.Linear(4, 5), nn.Linear(5, 3)
    learn = Learner(
        DataLoaders(batches, batches), nn.Sequential(body, nn.ReLU(), head),
        loss_func=nn.CrossEntropyLoss(), wd=WD, train_bn=False,
        splitter=lambda model: [list(model[0].parameters()), list(model[2].parameters())],
    )
    with learn.no_bar(), learn.no_logging():
        if first_unfrozen:
            learn.fit(1, lr=LR)
        learn.freeze()
        before = body.weight.detach().clone()
        assert not body.weight.requires_grad
        learn.fit(1, lr=LR)
    ratio = body.weight.detach() / before
    assert (ratio - ratio.mean()).abs().max() < 1e-4, "all by the same factor"
    return ratio.mean().item()


from_the_start, again = shrunk(False), shrunk(True)
print(f"frozen from the start: times {from_the_start:.5f}; frozen again: times {again:.5f}")
assert abs(from_the_start - 1) < 1e-6
assert abs(again - (1 - LR * WD) ** BATCHES) < 1e-4, "changed"
PYTHON
venv/bin/python look.py
echo "as found: weights that are frozen again still shrink by weight decay"
