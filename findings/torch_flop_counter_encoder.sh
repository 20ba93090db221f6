#!/usr/bin/env bash
# torch 2.15.0: `FlopCounterMode` counts nothing of an `nn.TransformerEncoder` that is only asked.
#
# Expected: a pass through the same layers in evaluation counts the same operations whether
#   gradients are recorded or not, as it does for convolutions and linear layers.
# Seen: 0 under `torch.no_grad` and `torch.inference_mode`, and no warning; the true number where
#   gradients are recorded or the fast path is off. In evaluation without gradients each layer is
#   one fused operator, for which the counter has no formula. A network with a convolution before
#   its encoder gets a number that looks right and leaves out nearly all of its work.
#
# Prints what it saw; fails if this has changed.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check torch==2.15.0 numpy==2.4.6

cat > look.py <<'PYTHON'
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SIZE, TOKENS, BLOCKS = 64, 49, 3
layer = nn.TransformerEncoderLayer(SIZE, 4, 2 * SIZE, batch_first=True, norm_first=True)
encoder = nn.TransformerEncoder(layer, BLOCKS, enable_nested_tensor=False).eval()
patches = nn.Conv2d(1, SIZE, 4, stride=4).eval()


def counted(mode):
    with FlopCounterMode(display=False) as counter, mode():
        tokens = patches(torch.zeros(1, 1, 28, 28)).flatten(2).transpose(1, 2)
        encoder(tokens)
    return counter.get_total_flops()


a_block = TOKENS * (4 * SIZE**2 + 2 * SIZE * 2 * SIZE) + 2 * TOKENS**2 * SIZE
before = 2 * TOKENS * 16 * SIZE
by_hand = before + 2 * BLOCKS * a_block
modes = torch.enable_grad, torch.no_grad, torch.inference_mode
seen = {mode.__name__: counted(mode) for mode in modes}
torch.backends.mha.set_fastpath_enabled(False)
seen["no_grad, no fast path"] = counted(torch.no_grad)
print(f"by hand {by_hand:,}, of which before the encoder {before:,}")
for mode, count in seen.items():
    print(f"{mode:<22} {count:>12,}")
assert seen["enable_grad"] == seen["no_grad, no fast path"] == by_hand, "changed"
assert seen["no_grad"] == seen["inference_mode"] == before, "changed"
PYTHON
venv/bin/python look.py
echo "as found: without gradients the encoder counts for nothing"
