"""Models that travel: two files that any program can use, and a card that says what is in them.

`save` writes `<name>.safetensors`, weights to go on training from, and `<name>.onnx`, the whole way
from a picture's ink to probabilities, which runs without PyTorch: in Python, C++ or a browser.
`reader` and `load` bring them back. Neither format can hold programs, unlike a pickle.

Two models come with the course: `publish` has put their weights into `results/models/`. They are
read until a model that was trained here is at least as good.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbhelpers import sources
from nbhelpers.tamil import alphabet

# torch takes seconds to import, and `Reader` gets along without: functions that need it import it.
if TYPE_CHECKING:
    import onnx
    import onnxruntime
    import torch
    from torch import nn

    from handwriting.ink import Picture, Steps
    from nbhelpers.data import Dataset, Split
    from nbhelpers.profile import Profile
    from nbhelpers.records import Result

PROPORTIONS = {"mnist": "kept", "tamil": "adapted"}  # of the characters, by form
ALIASES = {"digits": "lenet", "mnist": "lenet", "tamil": "compact_cnn"}
LARGEST_DIFFERENCE = 1e-4  # between what ONNX Runtime and PyTorch answer, in probability
REFERENCE = sources.project_folder() / "results" / "models"  # the course's own models
LARGEST_COST = 0.0005  # of half precision, in validation accuracy
LICENCES = {  # of what was trained, by form
    "mnist": "MIT, as the code; trained on MNIST, see data/README.md",
    "tamil": "for research use only, as HPL Tamil is, which it was trained on: see data/README.md",
}

# Which notebook saves which model.
_NOTEBOOKS = {"lenet": "05", "resnet34": "06", "compact_cnn": "07", "resnet18_tamil": "08"}
_OPSET = 18  # what torch's exporter writes without converting; browsers' ONNX Runtime reads it
_BATCH = 500


class ModelError(RuntimeError):
    """A model's file is damaged, was not written by `save`, or is not what it says it is."""


@dataclass(frozen=True)
class Card:
    """What a user of a model must know; it stands in both of its files, as JSON.

    Attributes:
        name: of the files.
        title: the model as tables call it.
        architecture: a key of `networks.ARCHITECTURES` or `vision.ARCHITECTURES`.
        classes: the text of each class, in the order of the probabilities.
        form: `mnist` or `tamil`: whether `ink.to_mnist` or `ink.to_tamil` prepares a picture.
        side: of the images that the model gets, in pixels.
        proportions: of the characters in them, `kept` or `adapted`; see `tamil.fitted`.
        mean: of the normalisation `(value / 255 - mean) / std`, which the ONNX file contains.
        std: of the same.
        temperature: what logits are divided by before the softmax; in the ONNX file as well.
        threshold: the smallest probability of a sure answer, from `threshold_for`.
        results: `validation_accuracy`, `test_accuracy`, `test_ci95`, `test_images`; of a published
            model also `half_precision_cost`, in validation accuracy.
        data: `name`, `source` and `fingerprint` of the data set; of a published model also the
            `licence` of its weights.
        made_with: the profile, the versions and the hardware; of a published model also the
            command that trains it again, `retrain`.
        onnx_difference: the largest between the probabilities of ONNX Runtime and PyTorch.
    """

    name: str
    title: str
    architecture: str
    classes: tuple[str, ...]
    form: str
    side: int
    proportions: str
    mean: float
    std: float
    temperature: float
    threshold: float
    results: dict[str, Any]
    data: dict[str, str]
    made_with: dict[str, str | int]
    onnx_difference: float


# ---------------------------------------------------------------------------------------- writing


def save(
    model: nn.Module,
    name: str,
    run: Profile,
    dataset: Dataset,
    result: Result,
    *,
    form: str,
    architecture: str,
    side: int,
    mean: float,
    std: float,
    temperature: float | None = None,
    folder: Path | None = None,
) -> Card:
    """Write `<name>.safetensors` and `<name>.onnx`, each with the card, and print one line.

    The ONNX graph takes `images`, float32 `[b, 1, side, side]` of 0 (paper) to 1 (ink), and gives
    `probabilities`, float32 `[b, classes]`. Normalisation, temperature and softmax are inside. It
    is run in ONNX Runtime on up to 1,000 test images and compared with PyTorch before anything is
    written. The model itself is only read.

    The threshold for a sure answer is chosen on the validation images, so that sure answers are
    wrong at most once in 100 and at most a third as often as all answers; see `threshold_for`
    and `wanted_share`.

    Args:
        model: trained, for one channel; on any device, in any memory format and mode.
        name: of the files.
        run: the profile that it was trained under.
        dataset: what it was trained and tested on; images of another side are resized.
        result: from `records.test_result`.
        form: which function of `ink` prepares a picture for it: `mnist` or `tamil`.
        architecture: a key of `networks.ARCHITECTURES` or `vision.ARCHITECTURES`.
        side: of its images, in pixels.
        mean: it was trained on `(value / 255 - mean) / std`.
        std: see `mean`.
        temperature: to divide logits by; by default `fit_temperature` of the validation images.
        folder: where to, by default `records.artifacts_folder(run, dataset)`.

    Raises:
        ValueError: `form` or `architecture` is unknown, or the model is of another architecture.
        ModelError: ONNX Runtime and PyTorch differ by more than 1e-4.
    """
    import onnx
    import torch
    from safetensors.torch import save as to_safetensors

    from nbhelpers import data, records

    if form not in PROPORTIONS:
        raise ValueError(f"form is {form!r}. Expected 'mnist' or 'tamil'.")
    state = {
        key: value.detach().to("cpu", torch.float32 if value.is_floating_point() else None)
        for key, value in model.state_dict().items()
    }
    state = {key: value.contiguous() for key, value in state.items()}  # not channels last
    plain = _network(architecture, len(dataset.classes), state)

    plain.to(run.device)
    logits = _logits(plain, dataset.validation, side, mean, std)
    plain.cpu()
    labels = dataset.validation.labels.numpy()
    if temperature is None:
        temperature = fit_temperature(logits, labels)
    probabilities = _softmax(logits / temperature)
    accuracy = float((logits.argmax(1) == labels).mean())

    graph = _exported(plain, side, mean, std, temperature)
    session = _session(graph.SerializeToString())
    test = dataset.test[:1000]
    expected = _softmax(_logits(plain, test, side, mean, std) / temperature)
    found = _run(session, data.resized(test.images, (side, side)).numpy())
    difference = float(np.abs(found - expected).max())
    if not difference <= LARGEST_DIFFERENCE:  # nor if it is no number
        raise ModelError(
            f"{name}.onnx: its probabilities differ from PyTorch's by up to {difference:.2g}, "
            f"expected at most {LARGEST_DIFFERENCE:g}. Nothing was written."
        )

    card = Card(
        name=name,
        title=result.name,
        architecture=architecture,
        classes=tuple(dataset.classes),
        form=form,
        side=side,
        proportions=PROPORTIONS[form],
        mean=mean,
        std=std,
        temperature=temperature,
        threshold=threshold_for(probabilities, labels, wanted_share(accuracy)),
        results={
            "validation_accuracy": result.validation_accuracy,
            "test_accuracy": result.test_accuracy,
            "test_ci95": list(result.test_ci95),
            "test_images": result.test_images,
        },
        data={
            "name": dataset.name,
            "source": dataset.source,
            "fingerprint": dataset.fingerprint,
        },
        made_with={"profile": run.name, **records.environment(run), "onnx": onnx.__version__},
        onnx_difference=difference,
    )
    folder = folder or records.artifacts_folder(run, dataset)
    text = json.dumps(asdict(card), ensure_ascii=False)
    graph.metadata_props.add(key="card", value=text)
    weights, onnx_file = (folder / f"{name}.{suffix}" for suffix in ("safetensors", "onnx"))
    with sources.written(weights) as first, sources.written(onnx_file) as second:
        # As bytes, because safetensors would make files that only their owner may read.
        first.write_bytes(to_safetensors(state, {"card": text}))
        second.write_bytes(graph.SerializeToString())
    print(
        f"saved {weights.name} and {onnx_file.name} ({weights.stat().st_size / 1e6:.1f} MB each); "
        f"ONNX and PyTorch differ by at most {difference:.0e}"
    )
    return card


def publish(name: str, folder: Path, validation: Split) -> Card:
    """Write a saved model in half precision to `results/models/`, its card to the README there.

    Filters and matrices become float16. Biases and what batch-norm keeps stay as they are: they
    are a hundredth of the numbers, and its running averages can be too small or too large for
    float16. What the rounding costs is measured before anything is written.

    Args:
        name: of the files.
        folder: where `save` has written it.
        validation: of the data that it was trained on; images of another side are resized.

    Returns:
        the card of the published model.

    Raises:
        Unavailable: no such model has been trained.
        ModelError: its file is damaged; or half precision costs more than 0.05 points of validation
            accuracy.
        WriteError: `results/models/` cannot be written to.
    """
    from safetensors.torch import save as to_safetensors

    whole, card = load(name, folder)
    state = {key: _halved(value).contiguous() for key, value in whole.state_dict().items()}
    rounded = _network(card.architecture, len(card.classes), state)
    answers = (
        _logits(network, validation, card.side, card.mean, card.std).argmax(1)
        for network in (whole, rounded)
    )
    before, after = (float((found == validation.labels.numpy()).mean()) for found in answers)
    if not before - after <= LARGEST_COST:
        raise ModelError(
            f"{name}.safetensors: in half precision its validation accuracy is {after:.4f}, before "
            f"{before:.4f}; expected to lose at most {LARGEST_COST:g}. Nothing was published."
        )
    card = replace(
        card,
        results=card.results | {"half_precision_cost": max(before - after, 0.0)},
        data=card.data | {"licence": LICENCES[card.form]},
        made_with=card.made_with | {"retrain": _retrain(name)},
    )
    path = REFERENCE / f"{name}.safetensors"
    text = json.dumps(asdict(card), ensure_ascii=False)
    with sources.written(path) as unfinished:
        unfinished.write_bytes(to_safetensors(state, {"card": text}))
    with sources.written(REFERENCE / "README.md") as unfinished:
        cards = [_card_of(one) for one in sorted(REFERENCE.glob("*.safetensors"))]
        unfinished.write_text(_described(cards), encoding="utf-8", newline="\n")
    cost = 100 * card.results["half_precision_cost"]
    print(
        f"published {path.name} ({path.stat().st_size / 1e6:.1f} MB); "
        f"half precision costs {cost:.3f} percentage points of validation accuracy"
    )
    return card


def _halved(value: torch.Tensor) -> torch.Tensor:
    """Return filters and matrices in float16, where that can hold them; all else as it is."""
    if not value.is_floating_point() or value.ndim < 2:
        return value
    half = value.half()
    return half if half.isfinite().all() else value


def _retrain(name: str) -> str:
    notebook = _NOTEBOOKS.get(name)
    return f"make publish NOTEBOOKS={notebook}" if notebook else "the notebook that saves it"


def _described(cards: list[Card]) -> str:
    """Return the page that stands beside published models, Markdown."""
    parts = [
        "# The course's own models\n\n"
        "What `python -m handwriting`, the pads, the playground and notebook 9 read with, "
        "until you have trained\na model that is at least as good on the validation images. "
        "`make publish` writes these files. Filters and matrices\nare kept in half precision "
        "(float16); the card also stands in each file's header.\n"
    ]
    for card in cards:
        low, high = card.results["test_ci95"]
        made = card.made_with
        rows = {
            "what": f"{card.architecture}: {len(card.classes)} classes, {card.side} × {card.side} "
            f"pixels, prepared by `ink.to_{card.form}`",
            "trained on": f"{card.data['name']} ({card.data['source']}), "
            f"fingerprint `{card.data['fingerprint']}`",
            "validation accuracy": f"{card.results['validation_accuracy']:.4f}; half precision "
            f"costs {100 * card.results['half_precision_cost']:.3f} percentage points of it",
            "test accuracy": f"{card.results['test_accuracy']:.4f}, 95 % interval {low:.4f} to "
            f"{high:.4f}, {card.results['test_images']:,} images (before rounding)",
            "made by": f"the `{made['profile']}` profile on {made['threads']} CPU threads, "
            f"{made['device']}, torch {made['torch']}",
            "licence": card.data["licence"],
            "train it again": f"`{made['retrain']}`",
        }
        table = "".join(f"| {key} | {value} |\n" for key, value in rows.items())
        parts.append(f"## {card.name}.safetensors: {card.title}\n\n| | |\n|---|---|\n{table}")
    return "\n".join(parts)


def fit_temperature(logits: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor) -> float:
    """Return the temperature that makes probabilities honest: it gives the least cross-entropy.

    Logits are to be divided by it before the softmax. Above 1 it makes a model more modest, below
    1 bolder; the order of the classes stays. It lies between 0.1 and 10: where every answer is
    right there is no least cross-entropy, and a lower temperature would always be better.

    Args:
        logits: float `[n, classes]`, of images that the model was not trained on.
        labels: int `[n]`, the truth.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On Calibration of Modern Neural Networks,
    2017, https://arxiv.org/abs/1706.04599
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    rows = np.arange(len(labels))

    def cross_entropy(logarithm: float) -> float:
        return -log_softmax(logits / np.exp(logarithm), axis=1)[rows, labels].mean()

    found = minimize_scalar(cross_entropy, bounds=np.log((0.1, 10)), method="bounded")
    return float(np.exp(found.x))


def threshold_for(
    probabilities: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor, wanted: float
) -> float:
    """Return the smallest probability such that answers at or above it are right often enough.

    An answer is the likeliest class. Only probabilities that occur are considered, so the result
    is never below the least probability of all answers. It is 2, which no answer reaches, where
    not even the surest answers are right often enough.

    Args:
        probabilities: float `[n, classes]`, of images that the model was not trained on.
        labels: int `[n]`, the truth.
        wanted: the share of right answers, such as 0.99.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    sureness = probabilities.max(1)
    order = np.argsort(-sureness, kind="stable")
    right = np.cumsum(probabilities.argmax(1)[order] == labels[order])
    share = right / np.arange(1, len(labels) + 1)
    falling = sureness[order]
    last_of_equals = np.append(falling[1:] != falling[:-1], True)
    enough = falling[last_of_equals & (share >= wanted)]
    return float(enough.min()) if enough.size else 2.0


def wanted_share(accuracy: float) -> float:
    """Return the share of sure answers that must be right, for a model of this accuracy.

    Sure answers may be wrong once in 100, and at most a third as often as all answers: for an
    accuracy of 0.95 it is 0.99, for one of 0.994, of which 0.99 would ask nothing, 0.998.
    """
    return max(0.99, 1 - (1 - accuracy) / 3)


def _network(architecture: str, classes: int, state: dict[str, torch.Tensor]) -> nn.Module:
    """Return a network of that architecture and these weights, in evaluation mode, on the CPU."""
    import torch

    from nbhelpers import networks

    known = networks.ARCHITECTURES
    if architecture not in known:  # perhaps a ResNet: those need fastai, which takes seconds
        from nbhelpers import vision

        known = known | vision.ARCHITECTURES
    if architecture not in known:
        names = ", ".join(known)
        raise ValueError(f"architecture is {architecture!r}. Expected one of {names}.")
    with torch.random.fork_rng(devices=[]):  # its first weights must not cost random numbers
        network = known[architecture](classes)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"The weights are not those of a {architecture}: {reason}") from None
    return network.eval()


def _logits(model: nn.Module, split: Split, side: int, mean: float, std: float) -> np.ndarray:
    """Return float32 `[n, classes]`, computed in full precision where the model is."""
    import torch

    from nbhelpers import data

    device = next(model.parameters()).device
    enlarged = replace(split, images=data.resized(split.images, (side, side)))
    with torch.inference_mode():
        batches = data.Batches(enlarged, _BATCH, mean=mean, std=std, device=device)
        parts = [model(inputs).cpu() for inputs, _ in batches]
    return torch.cat(parts).numpy()


def _softmax(logits: np.ndarray) -> np.ndarray:
    from scipy.special import softmax

    return softmax(logits, axis=1)


def _exported(
    network: nn.Module, side: int, mean: float, std: float, temperature: float
) -> onnx.ModelProto:
    """Return the graph from ink of 0 to 1 to probabilities."""
    import torch
    from torch import nn

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (self.network((images - mean) / std) / temperature).softmax(1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own parts
        program = torch.onnx.export(
            Whole().eval(),
            (torch.zeros(2, 1, side, side),),  # 2: an axis of 1 would be taken for a constant
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes={"images": {0: torch.export.Dim("b")}},
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    graph = program.model_proto
    # The exporter notes where in whose folders each line of Python stands: nothing to pass on.
    for part in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, graph.graph):
        del part.metadata_props[:]
    for value in (*graph.graph.output, *graph.graph.initializer):
        del value.metadata_props[:]
    return graph


# ---------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Choice:
    """One class and its probability; `transliteration` in Latin letters, empty for digits."""

    text: str
    transliteration: str
    probability: float

    def __str__(self) -> str:
        """Return such as `4 (0.48)` or `அ (a, 0.97)`."""
        in_latin = f"{self.transliteration}, " if self.transliteration else ""
        return f"{self.text} ({in_latin}{self.probability:.2f})"


@dataclass(frozen=True)
class Answer:
    """What a `Reader` makes of a picture.

    Attributes:
        choices: the five likeliest classes, likeliest first.
        sure: whether the first one's probability reaches the card's threshold.
        steps: how the picture was prepared.
    """

    choices: tuple[Choice, ...]
    sure: bool
    steps: Steps

    def __str__(self) -> str:
        """Return one line, such as `7, probability 0.98`."""
        first, second = self.choices[:2]
        if not self.sure:
            return f"not sure between {first} and {second}"
        in_latin = f" ({first.transliteration})" if first.transliteration else ""
        return f"{first.text}{in_latin}, probability {first.probability:.2f}"


@dataclass(frozen=True)
class Reader:
    """A saved model in ONNX Runtime, from `reader`.

    Attributes:
        card: what a user must know.
        session: of ONNX Runtime.
        content: the ONNX file, for other programs.
        own: whether it came with the course, from `results/models/`.
    """

    card: Card
    session: onnxruntime.InferenceSession
    content: bytes = field(default=b"", repr=False)
    own: bool = False

    @property
    def origin(self) -> str:
        """Whose model it is and which run trained it: `trained here (quick run)`."""
        sample = ", sample data" if self.card.data["source"] == "sample" else ""
        whose = "the course's own" if self.own else "trained here"
        return f"{whose} ({self.card.made_with['profile']} run{sample})"

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of each class, float32 `[n, classes]`.

        Args:
            images: uint8 `[n, side, side]` in the model's form; 0 is paper, 255 is ink.

        Raises:
            ValueError: they have another type or shape.
        """
        images, side = np.asarray(images), self.card.side
        if images.dtype != np.uint8 or images.shape[1:] != (side, side):
            raise ValueError(
                f"The images are {images.dtype} {list(images.shape)}. "
                f"Expected uint8 [n, {side}, {side}]; read() takes any picture."
            )
        return _run(self.session, images)

    def read(self, picture: Picture) -> Answer:
        """Return what is written on a picture of one character.

        Args:
            picture: a file's path or its bytes, an open PIL picture or an array; see `ink`.

        Raises:
            InkError: the picture cannot be read, or shows no character.
        """
        from handwriting import ink

        steps = ink.to_form(picture, self.card.form, self.card.side, self.card.proportions)
        probabilities = self.probabilities(steps.normalised[None].numpy())[0]
        likeliest = np.argsort(-probabilities, kind="stable")[:5]
        choices = tuple(
            Choice(
                self.card.classes[i],
                self._transliterations.get(self.card.classes[i], ""),
                float(probabilities[i]),
            )
            for i in likeliest
        )
        return Answer(choices, choices[0].probability >= self.card.threshold, steps)

    @cached_property
    def _transliterations(self) -> dict[str, str]:
        if self.card.form != "tamil":
            return {}

        return dict(alphabet.class_table())


def reader(
    name: str = "lenet", folder: Path | None = None, *, artifacts: Path | None = None
) -> Reader:
    """Return a saved model, ready to read pictures.

    Args:
        name: of the files; or `digits` (LeNet) or `tamil` (the compact CNN).
        folder: where its files lie. By default the best place: under `artifacts/`, profile `full`
            before `quick` and `smoke`, real data before the sample; but the course's own model in
            `results/models/`, where there is one, comes before those that are worse than it.
        artifacts: where to look instead of this project's `artifacts/`.

    Raises:
        Unavailable: there is no such model; says what to do.
        ModelError: its file is damaged.
    """
    name, artifacts = ALIASES.get(name, name), artifacts or sources.artifacts_root()
    place = _best_place(name, artifacts) if folder is None else Path(folder)
    path = place / f"{name}.onnx"
    if not path.is_file() and (place / f"{name}.safetensors").is_file():
        path, content = _from_weights(place / f"{name}.safetensors", artifacts)
    else:
        content = _existing(path).read_bytes()
    try:
        # From bytes, so that nothing in the file can point to other files.
        session = _session(content)
    except Exception as error:  # ONNX Runtime has a dozen kinds
        raise _damaged(path, str(error)) from None
    card = _card(path, session.get_modelmeta().custom_metadata_map)
    found = [(v.name, v.shape[1:]) for v in (*session.get_inputs(), *session.get_outputs())]
    side, classes = card.side, len(card.classes)
    if found != [("images", [1, side, side]), ("probabilities", [classes])]:
        raise _damaged(path, f"it has {found}, its card says {side}×{side} and {classes} classes")
    return Reader(card, session, content, own=_is_own(place))


def load(
    name: str = "lenet", folder: Path | None = None, *, artifacts: Path | None = None
) -> tuple[nn.Module, Card]:
    """Return a saved model for PyTorch with its card, in evaluation mode on the CPU.

    It gives logits, not yet divided by the temperature, of `(value / 255 - mean) / std`. Its
    weights are float32, also where the file has them in half precision.

    Args:
        name: as for `reader`.
        folder: where `<name>.safetensors` lies, as for `reader`.
        artifacts: as for `reader`.

    Raises:
        Unavailable: there is no such model; says what to do.
        ModelError: its file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    name, artifacts = ALIASES.get(name, name), artifacts or sources.artifacts_root()
    place = _best_place(name, artifacts) if folder is None else Path(folder)
    path = _existing(place / f"{name}.safetensors")
    card = _card_of(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict
        return _network(card.architecture, len(card.classes), state), card
    except (SafetensorError, ValueError) as error:
        raise _damaged(path, str(error)) from None


def _is_own(folder: Path) -> bool:
    """Return whether these are the models that come with the course."""
    return folder.resolve() == REFERENCE.resolve()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise sources.Unavailable(f"{path}: no such model. {_advice(path.stem)}")
    return path


def _best_place(name: str, artifacts: Path) -> Path:
    """Return the folder of the best model of that name; see `reader`."""
    own = REFERENCE / f"{name}.safetensors"
    reference = _card_of(own) if own.is_file() else None
    for place in _places(artifacts):
        # Both files tell a model of `save` from weights that a notebook has put aside.
        here = all((place / f"{name}.{kind}").is_file() for kind in ("onnx", "safetensors"))
        if here and (
            reference is None or _as_good(_card_of(place / f"{name}.safetensors"), reference)
        ):
            return place
    if reference:
        return REFERENCE
    raise sources.Unavailable(f"{name}: no such model has been trained here. {_advice(name)}")


def _places(artifacts: Path) -> Iterator[Path]:
    for sample in ("", "-sample"):
        for profile in ("full", "quick", "smoke"):
            for device in ("gpu", "cpu"):
                yield artifacts / f"{profile}-{device}{sample}"


def _as_good(card: Card, reference: Card) -> bool:
    """Return whether a model that was trained here is known to be as good as the course's own.

    Accuracies compare where they are of the same validation images: those of the real data, of
    which `smoke` uses a part only. (Not by the fingerprint: the side of the images may differ.)
    """
    ours, theirs = (one.results["validation_accuracy"] for one in (card, reference))
    return (
        card.data["source"] == "full"
        and card.data["name"] == reference.data["name"]
        and card.made_with["profile"] != "smoke"
        and ours >= theirs
    )


def _from_weights(path: Path, artifacts: Path) -> tuple[Path, bytes]:
    """Return an ONNX file made from weights alone: where it is kept, and its content.

    Making it takes seconds, so it is kept below `artifacts`; where that cannot be written to, it
    is made each time.
    """
    digest = hashlib.sha256(path.read_bytes())
    source = sources.project_folder() / "nbhelpers" / "networks.py"
    digest.update(source.read_bytes())  # decides the graph, too
    kept = artifacts / "reference" / f"{path.stem}-{digest.hexdigest()[:16]}.onnx"
    if kept.is_file():
        return kept, kept.read_bytes()
    network, card = load(path.stem, path.parent)
    graph = _exported(network, card.side, card.mean, card.std, card.temperature)
    graph.metadata_props.add(key="card", value=json.dumps(asdict(card), ensure_ascii=False))
    content = graph.SerializeToString()
    with contextlib.suppress(OSError):
        with sources.written(kept) as unfinished:
            unfinished.write_bytes(content)
        for older in kept.parent.glob(f"{path.stem}-*.onnx"):
            if older != kept:
                older.unlink()
    return kept, content


def _session(content: bytes) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; they are raised anyway
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    """Return float32 `[n, classes]` of uint8 `[n, side, side]`."""
    starts = range(0, max(1, len(images)), _BATCH)
    inputs = (images[i : i + _BATCH, None].astype(np.float32) / 255 for i in starts)
    return np.concatenate([session.run(["probabilities"], {"images": i})[0] for i in inputs])


def _advice(name: str) -> str:
    if name in _NOTEBOOKS:
        return f"Train it with: make run NOTEBOOKS={_NOTEBOOKS[name]}"
    return f"Known names are {', '.join(_NOTEBOOKS)}; others need the notebook that saves them."


def _card_of(path: Path) -> Card:
    """Return the card of a weights file, of which only the head is read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return _card(path, file.metadata() or {})
    except SafetensorError as error:
        raise _damaged(path, str(error)) from None


def _card(path: Path, metadata: dict[str, str]) -> Card:
    if "card" not in metadata:
        raise ModelError(
            f"{path}: has no card, so it was not written by handwriting.models.save. {_again(path)}"
        )
    try:
        values = json.loads(metadata["card"])
        card = Card(**values | {"classes": tuple(values["classes"])})
        missing = [one.name for one in fields(Card) if getattr(card, one.name) is None]
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, f"its card: {error}") from None
    if missing or card.form not in PROPORTIONS:
        raise _damaged(path, f"its card: {missing or card.form}")
    return card


def _damaged(path: Path, reason: str) -> ModelError:
    reason = " ".join(reason.split())[:200]
    return ModelError(f"{path}: damaged, or not a model of this course ({reason}). {_again(path)}")


def _again(path: Path) -> str:
    if _is_own(path.parent):
        return f"Bring it back with: git checkout -- results/models/{path.name}"
    if path.parent.name == "reference":
        return "Delete it; it is made anew."
    notebook = _NOTEBOOKS.get(path.stem)
    how = f"make run NOTEBOOKS={notebook} FORCE=1" if notebook else "the notebook that saves it"
    return f"Delete it and train it again with {how}."
