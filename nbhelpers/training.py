"""Train, evaluate and use a classifier: the loop of notebook 01, made reusable.

Models return logits `[b, classes]`; batches are `(inputs, labels)` pairs such as `data.Batches`
yields. `fit` gives the same numbers as the loop written out in notebook 01, from the same seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from nbhelpers import checkpoints
from nbhelpers.progress import Progress

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class History:
    """What a training run measured, one entry an epoch.

    Attributes:
        name: the model, as figures and tables call it.
        train_loss: mean loss over the training images, while the model was still changing.
        train_accuracy: accuracy over the same.
        validation_loss: mean loss over the validation images after the epoch.
        validation_accuracy: accuracy over the same.
        seconds: training time so far, validation not counted.
    """

    name: str
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """The number of epochs trained so far."""
        return len(self.seconds)


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
    optimizer: torch.optim.Optimizer, highest: float, batches: int, epochs: int, **options: float
) -> torch.optim.lr_scheduler.OneCycleLR:
    """Return a schedule that warms up to the learning rate `highest`, then cools to almost none.

    Args:
        optimizer: whose learning rate is set.
        highest: the learning rate at the top.
        batches: batches an epoch.
        epochs: epochs of the whole run.
        options: passed on to `torch.optim.lr_scheduler.OneCycleLR`.

    Source: L. N. Smith, N. Topin, Super-Convergence, 2018, https://arxiv.org/abs/1708.07120
    """
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, highest, total_steps=batches * epochs, **options
    )


def fit(
    model: nn.Module,
    train: Iterable[tuple[torch.Tensor, torch.Tensor]],
    validation: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    loss_function: Loss = functional.cross_entropy,
    augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
    precision: torch.dtype = torch.float32,
    name: str = "model",
    checkpoint: Path | str | None = None,
) -> History:
    """Train `model` and return what was measured.

    Args:
        model: returns logits `[b, classes]`; it is trained in place, on the device it is on.
        train: batches to learn from; gone through once an epoch. Before each epoch, its
            `set_epoch` is called if it has one (images may grow from epoch to epoch).
        validation: batches to judge on after each epoch, likewise; the model learns nothing from
            them.
        optimizer: updates the model's parameters after each batch.
        epochs: how often to go through `train`.
        schedule: sets the learning rate; stepped after each batch.
        loss_function: of (logits `[b, classes]` float32, labels `[b]` int64), the batch's mean.
        augment: changes a batch of inputs at random before the model sees it.
        precision: float32, or bfloat16 for automatic mixed precision.
        name: what figures and tables call the model.
        checkpoint: a folder for a file that keeps the state after each epoch. Where a training
            that began in the same way left its file, this one goes on from there, or is already
            complete, and ends as if it had never been interrupted.

    Returns:
        One entry an epoch; accuracies and losses are over images, not means of batch means.

    Raises:
        FloatingPointError: the loss is no longer a number.
        checkpoints.CheckpointError: the checkpoint is damaged.
    """
    device = next(model.parameters()).device
    history = History(name)
    parts = {"model": model, "optimizer": optimizer} | ({"schedule": schedule} if schedule else {})
    order = getattr(train, "generator", None)  # of the batches
    if checkpoint:
        how = [epochs, *checkpoints.settings(loss_function, augment, precision)]
        attributes, kinds = getattr(train, "__dict__", {}), torch.Tensor | int | float | list
        images = {name: part for name, part in attributes.items() if isinstance(part, kinds)}
        beginning = _state(parts, order, history) | {"images": images, "how": how}
        checkpoint = checkpoints.path(checkpoint, name, beginning)
        if checkpoint.exists():
            _restore(checkpoint, parts, order, history)
    with Progress(history, epochs, len(train)) as progress:
        for epoch in range(history.epochs, epochs):
            for batches in (train, validation):
                if hasattr(batches, "set_epoch"):
                    batches.set_epoch(epoch)
            started = time.perf_counter()
            model.train()
            loss_sum = torch.zeros((), device=device)
            correct = torch.zeros((), dtype=torch.int64, device=device)
            images = 0
            for inputs, labels in train:
                if augment:
                    inputs = augment(inputs)
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
                progress.batch_done()
            if not loss_sum.isfinite():
                raise FloatingPointError(
                    f"{name}: the loss in epoch {epoch + 1} is {loss_sum.item()}. "
                    "A smaller learning rate usually helps."
                )
            history.train_loss.append(loss_sum.item() / images)
            history.train_accuracy.append(correct.item() / images)
            trained_before = history.seconds[-1] if history.seconds else 0.0
            history.seconds.append(trained_before + time.perf_counter() - started)
            score = evaluate(model, validation, loss_function=loss_function, precision=precision)
            history.validation_loss.append(score.loss)
            history.validation_accuracy.append(score.accuracy)
            progress.epoch_done()
            if checkpoint:
                checkpoints.save(checkpoint, _state(parts, order, history))
    return history


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    loss_function: Loss = functional.cross_entropy,
    precision: torch.dtype = torch.float32,
) -> Score:
    """Return how `model` does on `batches`, in evaluation mode and over every image alike.

    Arguments are those of `fit`. A short last batch counts by its images, not as a whole batch.
    """
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
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    precision: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the probabilities that `model` gives, in evaluation mode, and the true labels.

    Arguments are those of `fit`.

    Returns:
        float32 `[n, classes]`, each row summing to 1, and int64 `[n]`; both on the CPU and in the
        order of `batches`, which must therefore not be shuffled.
    """
    device = next(model.parameters()).device
    model.eval()
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        parts = [(model(inputs), labels.cpu()) for inputs, labels in batches]
    parts = [(logits.float().softmax(1).cpu(), labels) for logits, labels in parts]
    probabilities, labels = zip(*parts, strict=True)
    return torch.cat(probabilities), torch.cat(labels)


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers `model` learns."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _state(
    parts: dict[str, Any], order: torch.Generator | None, history: History
) -> dict[str, Any]:
    return {
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "random": random_state(),
        "order": order.get_state() if order else None,
        "history": asdict(history),
    }


def _restore(
    path: Path, parts: dict[str, Any], order: torch.Generator | None, history: History
) -> None:
    state = checkpoints.load(path)
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    set_random_state(state["random"])
    if order:
        order.set_state(state["order"])
    for name, values in state["history"].items():
        setattr(history, name, values)
    print(f"{history.name}: goes on after epoch {history.epochs}, from {path.name}")


def random_state() -> dict[str, Any]:
    """Return the state of PyTorch's random numbers, on the CPU and on every GPU."""
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "gpus": on_gpus}


def set_random_state(state: dict[str, Any]) -> None:
    """Go back to what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if state["gpus"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["gpus"])
