"""The boxes "Train it here": their training step against PyTorch's own, and their files."""

import json
import lzma

import in_node
import numpy as np
import onnxruntime
import promise
import pytest
import torch
from small_models import digits
from torch import nn
from torch.nn import functional

from course.site import training, widget
from handwriting import playground
from nbhelpers import networks

BOXES = training.boxes_by_chapter()
HEAD = """
import { writeFileSync } from "node:fs";
import { trained } from "./head.js";
const { weight, bias, features, labels } = TASK;
const own = features.map((one, i) => ({ features: Float32Array.from(one), label: labels[i] }));
const start = { weight: Float32Array.from(weight.flat()), bias: Float32Array.from(bias) };
const layer = trained(start, own, [], { steps: 60, rate: 0.03, momentum: 0.9, mixed: 0, seed: 1 });
writeFileSync("layer", Float32Array.from([...layer.weight, ...layer.bias]));
"""
UNPACK = """
import { readFileSync, writeFileSync } from "node:fs";
import { unpacked } from "./lzma.js";
writeFileSync("unpacked", await unpacked(new Uint8Array(readFileSync("packed"))));
"""
CASES = [(box, hidden) for box in BOXES.values() for hidden in box["hidden"][:2]]


def run(content, feeds):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    feeds = {one.name: feeds[one.name].detach().numpy() for one in session.get_inputs()}
    return dict(zip(names, session.run(None, feeds), strict=True))


@promise.site("A training step in the page is PyTorch's own, within 1e-6")
@pytest.mark.parametrize(("box", "hidden"), CASES)
def test_a_step_is_pytorch_s(box, hidden, monkeypatch):
    """Plain SGD from random weights, with dropout where the network has it."""
    torch.manual_seed(0)
    network = training.made(box["network"], hidden)
    split = digits().train[: box["batch"]]
    mask = 2.0 * (torch.rand(len(split), *box["mask"]) < 0.5)
    feeds = dict(network.named_parameters()) | {
        "images": split.images, "labels": split.labels.int(), "rate": torch.tensor(0.3),
        "mask": mask,
    }  # fmt: skip
    graph = training.exported(network, box)
    step, read = (run(content, feeds) for content in training.parts(graph))
    monkeypatch.setattr(functional, "dropout", lambda inputs, *_: inputs * mask)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
    inputs = (split.images[:, None] / 255 - box["mean"]) / box["std"]
    logits = network(inputs)
    loss = functional.cross_entropy(logits, split.labels)
    loss.backward()
    optimizer.step()
    assert abs(step["loss"] - loss.item()) < 1e-6
    assert abs(read["logits"] - logits.detach().numpy()).max() < 1e-5
    for name, value in network.named_parameters():
        assert abs(step[f"new.{name}"] - value.detach().numpy()).max() < 1e-6, name


def test_networks_are_the_notebook_s_and_their_first_values_spread_as_pytorch_s():
    assert str(training.made("two_layers", 30)) == str(networks.two_layers())
    for network in (training.made("lenet"), training.made("two_layers", 5)):
        for about, value in zip(training.weights(network), network.parameters(), strict=True):
            assert about["shape"] == list(value.shape)
            assert 0.5 * about["bound"] < value.abs().max() <= about["bound"]


def test_digits_are_packed_whole():
    content, counts = training.packed(digits())
    total = counts["train"] + counts["validation"]
    values = np.frombuffer(lzma.decompress(content), np.uint8)
    assert len(values) == total * 785 and total == len(digits().train) + len(digits().validation)
    assert values[0] == digits().train.labels[0]
    first = values[total : total + 784].astype(int) - digits().train.images[0].flatten().numpy()
    assert abs(first).max() <= 8 and len(set(values[total:])) <= 16  # shades


@promise.site("The last layer trained in the page is PyTorch's, within 1e-5")
def test_a_last_layer_is_trained_as_in_pytorch(tmp_path):
    torch.manual_seed(0)
    layer, features, labels = nn.Linear(32, 12), torch.randn(30, 32), torch.arange(30) % 6
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.03, momentum=0.9)
    task = {name: value.tolist() for name, value in layer.named_parameters()}
    task |= {"features": features.tolist(), "labels": labels.tolist()}
    in_node.run(tmp_path, HEAD.replace("TASK", json.dumps(task)))
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(layer(features), labels).backward()
        optimizer.step()
    expected = np.concatenate([value.detach().flatten() for value in layer.parameters()])
    assert abs(np.fromfile(tmp_path / "layer", np.float32) - expected).max() < 1e-5


@pytest.mark.parametrize("size", [0, 2_500_000])
def test_what_is_packed_is_unpacked(size, tmp_path):
    noise = np.random.default_rng(size).integers(0, 256, size // 10, np.uint8).tobytes()
    content = (noise + playground.scripts()["pad.js"] * 20 + bytes(size))[:size]
    (tmp_path / "packed").write_bytes(playground.packed(content))
    in_node.run(tmp_path, UNPACK)
    assert (tmp_path / "unpacked").read_bytes() == content


def test_a_box_in_a_headless_notebook_is_words(monkeypatch):
    monkeypatch.setenv("NB_HEADLESS", "1")
    assert "Train it here" in widget.TrainBox(1)._repr_mimebundle_()[0]["text/plain"]
    with pytest.raises(ValueError, match="1, 2, 3, 5"):
        widget.TrainBox(4)
