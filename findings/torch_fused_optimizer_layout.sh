#!/usr/bin/env bash
# torch 2.15.0 on a CPU: a fused optimizer mixes up weights whose state has another memory format.
#
# Expected: memory format is about speed. A training that ran with channels last and goes on without
#   it, from `state_dict`s, takes the step that it would have taken; or `step` raises an error.
# Seen: with `fused=True`, Adam, AdamW and SGD (with momentum) take another step, as if weight,
#   gradient and state were read side by side from memory, whatever their strides. `load_state_dict`
#   of the model keeps the model's layout, that of the optimizer the saved one. No word is said.
#   Without `fused` the step is right.
#
# Prints what it saw; fails if this has changed.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check torch==2.15.0 numpy==2.4.6

cat > look.py <<'PYTHON'
from functools import partial

import torch
from torch import nn

images = torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def step(model, optimizer):
    optimizer.zero_grad()
    model(images).square().mean().backward()
    optimizer.step()


def step_after(make, goes_on_in, fused):
    """Train a convolution with channels last, save it, go on; return its next step."""
    torch.manual_seed(0)
    model = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    optimizer = make(model.parameters(), fused=fused)
    for _ in range(3):
        step(model, optimizer)
    saved = model.state_dict(), optimizer.state_dict()
    again = nn.Conv2d(3, 8, 3).to(memory_format=goes_on_in)
    anew = make(again.parameters(), fused=fused)
    again.load_state_dict(saved[0])
    anew.load_state_dict(saved[1])
    before = again.weight.detach().clone()
    step(again, anew)
    return (again.weight.detach() - before).contiguous()


for name, make in {
    "Adam": partial(torch.optim.Adam, lr=0.01),
    "AdamW": partial(torch.optim.AdamW, lr=0.01),
    "SGD": partial(torch.optim.SGD, lr=0.01, momentum=0.9),
}.items():
    right = step_after(make, torch.channels_last, fused=False)
    for layout in (torch.channels_last, torch.contiguous_format):
        for fused in (False, True):
            change = step_after(make, layout, fused)
            off = ((change - right).norm() / right.norm()).item()
            print(f"{name:<5} goes on with {layout!s:<24} fused={fused!s:<5} step is off by {off:.1%}")
            mixed_up = fused and layout is torch.contiguous_format
            assert off > 0.05 if mixed_up else off < 1e-3, "changed"
PYTHON
venv/bin/python look.py
echo "as found: fused steps go to other weights, where state and weights differ in memory format"
