"""Models that travel: two files that any program can use, and a card that says what is in them.

`save` writes `<name>.safetensors`, weights to go on training from, and `<name>.onnx`, the whole way
from a picture's ink to probabilities, which runs without PyTorch: in Python, C++ or a browser.
`reader` and `load` bring them back. Neither format can hold programs, unlike a pickle.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbhelpers import sources

# torch takes seconds to import, and `Reader` gets along without: functions that need it import it.
if TYPE_CHECKING:
    import onnx
    import onnxruntime
    import torch
    from torch import nn

    from nbhelpers.data import Dataset, Split
    from nbhelpers.ink import Picture, Steps
    from nbhelpers.profile import Profile
    from nbhelpers.reporting import Result

PROPORTIONS = {"mnist": "kept", "tamil": "adapted"}  # of the characters, by form
ALIASES = {"digits": "lenet", "mnist": "lenet", "tamil": "compact_cnn"}
LARGEST_DIFFERENCE = 1e-4  # between what ONNX Runtime and PyTorch answer, in probability

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
        architecture: a key of `networks.ARCHITECTURES`.
        classes: the text of each class, in the order of the probabilities.
        form: `mnist` or `tamil`: whether `ink.to_mnist` or `ink.to_tamil` prepares a picture.
        side: of the images that the model gets, in pixels.
        proportions: of the characters in them, `kept` or `adapted`; see `tamil.fitted`.
        mean: of the normalisation `(value / 255 - mean) / std`, which the ONNX file contains.
        std: of the same.
        temperature: what logits are divided by before the softmax; in the ONNX file as well.
        threshold: the smallest probability of a sure answer, from `threshold_for`.
        results: `validation_accuracy`, `test_accuracy`, `test_ci95`, `test_images`.
        data: `name`, `source` and `fingerprint` of the data set.
        made_with: the profile, the versions and the hardware.
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
        result: from `reporting.test_result`.
        form: which function of `ink` prepares a picture for it: `mnist` or `tamil`.
        architecture: a key of `networks.ARCHITECTURES`.
        side: of its images, in pixels.
        mean: it was trained on `(value / 255 - mean) / std`.
        std: see `mean`.
        temperature: to divide logits by; by default `fit_temperature` of the validation images.
        folder: where to, by default `reporting.artifacts_folder(run, dataset)`.

    Raises:
        ValueError: `form` or `architecture` is unknown, or the model is of another architecture.
        ModelError: ONNX Runtime and PyTorch differ by more than 1e-4.
    """
    import onnx
    import torch
    from safetensors.torch import save as to_safetensors

    from nbhelpers import data, reporting

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
        made_with={"profile": run.name, **reporting.environment(run), "onnx": onnx.__version__},
        onnx_difference=difference,
    )
    folder = folder or reporting.artifacts_folder(run, dataset)
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
    """Return a network of `networks` with these weights, in evaluation mode on the CPU."""
    import torch

    from nbhelpers import networks

    if architecture not in networks.ARCHITECTURES:
        known = ", ".join(networks.ARCHITECTURES)
        raise ValueError(f"architecture is {architecture!r}. Expected one of {known}.")
    with torch.random.fork_rng(devices=[]):  # its first weights must not cost random numbers
        network = networks.ARCHITECTURES[architecture](classes)
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
    """A saved model in ONNX Runtime, from `reader`."""

    card: Card
    session: onnxruntime.InferenceSession

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
        from nbhelpers import ink

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
        from nbhelpers import tamil

        return dict(tamil.class_table())


def reader(
    name: str = "lenet", folder: Path | None = None, *, artifacts: Path | None = None
) -> Reader:
    """Return a saved model, ready to read pictures.

    Args:
        name: of the files; or `digits` (LeNet) or `tamil` (the compact CNN).
        folder: where `<name>.onnx` lies. By default the best place under `artifacts/`: profile
            `full` before `quick` and `smoke`, real data before the sample.
        artifacts: where to look instead of this project's `artifacts/`.

    Raises:
        Unavailable: no such model has been trained; says what to do.
        ModelError: its file is damaged.
    """
    path = find(name, "onnx", folder, artifacts)
    try:
        # From bytes, so that nothing in the file can point to other files.
        session = _session(path.read_bytes())
    except Exception as error:  # ONNX Runtime has a dozen kinds
        raise _damaged(path, str(error)) from None
    card = _card(path, session.get_modelmeta().custom_metadata_map)
    found = [(v.name, v.shape[1:]) for v in (*session.get_inputs(), *session.get_outputs())]
    side, classes = card.side, len(card.classes)
    if found != [("images", [1, side, side]), ("probabilities", [classes])]:
        raise _damaged(path, f"it has {found}, its card says {side}×{side} and {classes} classes")
    return Reader(card, session)


def load(
    name: str = "lenet", folder: Path | None = None, *, artifacts: Path | None = None
) -> tuple[nn.Module, Card]:
    """Return a saved model for PyTorch with its card, in evaluation mode on the CPU.

    It gives logits, not yet divided by the temperature, of `(value / 255 - mean) / std`.

    Args:
        name: as for `reader`.
        folder: where `<name>.safetensors` lies, as for `reader`.
        artifacts: as for `reader`.

    Raises:
        Unavailable: no such model has been trained; says what to do.
        ModelError: its file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = find(name, "safetensors", folder, artifacts)
    try:
        with safe_open(path, framework="pt") as file:
            card = _card(path, file.metadata() or {})
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict
        return _network(card.architecture, len(card.classes), state), card
    except (SafetensorError, ValueError) as error:
        raise _damaged(path, str(error)) from None


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


def find(name: str, suffix: str, folder: Path | None = None, artifacts: Path | None = None) -> Path:
    """Return the file of the best saved model of that name.

    Args:
        name: as for `reader`.
        suffix: `onnx` or `safetensors`.
        folder: as for `reader`.
        artifacts: as for `reader`.

    Raises:
        Unavailable: no such model has been trained; says what to do.
    """
    name = ALIASES.get(name, name)
    if folder is not None:
        path = Path(folder) / f"{name}.{suffix}"
        if path.is_file():
            return path
        raise sources.Unavailable(f"{path}: no such model. {_advice(name)}")
    artifacts = artifacts or sources.artifacts_root()
    for place in _places(artifacts):
        # Both files tell a model of `save` from weights that a notebook has put aside.
        if all((place / f"{name}.{kind}").is_file() for kind in ("onnx", "safetensors")):
            return place / f"{name}.{suffix}"
    raise sources.Unavailable(f"{name}: no such model has been trained here. {_advice(name)}")


def _places(artifacts: Path) -> Iterator[Path]:
    for sample in ("", "-sample"):
        for profile in ("full", "quick", "smoke"):
            for device in ("gpu", "cpu"):
                yield artifacts / f"{profile}-{device}{sample}"


def _advice(name: str) -> str:
    if name in _NOTEBOOKS:
        return f"Train it with: make run NOTEBOOKS={_NOTEBOOKS[name]}"
    return f"Known names are {', '.join(_NOTEBOOKS)}; others need the notebook that saves them."


def _card(path: Path, metadata: dict[str, str]) -> Card:
    if "card" not in metadata:
        raise ModelError(
            f"{path}: has no card, so it was not written by nbhelpers.models.save. {_again(path)}"
        )
    try:
        values = json.loads(metadata["card"])
        card = Card(**values | {"classes": tuple(values["classes"])})
        missing = [field.name for field in fields(Card) if getattr(card, field.name) is None]
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, f"its card: {error}") from None
    if missing or card.form not in PROPORTIONS:
        raise _damaged(path, f"its card: {missing or card.form}")
    return card


def _damaged(path: Path, reason: str) -> ModelError:
    reason = " ".join(reason.split())[:200]
    return ModelError(f"{path}: damaged, or not a model of this course ({reason}). {_again(path)}")


def _again(path: Path) -> str:
    notebook = _NOTEBOOKS.get(path.stem)
    how = f"make run NOTEBOOKS={notebook} FORCE=1" if notebook else "the notebook that saves it"
    return f"Delete it and train it again with {how}."
