"""Save a trained model as two files that any program can use, and publish it with the course.

`<name>.safetensors` holds the weights, to go on training from; `<name>.onnx` the whole way from
ink to probabilities. Both carry the model's card. `models` brings them back.
"""

import base64
import copy
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import save as to_safetensors
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import precision_recall_curve
from torch import nn

from handwriting import cards, models
from handwriting.cards import NOTEBOOKS, Card, ModelError
from nbhelpers import data, records, shapes, sources
from nbhelpers.data import Dataset, Split
from nbhelpers.profile import Profile
from nbhelpers.records import Result

LARGEST_DIFFERENCE = 1e-4  # between what ONNX Runtime and PyTorch answer, in probability
LARGEST_COST = 0.0005  # of half precision, in validation accuracy
DIRECTIONS = 128  # in which features usually differ; at most half of all
WATCHED = 5_000  # training images whose features tell what is usual
FAMILIAR = 0.95  # share of the right and probable answers on validation images that stay sure


def card(
    name: str, run: Profile, dataset: Dataset, result: Result, form: str, **about: Any
) -> Card:
    """Return the card of a model that was trained on `dataset`, for `save`.

    Args:
        name: of the files.
        run: the profile that it was trained under.
        dataset: what it was trained and tested on.
        result: from `records.test_result`.
        form: of `shapes.FORMS`, which pictures are brought to; another is a ValueError.
        about: `architecture`, `side`, `mean`, `std` and, if it is known, `temperature`: see `Card`.
    """
    kept = ("validation_accuracy", "test_accuracy", "test_ci95", "test_images")
    results = {key: getattr(result, key) for key in kept}
    return Card(
        name=name,
        title=result.name,
        classes=tuple(dataset.classes),
        form=form,
        proportions=shapes.form(form).proportions,
        results=results | {"test_ci95": list(result.test_ci95)},
        data={key: getattr(dataset, key) for key in ("name", "source", "fingerprint")},
        made_with={"profile": run.name, **records.environment(run), "onnx": onnx.__version__},
        **about,
    )


def save(model: nn.Module, card: Card, dataset: Dataset, folder: Path) -> Card:
    """Write a model's two files, print one line, and return the card with all that was measured.

    On the validation images two limits of sure answers are chosen, the smallest probability and the
    largest strangeness, and the temperature, unless the card has it.
    The ONNX file is run on up to 1,000 test images and compared with PyTorch before anything is
    written. The model, for one channel, on any device, in any memory format and mode, is only read.
    The folder is usually `records.artifacts_folder(run, dataset)`.

    Raises:
        ValueError: the card's architecture is unknown, or not that of the model.
        ModelError: ONNX Runtime and PyTorch differ by more than 1e-4.
        WriteError: the folder cannot be written to, or the disk is full.
    """
    state = {}
    for key, value in model.state_dict().items():
        value = value.cpu().float() if value.is_floating_point() else value.cpu()
        state[key] = value.contiguous()  # not channels last
    network = models.network(card, state)
    card = _calibrated(network.to(next(model.parameters()).device), card, dataset)
    graph = exported(network.cpu(), card)
    card = replace(card, onnx_difference=_difference(graph, network, card, dataset.test[:1000]))
    weights, onnx_path = (folder / f"{card.name}.{kind}" for kind in ("safetensors", "onnx"))
    with sources.written(weights) as first, sources.written(onnx_path) as second:
        # As bytes, because safetensors would make files that only their owner may read.
        first.write_bytes(to_safetensors(state, card.text() | _as_metadata(network)))
        second.write_bytes(onnx_file(graph, card))
    print(
        f"saved {weights.name} and {onnx_path.name} ({weights.stat().st_size / 1e6:.1f} MB each); "
        f"ONNX and PyTorch differ by at most {card.onnx_difference:.0e}"
    )
    return card


def _calibrated(network: nn.Module, card: Card, dataset: Dataset) -> Card:
    """Return the card with temperature, threshold and strangeness; note what is usual."""
    body, last = _split(network)
    usual = _note_the_usual(network, _outputs(body, data.subset(dataset.train, WATCHED, 0), card))
    features, labels = _outputs(body, dataset.validation, card), dataset.validation.labels.numpy()
    with torch.inference_mode():
        logits = last(features.to(next(network.parameters()).device)).cpu().numpy()
    right = logits.argmax(1) == labels
    if card.temperature is None:
        card = replace(card, temperature=fit_temperature(logits, labels))
    probabilities = softmax(logits / card.temperature, axis=1)
    threshold = threshold_for(probabilities, labels, wanted_share(float(right.mean())))
    good = right & (probabilities.max(1) >= threshold)
    strangeness = _strangeness(features, *usual).numpy()[good]
    strangest = float(np.quantile(strangeness, FAMILIAR)) if strangeness.size else 1.0
    return replace(card, threshold=threshold, strangest=strangest)


def _outputs(network: nn.Module, split: Split, card: Card) -> torch.Tensor:
    """Return float32 `[n, outputs]`, computed in full precision where the network is."""
    device = next(network.parameters()).device
    sized = replace(split, images=shapes.resized(split.images, (card.side, card.side)))
    batches = data.Batches(sized, 500, mean=card.mean, std=card.std, device=device)
    with torch.inference_mode():
        return torch.cat([network(inputs).cpu() for inputs, _ in batches])


def _split(network: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """Return a network without its last layer, which gives that layer's features, and the layer."""
    name, last = [pair for pair in network.named_modules() if isinstance(pair[1], nn.Linear)][-1]
    body = copy.deepcopy(network)
    body.set_submodule(name, nn.Identity())
    return body, last


def _note_the_usual(network: nn.Module, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Note the features' mean `[width]` and main directions `[width, k]` with the network."""
    mean = features.mean(0)
    _, directions = torch.linalg.eigh((features - mean).T @ (features - mean))  # smallest first
    count = min(DIRECTIONS, features.shape[1] // 2)
    usual = mean, directions[:, -count:].contiguous()
    models.note(network, *usual)
    return usual


def _as_metadata(network: nn.Module) -> dict[str, str]:
    """Return what is usual as metadata of a file, whose tensors are the network's weights alone."""
    noted = models.noted(network)
    if not noted:
        return {}
    mean, directions = noted[0].cpu(), noted[1].cpu().half()
    noted = to_safetensors({"usual_mean": mean, "usual_directions": directions})
    return {"usual": base64.b64encode(noted).decode()}


def _strangeness(
    features: torch.Tensor, mean: torch.Tensor, directions: torch.Tensor
) -> torch.Tensor:
    """Return float32 `[n]`, 0 to 1: the share of features `[n, width]` that is not usual."""
    centred = features - mean
    outside = centred - centred @ directions @ directions.T
    return outside.norm(dim=1) / centred.norm(dim=1).clamp(min=1e-6)


def fit_temperature(logits: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor) -> float:
    """Return the temperature that makes probabilities honest: it gives the least cross-entropy.

    Logits, float `[n, classes]` of images that the model was not trained on, are to be divided by
    it before the softmax. It lies between 0.1 (bold) and 10 (modest): where every answer is right,
    a lower temperature would always be better. Source: C. Guo and others, On Calibration of Modern
    Neural Networks, 2017, https://arxiv.org/abs/1706.04599
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    rows = np.arange(len(labels))

    def cross_entropy(logarithm: float) -> float:
        return -log_softmax(logits / np.exp(logarithm), axis=1)[rows, labels].mean()

    found = minimize_scalar(cross_entropy, bounds=np.log((0.1, 10)), method="bounded")
    return float(np.exp(found.x))


def threshold_for(
    probabilities: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor, wanted: float
) -> float:
    """Return the smallest probability such that the share `wanted` of answers from it on is right.

    An answer is the likeliest of the classes, float `[n, classes]`. Where not even the surest
    answers are right often enough, it is 2, which none reaches.
    """
    probabilities = np.asarray(probabilities)
    right = probabilities.argmax(1) == np.asarray(labels)
    if not right.any():
        return 2.0
    share, _, reached = precision_recall_curve(right, probabilities.max(1))
    return float(min(reached[share[:-1] >= wanted], default=2.0))


def wanted_share(accuracy: float) -> float:
    """Return the share of sure answers that must be right, for a model of this accuracy.

    They may be wrong once in 100, and at most a third as often as all: 0.998 right for 0.994.
    """
    return max(0.99, 1 - (1 - accuracy) / 3)


def exported(network: nn.Module, card: Card) -> onnx.ModelProto:
    """Return the graph of a network, which is on the CPU and in evaluation mode.

    It takes `images`, float32 `[b, 1, side, side]` of 0 (paper) to 1 (ink), and gives
    `probabilities`, float32 `[b, classes]`. Normalisation, temperature and softmax are inside.

    And where `save` has noted what is usual, it gives the `strangeness`, float32 `[b]`, 0 to 1: of
    the features (what the last layer gets), less those of the mean training image, the share of
    their length outside the main directions in which training images differ. Source: H. Wang and
    others, ViM: Out-of-Distribution with Virtual-logit Matching, 2022, which weighs that length
    against the logits.
    """

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.last = _split(network)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            features = self.body((images - card.mean) / card.std)
            probabilities = (self.last(features) / card.temperature).softmax(1)
            return (probabilities, _strangeness(features, *usual)) if usual else (probabilities,)

    usual = models.noted(network)
    example = torch.zeros(2, 1, card.side, card.side)  # an axis of 1 would be taken for constant
    gives = ["probabilities", *(["strangeness"] if usual else [])]
    free = {"images": {0: torch.export.Dim("b")}}
    return as_onnx(Whole(), (example,), ["images"], gives, dynamic_shapes=free)


def as_onnx(
    module: nn.Module, example: tuple, given: list[str], gives: list[str], **how: Any
) -> onnx.ModelProto:
    """Return a module's graph, opset 18, with names for what it is given and gives.

    `how` goes to `torch.onnx.export`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own parts
        program = torch.onnx.export(
            module.eval(),
            example,
            input_names=given,
            output_names=gives,
            opset_version=18,  # written without converting; browsers' ONNX Runtime reads it
            dynamo=True,
            verbose=False,
            **how,
        )
    proto = program.model_proto  # made anew each time it is asked for
    graph = proto.graph
    # The exporter notes where in whose folders each line of Python stands: nothing to pass on.
    named = (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer)
    for part in (*named, graph):
        del part.metadata_props[:]
    return proto


def onnx_file(graph: onnx.ModelProto, card: Card) -> bytes:
    """Return the content of a graph's file, with the card."""
    for key, value in card.text().items():
        graph.metadata_props.add(key=key, value=value)
    return graph.SerializeToString()


def _difference(graph: onnx.ModelProto, network: nn.Module, card: Card, test: Split) -> float:
    """Return the largest difference between ONNX Runtime and PyTorch; raise if it is too large."""
    session = models.session_of(graph.SerializeToString())
    found = models.run(session, shapes.resized(test.images, (card.side, card.side)).numpy())
    expected = softmax(_outputs(network, test, card).numpy() / card.temperature, axis=1)
    difference = float(np.abs(found - expected).max())
    if not difference <= LARGEST_DIFFERENCE:  # nor if it is no number
        raise ModelError(
            f"{card.name}.onnx: its probabilities differ from PyTorch's by up to {difference:.2g}, "
            f"expected at most {LARGEST_DIFFERENCE:g}. Nothing was written."
        )
    return difference


def publish(name: str, folder: Path, validation: Split) -> Card:
    """Write a saved model in half precision to `results/models/`, its card to the README there.

    Filters and matrices become float16; biases and what batch-norm keeps, which can be too small or
    too large for that, stay. What the rounding costs on the validation images is measured before
    anything is written. Returns the card of the published model.

    Raises:
        Unavailable: `save` has written no such model to `folder`.
        ModelError: its file is damaged; or half precision costs more than 0.05 points of accuracy.
        WriteError: `results/models/` cannot be written to.
    """
    whole, card = models.with_usual(folder / f"{name}.safetensors")
    state = {key: _halved(value).contiguous() for key, value in whole.state_dict().items()}
    labels = validation.labels.numpy()
    networks = (whole, models.network(card, state))
    before, after = (
        float((_outputs(n, validation, card).argmax(1).numpy() == labels).mean()) for n in networks
    )
    if not before - after <= LARGEST_COST:
        raise ModelError(
            f"{name}.safetensors: in half precision its validation accuracy is {after:.4f}, before "
            f"{before:.4f}; expected to lose at most {LARGEST_COST:g}. Nothing was published."
        )
    card = replace(
        card,
        results=card.results | {"half_precision_cost": max(before - after, 0.0)},
        data=card.data | {"licence": shapes.FORMS[card.form].licence},
        made_with=card.made_with | {"retrain": f"make publish NOTEBOOKS={NOTEBOOKS[name]}"},
    )
    path = cards.REFERENCE / f"{name}.safetensors"
    with sources.written(path) as unfinished:
        unfinished.write_bytes(to_safetensors(state, card.text() | _as_metadata(whole)))
    with sources.written(path.with_name("README.md")) as unfinished:
        published = map(cards.of_weights, sorted(path.parent.glob("*.safetensors")))
        page = "\n".join([_ABOUT, *map(_section, published)])
        unfinished.write_text(page, encoding="utf-8", newline="\n")
    print(
        f"published {path.name} ({path.stat().st_size / 1e6:.1f} MB); half precision costs "
        f"{100 * card.results['half_precision_cost']:.3f} percentage points of validation accuracy"
    )
    return card


def _halved(value: torch.Tensor) -> torch.Tensor:
    """Return filters and matrices in float16, where that can hold them; all else as it is."""
    half = value.half() if value.is_floating_point() and value.ndim > 1 else value
    return half if half.isfinite().all() else value


_ABOUT = """\
# The course's own models

What `python -m handwriting`, the pads, the playground and notebook 9 read with, until you have
trained a model that is at least as good on the validation images. `make publish` writes these
files. Filters and matrices are kept in half precision (float16); the card also stands in each
file's header.
"""


def _section(card: Card) -> str:
    """Return what the page beside published models says about one, Markdown."""
    results, data, made = card.results, card.data, card.made_with
    low, high = results["test_ci95"]
    return f"""\
## {card.name}.safetensors: {card.title}

| | |
|---|---|
| what | {card.architecture}: {len(card.classes)} classes, {card.side} × {card.side} pixels, \
prepared by `ink.to_{card.form}` |
| trained on | {data["name"]} ({data["source"]}), fingerprint `{data["fingerprint"]}` |
| validation accuracy | {results["validation_accuracy"]:.4f}; half precision costs \
{100 * results["half_precision_cost"]:.3f} percentage points of it |
| test accuracy | {results["test_accuracy"]:.4f}, 95 % interval {low:.4f} to {high:.4f}, \
{results["test_images"]:,} images (before rounding) |
| made by | the `{made["profile"]}` profile, {made["device"]}, threads: {made["threads"]}, \
torch {made["torch"]} |
| licence | {data["licence"]} |
| train it again | `{made["retrain"]}` |
"""
