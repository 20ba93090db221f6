"""What notebooks 1 to 7 chose, on validation images: the one copy of it in the package.

The notebooks write it out as well; a test compares. With their seed a recipe gives their model.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from nbhelpers import data, networks, records, training
from nbhelpers.augmentation import RandomAffine, RandomWarp
from nbhelpers.data import Dataset, Split
from nbhelpers.profile import Profile
from nbhelpers.training import History


@dataclass(frozen=True)
class Recipe:
    """How a notebook trains a model: AdamW with a one-cycle schedule."""

    name: str  # what the records call the model
    notebook: str  # whose model it is
    network: Callable[..., nn.Module]  # builds it, untrained
    epochs: str  # the entry of the profile with their number
    band: str  # and the one with the band of its accuracy
    rate: float  # the highest learning rate
    decay: float = 0.01  # of the weights
    augment: Callable[[torch.Tensor], torch.Tensor] | None = None  # changes training images
    smoothing: float = 0.0  # how much of the probability the wrong classes share
    centre: float = 0.0  # subtracted from pixels in 0 to 1,
    spread: float = 1.0  # and what they are then divided by
    fast: bool = True  # in the profile's fastest number format and channels-last layout
    early_top: float = 0.3  # after which share of the steps the rate is highest
    batch: int = 256  # images a batch
    fused: bool = False  # the optimizer updates all weights in one go; its last digits differ


_SLIGHTLY = RandomAffine(degrees=7, scale=0.07, shear=0.1, shift=0.04)
LENET = Recipe("LeNet, AdamW one-cycle", "05", networks.lenet, "lenet", "lenet",
               rate=0.004, decay=0.01, augment=_SLIGHTLY, centre=0.5, spread=0.5)  # fmt: skip
MNIST = (
    Recipe("linear, AdamW one-cycle", "01", networks.linear, "linear", "linear", 0.003, fast=False),
    Recipe("784-30-10, AdamW one-cycle", "02", networks.two_layers, "two_layers", "two_layers",
           0.01, 0.1, RandomAffine(degrees=5, scale=0.05, shift=0.02), fast=False),
    Recipe("784-300-50-10, AdamW one-cycle", "03", networks.three_layers, "three_layers",
           "three_layers", 0.003, 0.01, RandomAffine(degrees=10, scale=0.1, shift=1.5 / 28)),
    Recipe("small CNN, AdamW one-cycle", "04", networks.small_cnn, "small_cnn", "small_cnn",
           0.003, 0.01, _SLIGHTLY),
    LENET,
)  # fmt: skip


def _letters(name: str, network: Callable[..., nn.Module], band: str, rate: float) -> Recipe:
    network = partial(network, classes=156, side=64)
    return Recipe(name, "07", network, "tamil_ladder", band, rate, early_top=0.2, fused=True)


TAMIL = (
    _letters("linear", networks.linear, "tamil_linear", 0.0005),
    _letters("4096-30-156", networks.two_layers, "tamil_two_layers", 0.004),
    _letters("4096-300-50-156", networks.three_layers, "tamil_three_layers", 0.004),
)
COMPACT_CNN = Recipe(  # as in `full`; the other profiles change letters less
    "compact CNN", "07", networks.compact_cnn, "tamil_compact", "tamil_compact", 0.004, 0.05,
    RandomWarp(degrees=12, scale=0.15, shear=0.25, shift=0.05, stretch=0.4, bend=0.02),
    smoothing=0.1, early_top=0.2, fused=True,
)  # fmt: skip


def train(
    recipe: Recipe,
    dataset: Dataset,
    run: Profile,
    seed: int,
    name: str = "",
    epochs: int | None = None,
    checkpoint: Path | None = None,
) -> tuple[nn.Module, History]:
    """Train the model of `recipe`; return it and what was measured.

    `seed` is that of the initial weights, the order of the images and their changes; `run` says for
    how many epochs unless `epochs` does; `checkpoint` is a folder, as in `training.fit`.
    """
    torch.manual_seed(seed)
    layout = torch.channels_last if recipe.fast else torch.contiguous_format
    model = recipe.network().to(run.device, memory_format=layout)
    batches = _batches(recipe, dataset.train, run, recipe.batch, shuffle=True, seed=seed)
    epochs = epochs or run.epochs(recipe.epochs)
    how = {"weight_decay": recipe.decay, "fused": recipe.fused}
    optimizer = torch.optim.AdamW(model.parameters(), recipe.rate, **how)
    steps = {"batches": len(batches), "epochs": epochs, "pct_start": recipe.early_top}
    history = training.fit(
        model,
        batches,
        _batches(recipe, dataset.validation, run, 512),
        optimizer=optimizer,
        epochs=epochs,
        schedule=training.one_cycle(optimizer, recipe.rate, **steps),
        loss_function=nn.CrossEntropyLoss(label_smoothing=recipe.smoothing),
        augment=recipe.augment,
        precision=run.precision if recipe.fast else torch.float32,
        name=name or recipe.name,
        checkpoint=checkpoint,
        settings=[dataset.fingerprint, recipe.augment, recipe.centre, recipe.spread],
    )
    return model, history


def probabilities(recipe: Recipe, model: nn.Module, split: Split, run: Profile) -> torch.Tensor:
    """Return what a trained model gives for the images of `split`: float32 `[n, classes]`."""
    precision = run.precision if recipe.notebook == "07" else torch.float32  # as it does itself
    return training.predict(model, _batches(recipe, split, run, 512), precision=precision)[0]


def test(
    recipe: Recipe, model: nn.Module, history: History, dataset: Dataset, run: Profile
) -> records.Result:
    """Return a trained model's result on the test images, read this one time."""
    answers = probabilities(recipe, model, dataset.test, run)
    facts = {"recipe": f"notebook {recipe.notebook}", "band": run.band(recipe.band, dataset.source)}
    return records.test_result(model, history, dataset.test, answers, **facts)


test.__test__ = False  # pytest: a name, not a test


def resnet18(
    dataset: Dataset, run: Profile, seed: int, checkpoint: Path | None = None
) -> records.Result:
    """Train notebook 6's ResNet-18 for its one epoch from `seed`, order of images included."""
    from nbhelpers import vision  # fastai takes some seconds to import

    train = data.subset(dataset.train, run.size("resnet18_train"), run.seed)
    weights = vision.scratch(train)
    how = {"statistics": weights.statistics, "device": run.device, "seed": seed}
    dls = vision.dataloaders(replace(dataset, train=train), run.side("resnet"), 64, **how)
    folder = records.artifacts_folder(run, dataset) / "10"
    torch.manual_seed(seed)
    learn = vision.learner(dls, "resnet18", weights, folder, run.precision, checkpoint, ps=0.1)
    learn.history.name = f"ResNet-18, one epoch, seed {seed}"
    learn.fit_one_cycle(run.epochs("resnet18"), 0.003)
    answers, _ = learn.get_preds(dl=learn.dls.test_dl(dataset.test))
    facts = {"recipe": "notebook 06", "band": run.band("resnet18", dataset.source)}
    return records.test_result(learn.model, learn.history, dataset.test, answers, **facts)


def _batches(recipe: Recipe, split: Split, run: Profile, size: int, **options: int) -> data.Batches:
    scale = {"mean": recipe.centre, "std": recipe.spread}
    return data.Batches(split, size, device=run.device, **scale, **options)
