"""What the boxes "Train it here" load: a chapter's own training step as ONNX, digits, its record.

`copy` is called by the site's build. The step is PyTorch's: plain SGD on cross-entropy, traced
through its automatic derivatives; browsers run it in ONNX Runtime. `training.toml` says which
chapter has a box, and where.
"""

import hashlib
import json
import math
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
import torch
from onnxscript import opset18 as op
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from course import results
from handwriting import playground
from handwriting.saving import as_onnx
from nbhelpers import data, networks, profile, sources

SCRIPTS = Path(__file__).with_name("train")
BOXES = Path(__file__).with_name("training.toml")
TRAIN, VALIDATION = 5_000, 1_000  # digits that a page trains and validates on
ERRORS = (sources.SourceError, sources.WriteError, data.DataError)  # they say what to do
SAMPLE = "SAMPLE DATA, not the real set. Its numbers say nothing about the real data."


def copy(out: Path, root: Path) -> str | None:
    """Put all that the boxes load into `out`, beside their scripts.

    Returns None; or what is left out, why, and what to do, for the build to print.
    """
    try:
        content = files(root, list(boxes_by_chapter()))
    except ERRORS as error:
        return f"the boxes “Train it here”: {error}"
    shutil.copytree(SCRIPTS, out)
    for name, one in content.items():
        (out / name).write_bytes(one)
    return None


def files(root: Path, chapters: list[str]) -> dict[str, bytes]:
    """Return by name what the boxes of these chapters load, or raise one of `ERRORS`."""
    digits = data.mnist(profile.Profile("full", torch.device("cpu"), 42))
    made_files, boxes = {}, {name: boxes_by_chapter()[name] for name in chapters}
    for chapter, box in boxes.items():
        box |= {"curve": committed(root, chapter, box["run"]), "networks": []}
        for hidden in box["hidden"]:
            network, name = made(box["network"], hidden), f"{box['network']}{hidden or ''}"
            step, read = parts(_kept(name, network, box))
            made_files |= {f"{name}.step.onnx": step, f"{name}.read.onnx": read}
            about = {"name": name, "hidden": hidden, "weights": weights(network)}
            box["networks"].append(about)
    made_files["digits.lzma"], counts = packed(digits)
    about = {"digits": counts | {"banner": SAMPLE * (digits.source == "sample")}, "boxes": boxes}
    return made_files | {"about.json": json.dumps(about, ensure_ascii=False).encode()}


def boxes_by_chapter() -> dict[str, dict[str, Any]]:
    """Return what `training.toml` says about each box, by the name of its notebook."""
    return tomllib.loads(BOXES.read_text(encoding="utf-8"))


def made(name: str, hidden: int = 0) -> nn.Sequential:
    """Return a fresh network of `nbhelpers.networks`; two layers with so many hidden units."""
    network = getattr(networks, name)()
    if hidden:
        network[1], network[3] = nn.Linear(784, hidden), nn.Linear(hidden, 10)
    return network


def weights(network: nn.Sequential) -> list[dict[str, Any]]:
    """Return name and shape of each weight, and the bound of its first, uniform, random values."""
    found = []
    for name, value in network.named_parameters():
        inputs = math.prod(network[int(name.split(".")[0])].weight.shape[1:])
        found.append({"name": name, "shape": list(value.shape), "bound": inputs**-0.5})
    return found


def exported(network: nn.Sequential, box: dict[str, Any]) -> onnx.ModelProto:
    """Return the graph of one training step, for the batches and the scaling of a box.

    It takes the weights by name, `images` uint8 `[batch, 28, 28]`, `labels` int32, `rate`, and with
    dropout `mask`: 0, or what the rest is multiplied by. It gives `new.` weights, the `loss`, and
    of the old weights the `logits` and `most`, the largest answer of each first hidden unit.
    """
    names, batch = [name for name, _ in network.named_parameters()], box["batch"]

    def step(old: list, images: Any, labels: Any, rate: Any, *mask: Any) -> list:
        def loss(weights: dict[str, torch.Tensor]) -> tuple:
            x, most = (images.float()[:, None] / 255 - box["mean"]) / box["std"], None
            for place, layer in network.named_children():
                own = {n: weights[f"{place}.{n}"] for n, _ in layer.named_parameters()}
                is_dropout = isinstance(layer, nn.Dropout)
                x = x * mask[0] if is_dropout else torch.func.functional_call(layer, own, (x,))
                if isinstance(layer, nn.ReLU) and most is None:
                    most = x.transpose(0, 1).flatten(1).amax(1)
            most = x.amax(0) if most is None else most
            right = labels[:, None] == torch.arange(10)
            return -(right * x.log_softmax(1)).sum() / batch, (x, most)

        by_name = dict(zip(names, old, strict=True))
        gradients, (value, others) = torch.func.grad_and_value(loss, has_aux=True)(by_name)
        return [*(by_name[name] - rate * gradients[name] for name in names), value, *others]

    example = [torch.zeros(batch, 28, 28).byte(), torch.zeros(batch).int(), torch.tensor(0.0)]
    example += [torch.ones(batch, width) for width in box["mask"]]
    values = [value.detach() for value in network.parameters()]
    given = [*names, "images", "labels", "rate", "mask"][: len(names) + len(example)]
    gives = [*(f"new.{name}" for name in names), "loss", "logits", "most"]
    traced, how = make_fx(step)(values, *example), {"custom_translation_table": _TRANSLATIONS}
    return as_onnx(traced, (values, *example), given, gives, **how)


# What the exporter has no ONNX form for, or a clumsy one. Only what the course's networks need:
# pooling without padding; convolutions with stride 1, and without padding or groups.


def _pool(x: Any, kernel: list, stride: list) -> Any:
    return op.MaxPool(x, kernel_shape=list(kernel), strides=list(stride))  # and where it was


def _pool_backward(grad: Any, x: Any, kernel: list, stride: list, *others: Any) -> Any:
    sides = {"kernel_shape": list(kernel), "strides": list(stride)}
    return op.MaxUnpool(grad, others[-1], op.Shape(x), **sides)


def _convolution_backward(grad: Any, x: Any, weight: Any, *others: Any) -> tuple[Any, Any, Any]:
    wanted = others[-1]
    of_input = op.ConvTranspose(grad, weight) if wanted[0] else op.Identity(grad)  # used by none
    swapped = (op.Transpose(one, perm=[1, 0, 2, 3]) for one in (x, grad))
    of_weight = op.Transpose(op.Conv(*swapped), perm=[1, 0, 2, 3])
    return of_input, of_weight, op.ReduceSum(grad, op.Constant(value_ints=[0, 2, 3]), keepdims=0)


_TRANSLATIONS = {
    torch.ops.aten.max_pool2d_with_indices.default: _pool,
    torch.ops.aten.max_pool2d_with_indices_backward.default: _pool_backward,
    torch.ops.aten.convolution_backward.default: _convolution_backward,
}


def parts(graph: onnx.ModelProto) -> tuple[bytes, bytes]:
    """Return the files of a step and of reading alone, which needs neither labels nor rate."""
    given, made = ([one.name for one in part] for part in (graph.graph.input, graph.graph.output))
    extractor = onnx.utils.Extractor(graph)
    step = extractor.extract_model(given, made[:-2])
    read = extractor.extract_model([n for n in given if n not in ("labels", "rate")], made[-2:])
    return step.SerializeToString(), read.SerializeToString()


def _kept(name: str, network: nn.Sequential, box: dict[str, Any]) -> onnx.ModelProto:
    """Return `exported`, which takes seconds, from the last time that nothing was different."""
    code = b"".join(Path(one).read_bytes() for one in (__file__, networks.__file__))
    made_with = f"{torch.__version__} {box['batch']} {box['mean']} {box['std']}"
    digest = hashlib.sha256(code + made_with.encode()).hexdigest()[:16]
    path = sources.artifacts_root() / "site" / f"{name}-{digest}.onnx"
    return sources.kept(
        path,
        lambda: onnx.load(path) if path.is_file() else None,
        lambda unfinished: unfinished.write_bytes(exported(network, box).SerializeToString()),
    )


def packed(digits: data.Dataset) -> tuple[bytes, dict[str, int]]:
    """Return digits as one file, and how many it holds to train and to validate on.

    The file holds all labels, then all images, a byte a label and a pixel. Pixels have 16 shades,
    which saves two fifths of it.
    """
    parts = digits.train[:TRAIN], digits.validation[:VALIDATION]
    shades = (17 * (part.images / 17).round() for part in parts)
    both = [*(part.labels for part in parts), *shades]
    content = b"".join(one.numpy().astype(np.uint8).tobytes() for one in both)
    return playground.packed(content), {"train": len(parts[0]), "validation": len(parts[1])}


def committed(root: Path, chapter: str, run: int) -> dict[str, Any]:
    """Return a run that the notebook has recorded: its name, and validation accuracies.

    Each stands with the number of digits that had been learned from, with repetitions.
    """
    path = root / "results" / results.REFERENCE / chapter
    record = results.read(path.with_suffix(".json"))
    with np.load(path.with_suffix(".npz")) as arrays:
        accuracies = arrays[f"{run}_validation_accuracy"].astype(float).round(4).tolist()
    epochs = enumerate(accuracies, start=1)
    points = [(epoch * record["data"]["train"], accuracy) for epoch, accuracy in epochs]
    return {"name": record["models"][run]["name"], "points": points}
