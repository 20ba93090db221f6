#!/usr/bin/env bash
# onnxruntime 1.31.1 with torch 2.15.0: `quantize_dynamic` refuses what `torch.onnx.export` writes.
#
# Expected: a file that onnx's own checker accepts, shapes included, and that ONNX Runtime runs, is
#   quantised.
# Seen: "Inferred shape and existing shape differ in dimension 0". The exporter notes the shapes of
#   the weights, too. `quantize_dynamic` turns the weights of a linear layer round and keeps the
#   note of their old shape, at which its own shape inference then stumbles: two linear layers are
#   enough. After `quant_pre_process`, which the documentation recommends and does not require, the
#   same network is taken.
#
# Prints what it saw; fails if this has changed.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check \
  torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.31.1 sympy==1.14.0

cat > look.py <<'PYTHON'
import logging

import onnx
import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

logging.disable(logging.WARNING)
network = nn.Sequential(nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
how = {"dynamo": True, "verbose": False, "dynamic_shapes": ({0: torch.export.Dim("b")},)}
torch.onnx.export(network, (torch.zeros(2, 64),), "as_written.onnx", external_data=False, **how)
onnx.checker.check_model("as_written.onnx", full_check=True)
session = onnxruntime.InferenceSession("as_written.onnx", providers=["CPUExecutionProvider"])
answers = session.run(None, {session.get_inputs()[0].name: torch.zeros(7, 64).numpy()})
assert answers[0].shape == (7, 3)

try:
    quantize_dynamic("as_written.onnx", "small.onnx")
    refused = ""
except Exception as error:
    refused = str(error)
print(f"as written: {refused or 'taken'}")
quant_pre_process("as_written.onnx", "ready.onnx")
quantize_dynamic("ready.onnx", "small.onnx")
print("after quant_pre_process: taken")
assert "Inferred shape and existing shape differ" in refused, "changed"
PYTHON
venv/bin/python look.py
echo "as found: what torch exports is refused unless quant_pre_process comes first"
