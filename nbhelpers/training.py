"""Train, evaluate and use a classifier: the loop of notebook 01, made reusable.

Models return logits `[b, classes]`; batches are `(inputs, labels)` pairs such as `data.Batches`
yields. `fit` gives the same numbers as the loop written out in notebook 01, from the same seed.
"""

import hashlib
import io
import math
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from tqdm.auto import tqdm

from nbhelpers.sources import written

Batch = tuple[torch.Tensor, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class History:
    """What was measured in each epoch: means over images, in training while the model changes."""

    name: str  # in figures and tables
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of training so far, no validation

    @property
    def epochs(self) -> int:
        """The number of epochs trained so far."""
        return len(self.seconds)

    def add(self, learnt: "Score", judged: "Score", seconds: float) -> None:
        """Add an epoch; raise a `FloatingPointError` if its training loss is no number."""
        if not math.isfinite(learnt.loss):
            what = f"{self.name}: the loss in epoch {self.epochs + 1} is {learnt.loss}"
            raise FloatingPointError(f"{what}. A smaller learning rate usually helps.")
        self.train_loss.append(learnt.loss)
        self.train_accuracy.append(learnt.accuracy)
        self.validation_loss.append(judged.loss)
        self.validation_accuracy.append(judged.accuracy)
        self.seconds.append((self.seconds or [0.0])[-1] + seconds)

    def __str__(self) -> str:
        """Return the line that is printed at the end of a training."""
        epochs = f"{self.epochs} epoch{'s' * (self.epochs != 1)} in {self.seconds[-1]:.1f} s"
        accuracy = f"validation accuracy {self.validation_accuracy[-1]:.4f}"
        return f"{self.name}: {epochs} of training, {accuracy}"


@dataclass(frozen=True)
class Score:
    """How a model does on a split: `correct` of `images`, and the mean loss over all of them."""

    correct: int
    images: int
    loss: float

    @property
    def accuracy(self) -> float:
        """The share of images classified rightly, 0 to 1."""
        return self.correct / self.images


def one_cycle(
    optimizer: Optimizer, highest: float, batches: int, epochs: int, **options: float
) -> OneCycleLR:
    """Return a schedule that warms up to the learning rate `highest`, then cools to almost none.

    Source: L. N. Smith, N. Topin, Super-Convergence, 2018, https://arxiv.org/abs/1708.07120
    """
    return OneCycleLR(optimizer, highest, total_steps=batches * epochs, **options)


def fit(
    model: nn.Module,
    train: Iterable[Batch],
    validation: Iterable[Batch],
    *,
    optimizer: Optimizer,
    epochs: int,
    schedule: LRScheduler | None = None,
    loss_function: Loss = functional.cross_entropy,
    augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
    precision: torch.dtype = torch.float32,
    name: str = "model",
    checkpoint: Path | None = None,
    settings: object = None,
    after_epoch: Callable[[int, History], None] = lambda epoch, history: None,
) -> History:
    """Train `model`, in place and on the device it is on, and return what was measured.

    Args:
        train, validation: batches, as many as `len` says, to learn from, and to judge on after each
            epoch, before which their `set_epoch` is called; their `generator` draws their order.
        loss_function: of (logits float32, labels int64 `[b]`), the batch's mean.
        augment: changes a batch of inputs at random before the model sees it.
        precision: float32, or bfloat16 for automatic mixed precision.
        checkpoint: a folder for a file that keeps the state after each epoch. A training that
            begins as the one did that left a file there goes on from that file.
        settings: all else that decides the numbers, such as the data's fingerprint and `augment`.
        after_epoch: called after each epoch with its number, from 0, and all measured so far.

    Raises:
        FloatingPointError: the loss is no longer a number.
        CheckpointError: the checkpoint is damaged.
    """
    device, history = next(model.parameters()).device, History(name)
    if checkpoint:
        parts = [part for part in (model, optimizer, schedule) if part is not None]
        how = [str(model), epochs, precision, settings]
        kept = Checkpoint(checkpoint, history, parts, getattr(train, "generator", None), how)
    with progress_bar(name, (epochs - history.epochs) * len(train)) as bar:
        for epoch in range(history.epochs, epochs):
            for batches in (train, validation):
                getattr(batches, "set_epoch", lambda epoch: None)(epoch)
            started = time.perf_counter()
            model.train()
            loss_sum = torch.zeros((), device=device)
            correct, images = torch.zeros((), dtype=torch.int64, device=device), 0
            for inputs, labels in train:
                inputs = augment(inputs) if augment else inputs
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    logits = model(inputs)
                loss = loss_function(logits.float(), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if schedule:
                    schedule.step()
                loss_sum += loss.detach() * len(labels)
                correct += (logits.argmax(1) == labels).sum()
                images += len(labels)
                bar.update()
            learnt = Score(correct.item(), images, loss_sum.item() / images)
            seconds = time.perf_counter() - started
            judged = evaluate(model, validation, loss_function=loss_function, precision=precision)
            history.add(learnt, judged, seconds)
            after_epoch(epoch, history)
            if checkpoint:
                kept.save()
    if history.epochs:
        print(history)
    return history


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    loss_function: Loss = functional.cross_entropy,
    precision: torch.dtype = torch.float32,
) -> Score:
    """Return how `model` does on `batches`, in evaluation mode, each image counting alike."""
    device = next(model.parameters()).device
    loss_sum, correct, images = 0.0, 0, 0
    model.eval()
    for inputs, labels in batches:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = model(inputs)
        loss_sum += loss_function(logits.float(), labels).item() * len(labels)
        correct += (logits.argmax(1) == labels).sum().item()
        images += len(labels)
    return Score(correct, images, loss_sum / images)


@torch.no_grad()
def predict(
    model: nn.Module, batches: Iterable[Batch], *, precision: torch.dtype = torch.float32
) -> Batch:
    """Return the probabilities that `model` gives, in evaluation mode, and the true labels.

    float32 `[n, classes]` and int64 `[n]`, both on the CPU and in the order of `batches`.
    """
    device = next(model.parameters()).device
    model.eval()
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        answers = [(model(inputs).float().softmax(1), labels) for inputs, labels in batches]
    return tuple(torch.cat(part).cpu() for part in zip(*answers, strict=True))


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers `model` learns."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def progress_bar(name: str, steps: int) -> tqdm:
    """Return a bar, shown in notebooks and terminals unless `NB_HEADLESS` is set."""
    return tqdm(desc=name, total=steps, leave=False, disable=os.environ.get("NB_HEADLESS") or None)


class CheckpointError(RuntimeError):
    """A file is damaged or is no checkpoint; it has not been used, and no program in it was run."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write what `state_dict()` and the like give."""
    content = io.BytesIO()  # torch.save would hide what the system says of a full disk
    torch.save(state, content)
    if os.environ.get("RANK", "0") == "0":  # of those that torchrun started, only the first writes
        with written(path) as unfinished:
            unfinished.write_bytes(content.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return what `save_checkpoint` wrote, tensors on the CPU, or raise a `CheckpointError`."""
    try:
        with zipfile.ZipFile(path) as file:
            if file.testzip():  # names a part with a wrong checksum; torch.load does not look
                raise ValueError
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # damage has many names
        raise CheckpointError(f"{path}: damaged or foreign. Delete it to begin anew.") from None


@dataclass
class Checkpoint:
    """The file of one training, named by how it begins; where it exists, the training goes on."""

    folder: Path
    history: History
    parts: Sequence[Any]  # the model, its optimizer and whatever else has a `state_dict`
    order: Any  # what draws the order of the images, with `get_state` and `set_state`, or None
    settings: Any  # all else that decides the numbers: tensors, and what `str` tells apart

    def __post_init__(self) -> None:
        """Find the file, and bring `history`, `parts` and `order` to where it ends."""
        name, left = self.history.name, [self._state(), self.settings]
        digest = hashlib.sha256(name.encode())
        while left:
            part = left.pop()
            if isinstance(part, torch.Tensor):
                digest.update(str(part.stride()).encode())  # findings/torch_fused_optimizer_layout
                digest.update(part.detach().cpu().reshape(-1).view(torch.uint8).numpy())
            elif isinstance(part, dict | list | tuple):
                left += part.items() if isinstance(part, dict) else part
            else:
                digest.update(f"{part};".encode())
        readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        self.path = self.folder / f"{readable}-{digest.hexdigest()[:12]}.pt"
        if self.path.exists():
            self._resume(load_checkpoint(self.path))
            print(f"{name}: goes on after epoch {self.history.epochs}, from {self.path.name}")

    def save(self) -> None:
        """Write the state that all of them are in."""
        save_checkpoint(self.path, self._state())

    def _state(self) -> dict[str, Any]:
        apple = torch.backends.mps.is_available()
        gpus = [torch.mps.get_rng_state()] if apple else torch.cuda.get_rng_state_all()
        state = {"parts": [part.state_dict() for part in self.parts]}
        state["random"] = [torch.get_rng_state(), *gpus]
        order = self.order and self.order.get_state()
        return state | {"history": asdict(self.history), "order": order}

    def _resume(self, state: dict[str, Any]) -> None:
        for part, its_state in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(its_state)
        cpu, *gpus = state["random"]
        torch.set_rng_state(cpu)
        if torch.backends.mps.is_available():
            torch.mps.set_rng_state(*gpus)
        else:
            torch.cuda.set_rng_state_all(gpus)
        if self.order:
            self.order.set_state(state["order"])
        vars(self.history).update(state["history"])
