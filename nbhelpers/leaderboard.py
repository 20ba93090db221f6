"""What notebook 10 compares: the recorded models, and the recipes of the small ones by name.

Notebooks 1 to 5 and 7 choose these settings, on validation images, and explain them. Here they
stand once more, so that the same models can be trained with other seeds and with fewer labels. A
recipe trained with the seed of the notebooks gives the notebooks' model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from nbhelpers import data, networks, records, training
from nbhelpers.augmentation import RandomAffine
from nbhelpers.data import Dataset, Split
from nbhelpers.profile import Profile
from nbhelpers.training import History


@dataclass(frozen=True)
class Recipe:
    """How a notebook trains one of its small models: AdamW with a one-cycle schedule.

    Attributes:
        name: what the records call the model.
        notebook: whose model it is.
        network: builds it, untrained.
        epochs: the entry of the profile that says how many.
        rate: the highest learning rate.
        band: the entry of the profile with the band of its test accuracy.
        decay: the weight decay.
        augment: how training images are changed, if at all.
        centre: subtracted from pixels in 0 to 1.
        spread: what pixels are divided by after that.
        fast: whether it trains in the profile's fastest number format, in channels-last layout.
        early_top: where in the schedule the rate is highest, as a share of the steps.
        fused: whether the optimizer updates all weights in one go; its last digits differ.
    """

    name: str
    notebook: str
    network: Callable[[], nn.Module]
    epochs: str
    rate: float
    band: str
    decay: float = 0.01
    augment: Callable[[torch.Tensor], torch.Tensor] | None = None
    centre: float = 0.0
    spread: float = 1.0
    fast: bool = True
    early_top: float = 0.3
    fused: bool = False


_SLIGHTLY = RandomAffine(degrees=7, scale=0.07, shear=0.1, shift=0.04)

MNIST = (
    Recipe(
        "linear, AdamW one-cycle", "01", networks.linear, "linear", 0.003, "linear", fast=False
    ),
    Recipe(
        "784-30-10, AdamW one-cycle", "02", networks.two_layers, "two_layers", 0.01, "two_layers",
        0.1, RandomAffine(degrees=5, scale=0.05, shift=0.02), fast=False,
    ),
    Recipe(
        "784-300-50-10, AdamW one-cycle", "03", networks.three_layers, "three_layers", 0.003,
        "three_layers", augment=RandomAffine(degrees=10, scale=0.1, shift=1.5 / 28),
    ),
    Recipe(
        "small CNN, AdamW one-cycle", "04", networks.small_cnn, "small_cnn", 0.003, "small_cnn",
        augment=_SLIGHTLY,
    ),
    Recipe(
        "LeNet, AdamW one-cycle", "05", networks.lenet, "lenet", 0.004, "lenet",
        augment=_SLIGHTLY, centre=0.5, spread=0.5,
    ),
)  # fmt: skip

_LETTERS = {"classes": 156, "side": 64}
TAMIL = (
    Recipe(
        "linear", "07", partial(networks.linear, **_LETTERS), "tamil_ladder", 0.0005,
        "tamil_linear", early_top=0.2, fused=True,
    ),
    Recipe(
        "4096-30-156", "07", partial(networks.two_layers, **_LETTERS), "tamil_ladder", 0.004,
        "tamil_two_layers", early_top=0.2, fused=True,
    ),
    Recipe(
        "4096-300-50-156", "07", partial(networks.three_layers, **_LETTERS), "tamil_ladder", 0.004,
        "tamil_three_layers", early_top=0.2, fused=True,
    ),
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
    """Train the model of `recipe` from `seed`.

    Args:
        recipe: one of `MNIST` or `TAMIL`.
        dataset: images of the size that the recipe's network takes.
        run: says where, and for how many epochs.
        seed: of the initial weights, the order of the images and their changes.
        name: what figures and tables call the model; the recipe's if empty.
        epochs: how many, instead of the profile's.
        checkpoint: the folder of checkpoints, as in `training.fit`.

    Returns:
        the trained model, on the run's device, and what was measured.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    torch.manual_seed(seed)
    layout = torch.channels_last if recipe.fast else torch.contiguous_format
    model = recipe.network().to(run.device, memory_format=layout)
    batches = _batches(recipe, dataset.train, run, 256, shuffle=True, seed=seed)
    epochs = epochs or run.epochs(recipe.epochs)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.rate, weight_decay=recipe.decay, fused=recipe.fused
    )
    history = training.fit(
        model,
        batches,
        _batches(recipe, dataset.validation, run, 512),
        optimizer=optimizer,
        epochs=epochs,
        schedule=training.one_cycle(
            optimizer, recipe.rate, len(batches), epochs, pct_start=recipe.early_top
        ),
        augment=recipe.augment,
        precision=_precision(recipe, run),
        name=name or recipe.name,
        checkpoint=checkpoint,
    )
    return model, history


def probabilities(recipe: Recipe, model: nn.Module, split: Split, run: Profile) -> torch.Tensor:
    """Return what a trained model gives for the images of `split`: float32 `[n, classes]`."""
    batches = _batches(recipe, split, run, 512)
    return training.predict(model, batches, precision=_precision(recipe, run))[0]


def test(
    recipe: Recipe, model: nn.Module, history: History, dataset: Dataset, run: Profile
) -> records.Result:
    """Return a trained model's result on the test images, read this one time."""
    return records.test_result(
        model,
        history,
        dataset.test,
        probabilities(recipe, model, dataset.test, run),
        recipe=f"notebook {recipe.notebook}",
        band=run.band(recipe.band, dataset.source),
    )


test.__test__ = False  # pytest: a name, not a test


def resnet18(
    dataset: Dataset, run: Profile, seed: int, checkpoint: Path | None = None
) -> records.Result:
    """Train notebook 6's ResNet-18 for its one epoch from `seed`, and test it.

    The order of the images follows `seed`, too; notebook 6 itself leaves that at 0.
    """
    from nbhelpers import vision  # fastai takes some seconds to import

    train = data.subset(dataset.train, run.size("resnet18_train"), run.seed)
    weights = vision.scratch(train)
    dls = vision.dataloaders(
        replace(dataset, train=train), run.size("resnet_side"), 64,
        statistics=weights.statistics, device=run.device, seed=seed,
    )  # fmt: skip
    folder = records.artifacts_folder(run, dataset) / "10"
    torch.manual_seed(seed)
    learn = vision.learner(dls, "resnet18", weights, folder, run.precision, checkpoint, ps=0.1)
    history = learn.history
    history.name = f"ResNet-18, one epoch, seed {seed}"
    learn.fit_one_cycle(run.epochs("resnet18"), 0.003)
    probabilities, _ = learn.get_preds(dl=learn.dls.test_dl(dataset.test))
    band = run.band("resnet18", dataset.source)
    return records.test_result(
        learn.model, history, dataset.test, probabilities, recipe="notebook 06", band=band
    )


def _batches(recipe: Recipe, split: Split, run: Profile, size: int, **options: int) -> data.Batches:
    scale = {"mean": recipe.centre, "std": recipe.spread}
    return data.Batches(split, size, device=run.device, **scale, **options)


def _precision(recipe: Recipe, run: Profile) -> torch.dtype:
    return run.precision if recipe.fast else torch.float32


def recorded(run: Profile, dataset: Dataset) -> list[records.Result]:
    """Return all models that notebooks have recorded under this profile and on this data.

    They come in the order of the notebooks. The list is empty where none has been run. Notebook 10,
    which asks for them, and 11 are left out, so that they change nothing when run again.
    """
    paths = sorted(records.records_folder(run, dataset).glob("0[0-9]_*.json"))
    return [r for path in paths for r in records.recorded(run, dataset, path.stem)]
