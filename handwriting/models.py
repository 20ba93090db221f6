"""Saved models, ready to read pictures (`reader`) or to go on learning (`load`).

Two models come with the course: `saving.publish` has put their weights into `results/models/`.
They are read until a model that was trained here is at least as good. Neither of the formats can
hold programs, unlike a pickle.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handwriting import cards
from handwriting.cards import NOTEBOOKS, Card
from handwriting.cards import ModelError as ModelError  # for who imports `models` alone
from nbhelpers import shapes, sources

# torch takes seconds to import, and `Reader` gets along without: functions that need it import it.
if TYPE_CHECKING:
    import onnxruntime
    import torch
    from torch import nn

    from handwriting.ink import Picture, Steps

# Doubt about the preparation, from 0 to 1, with which no answer is sure: what `paper` and `parts`
# give shadows, outlines and what may be two characters. Validation pictures do not single it out:
# of those of `wild` and `scenes` none was surely wrong with any cut.
DOUBTFUL = shapes.INK["doubtful"]
ALIASES = {"digits": "lenet", "mnist": "lenet", "tamil": "compact_cnn"}


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
    """What a `Reader` makes of a picture."""

    choices: tuple[Choice, ...]  # the five likeliest classes, likeliest first
    sure: bool  # the first one's probability reaches the card's threshold, and `steps` no doubt
    steps: Steps  # how the picture was prepared

    def __str__(self) -> str:
        """Return one line, such as `7, probability 0.98`."""
        first, second = self.choices[:2]
        if not self.sure and self.steps.doubt >= DOUBTFUL:
            return f"not sure that it is one character; {first} or {second}, if it is"
        if not self.sure:
            return f"not sure between {first} and {second}"
        in_latin = f" ({first.transliteration})" if first.transliteration else ""
        return f"{first.text}{in_latin}, probability {first.probability:.2f}"


@dataclass(frozen=True)
class Reader:
    """A saved model in ONNX Runtime, from `reader`."""

    card: Card  # what a user must know
    session: onnxruntime.InferenceSession
    content: bytes = field(default=b"", repr=False)  # the ONNX file, for other programs
    own: bool = False  # whether it came with the course, from `results/models/`

    @property
    def origin(self) -> str:
        """Whose model it is and which run trained it: `trained here (quick run)`."""
        sample = ", sample data" if self.card.data["source"] == "sample" else ""
        whose = "the course's own" if self.own else "trained here"
        return f"{whose} ({self.card.made_with['profile']} run{sample})"

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of each class, float32 `[n, classes]`; see `judged`."""
        return self.judged(images)[0]

    def judged(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of each class, float32 `[n, classes]`, and what is strange.

        Strange, bool `[n]`, is what is so unlike the training images that it may be no character,
        whatever its probabilities. The images are uint8 `[n, side, side]` in the model's form, 0 is
        paper and 255 is ink; of another type or shape they are a ValueError.
        """
        images, side = np.asarray(images), self.card.side
        if images.dtype != np.uint8 or images.shape[1:] != (side, side):
            raise ValueError(
                f"The images are {images.dtype} {list(images.shape)}. "
                f"Expected uint8 [n, {side}, {side}]; read() takes any picture."
            )
        if self.card.strangest == 1:  # nor do older files give a strangeness
            return run(self.session, images), np.zeros(len(images), bool)
        probabilities, strangeness = _run(self.session, images, ["probabilities", "strangeness"])
        return probabilities, strangeness > self.card.strangest

    def read(self, picture: Picture) -> Answer:
        """Return what is written on a picture of one character, as `ink.to_form` takes it.

        Raises:
            InkError: the picture cannot be read, or shows no character.
        """
        from handwriting import ink

        card = self.card
        return self._answer(ink.to_form(picture, card.form, card.side, card.proportions))

    def read_all(self, picture: Picture) -> list[Answer]:
        """Return what every separate character on a picture is, as `ink.all_to_form` finds them.

        The box of each is `steps.box` of its answer. Raises an InkError as `read` does.
        """
        from handwriting import ink

        card = self.card
        every = ink.all_to_form(picture, card.form, card.side, card.proportions)
        return [self._answer(steps) for steps in every]

    def _answer(self, steps: Steps) -> Answer:
        card = self.card
        (probabilities,), (strange,) = self.judged(steps.form[None])
        if strange:
            steps = replace(steps, doubt=max(steps.doubt, DOUBTFUL))
        choices = []
        for i in np.argsort(-probabilities, kind="stable")[:5]:
            latin = card.transliteration(card.classes[i])
            choices.append(Choice(card.classes[i], latin, float(probabilities[i])))
        sure = choices[0].probability >= card.threshold and steps.doubt < DOUBTFUL
        return Answer(tuple(choices), sure, steps)


def reader(name: str = "lenet", folder: Path | None = None) -> Reader:
    """Return a saved model, ready to read pictures.

    Args:
        name: of the files; or `digits` (LeNet) or `tamil` (the compact CNN).
        folder: where its files lie. By default the best place: under `artifacts/`, profile `full`
            before `quick` and `smoke`, real data before the sample; but the course's own model in
            `results/models/`, where there is one, comes before those that are worse than it.

    Raises:
        Unavailable: there is no such model; says what to do.
        ModelError: its file is damaged.
    """
    name = ALIASES.get(name, name)
    place = folder or _best_place(name)
    path, weights = (place / f"{name}.{kind}" for kind in ("onnx", "safetensors"))
    if not path.is_file() and weights.is_file():
        path, content = _from_weights(weights)
    else:
        content = _existing(path).read_bytes()
    try:
        session = session_of(content)
    except Exception as error:  # ONNX Runtime has a dozen kinds
        raise cards.damaged(path, str(error)) from None
    card = cards.read(path, session.get_modelmeta().custom_metadata_map)
    found = [(v.name, v.shape[1:]) for v in (*session.get_inputs(), *session.get_outputs())]
    side, classes = card.side, len(card.classes)
    if found[:2] != [("images", [1, side, side]), ("probabilities", [classes])]:
        reason = f"it has {found}, its card says {side}×{side} and {classes} classes"
        raise cards.damaged(path, reason)
    return Reader(card, session, content, own=cards.is_own(place))


def load(name: str = "lenet", folder: Path | None = None) -> tuple[nn.Module, Card]:
    """Return a saved model for PyTorch with its card, in evaluation mode on the CPU.

    It gives logits, not yet divided by the temperature, of `(value / 255 - mean) / std`, in
    float32. Name and folder, and what is raised, are as for `reader`.
    """
    name = ALIASES.get(name, name)
    return _opened(_existing((folder or _best_place(name)) / f"{name}.safetensors"))


def with_usual(path: Path) -> tuple[nn.Module, Card]:
    """Return what `load` does, from a file, and what `saving` has noted as usual with the network.

    Raises:
        Unavailable: there is no such file; says what to do.
        ModelError: it is damaged.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load

    network, card = _opened(_existing(path))
    with safe_open(path, framework="pt") as file:
        noted = file.metadata().get("usual", "")
    try:
        if noted:
            usual = load(base64.b64decode(noted))
            note(network, usual["usual_mean"], usual["usual_directions"].float())
    except (SafetensorError, ValueError, KeyError) as error:
        raise cards.damaged(path, str(error)) from None
    return network, card


def note(network: nn.Module, mean: torch.Tensor, directions: torch.Tensor) -> None:
    """Note what is usual with a network: float32 `[width]` and `[width, k]`, no weights of it."""
    device = next(network.parameters()).device
    network.register_buffer("usual_mean", mean.to(device), persistent=False)
    network.register_buffer("usual_directions", directions.to(device), persistent=False)


def noted(network: nn.Module) -> tuple[torch.Tensor, ...]:
    """Return what `note` has noted with a network, or nothing."""
    buffers = dict(network.named_buffers())
    return tuple(buffers[n] for n in ("usual_mean", "usual_directions") if n in buffers)


def _opened(path: Path) -> tuple[nn.Module, Card]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    card = cards.of_weights(path)
    try:
        return network(card, load_file(path)), card
    except (SafetensorError, ValueError) as error:
        raise cards.damaged(path, str(error)) from None


def network(card: Card, state: dict[str, torch.Tensor]) -> nn.Module:
    """Return a network of the card's architecture with these weights, for evaluation on the CPU.

    Raises a ValueError if the architecture is unknown, or the weights are of another.
    """
    import torch

    from nbhelpers import networks

    known = networks.ARCHITECTURES
    if card.architecture not in known:  # perhaps a ResNet: those need fastai, which takes seconds
        from nbhelpers import vision

        known = known | vision.ARCHITECTURES
    if card.architecture not in known:
        names = ", ".join(known)
        raise ValueError(f"architecture is {card.architecture!r}. Expected one of {names}.")
    with torch.random.fork_rng(devices=[]):  # its first weights must not cost random numbers
        network = known[card.architecture](len(card.classes))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"The weights are not those of a {card.architecture}: {reason}") from None
    return network.eval()


def session_of(content: bytes) -> onnxruntime.InferenceSession:
    """Open an ONNX file in ONNX Runtime; from bytes, so that it cannot point to other files."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; they are raised anyway
    # Left to itself it counts all processors, and complains where it may not use them.
    options.intra_op_num_threads = _usable_processors()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _usable_processors() -> int:
    """Return how many processors this process may use: by its affinity, and its group's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def run(session: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    """Return the probabilities of images uint8 `[n, side, side]`, float32 `[n, classes]`."""
    return _run(session, images, ["probabilities"])[0]


def _run(
    session: onnxruntime.InferenceSession, images: np.ndarray, outputs: list[str]
) -> list[np.ndarray]:
    starts = range(0, max(1, len(images)), 500)
    inputs = (images[i : i + 500, None].astype(np.float32) / 255 for i in starts)
    parts = [session.run(outputs, {"images": part}) for part in inputs]
    return [np.concatenate(one) for one in zip(*parts, strict=True)]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise sources.Unavailable(f"{path}: no such model. {_advice(path.stem)}")
    return path


def _advice(name: str) -> str:
    if name in NOTEBOOKS:
        return f"Train it with: make run NOTEBOOKS={NOTEBOOKS[name]}"
    return f"Known names are {', '.join(NOTEBOOKS)}; others need the notebook that saves them."


def _best_place(name: str) -> Path:
    """Return the folder of the best model of that name; see `reader`."""
    own = cards.REFERENCE / f"{name}.safetensors"
    reference = cards.of_weights(own) if own.is_file() else None
    kinds = itertools.product(("", "-sample"), ("full", "quick", "smoke"), ("gpu", "mps", "cpu"))
    for sample, profile, device in kinds:
        place = sources.artifacts_root() / f"{profile}-{device}{sample}"
        # Both files tell a saved model from weights that a notebook has put aside.
        weights = place / f"{name}.safetensors"
        here = weights.is_file() and (place / f"{name}.onnx").is_file()
        if here and (reference is None or _as_good(cards.of_weights(weights), reference)):
            return place
    if reference:
        return cards.REFERENCE
    raise sources.Unavailable(f"{name}: no such model has been trained here. {_advice(name)}")


def _as_good(card: Card, reference: Card) -> bool:
    """Return whether a model that was trained here is known to be as good as the course's own.

    Accuracies compare where they are of all validation images of the real data.
    """
    ours, theirs = (one.results["validation_accuracy"] for one in (card, reference))
    real = (card.data["source"], card.data["name"]) == ("full", reference.data["name"])
    return real and card.made_with["profile"] != "smoke" and ours >= theirs


def _from_weights(path: Path) -> tuple[Path, bytes]:
    """Return where an ONNX file made from weights alone is kept, if it can be, and its content."""
    networks = sources.project_folder() / "nbhelpers" / "networks.py"
    code = networks, Path(__file__).with_name("saving.py")
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in (path, *code)))  # of all of it
    kept = sources.artifacts_root() / "reference" / f"{path.stem}-{digest.hexdigest()[:16]}.onnx"
    if kept.is_file():
        return kept, kept.read_bytes()
    from handwriting import saving

    weights, card = with_usual(path)
    content = saving.onnx_file(saving.exported(weights, card), card)
    with contextlib.suppress(OSError):
        with sources.written(kept) as unfinished:
            unfinished.write_bytes(content)
        for older in kept.parent.glob(f"{path.stem}-*.onnx"):
            if older != kept:
                older.unlink()
    return kept, content
