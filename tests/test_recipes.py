"""The networks and recipes must be those of the notebooks: same seed, same numbers."""

from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import nbformat
import numpy as np
import promise
import pytest
import torch
from small_models import RUN, noise
from torch import nn
from torch.nn import functional

from nbhelpers import augmentation, data, networks, profile, recipes, small_maps, sources, training

as_written = promise.notebooks(
    "Networks and recipes that are trained elsewhere are those the notebooks write out"
)


# The cells of a notebook that lead to its own model, each by words that only it holds, and the name
# of the history that they give.
CELLS = {
    "01_one_linear_layer": [
        "def linear_model(", "def batches(", "def train(", "lr=0.003)", "ours",
    ],
    "02_two_layers": [
        "def two_layers(", "def fresh(", "def train_well(", "RandomAffine(degrees=5",
        "ours = train_well(", "ours",
    ],
    "03_three_layers": [
        "def three_layers(", "def batches(", "def train(name", "RandomAffine(degrees=10",
        "our_model, ours = train(", "ours",
    ],
    "04_a_small_cnn": [
        "def small_cnn(", "def batches(", "augment = augmentation.RandomAffine(", "def train_ours(",
        "our_model, ours = train_ours(", "ours",
    ],
    "05_lenet": [
        "def lenet(", "def batches(", "augment = augmentation.RandomAffine(", "def train_ours(",
        "trained, epochs = [", "ours",
    ],
}  # fmt: skip


def cells_of(notebook):
    path = sources.project_folder() / "notebooks" / f"{notebook}.ipynb"
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def executed(notebook, marks, scope):
    """Execute the cells that hold `marks`, in a scope like the notebook's."""
    scope |= {
        "torch": torch, "nn": nn, "functional": functional, "data": data, "training": training,
        "augmentation": augmentation, "networks": networks, "partial": partial,
        "pairwise": pairwise, "reporting": SimpleNamespace(show_images=lambda *_, **__: None),
        "adamw": partial(torch.optim.AdamW, lr=0.003),  # as in 03, where a longer cell makes it
        "kept": None, "small_maps": small_maps, "alphabet": SimpleNamespace(named=str),
        "fast_on_small_maps": small_maps.fast_on_small_maps,
    }  # fmt: skip
    cells = cells_of(notebook)
    for mark in marks:
        source = next(source for source in cells if mark in source)
        exec(source.replace("print(", "str("), scope)
        if "def batches(" in source and "batches" in scope and "train_batches" not in scope:
            dataset = scope["mnist"]
            scope["train_batches"] = scope["batches"](dataset.train, shuffle=True)
            scope.setdefault("validation_batches", scope["batches"](dataset.validation))
    return scope


@as_written
@pytest.mark.parametrize("recipe", recipes.MNIST, ids=lambda recipe: recipe.name)
def test_recipes_are_those_of_the_notebooks(recipe, capsys):
    notebook = next(name for name in CELLS if name.startswith(recipe.notebook))
    digits = noise(28, 10)
    *marks, result = CELLS[notebook]
    theirs = executed(notebook, marks, {"run": RUN, "mnist": digits})[result]
    _, ours = recipes.train(recipe, digits, RUN, RUN.seed)
    assert ours.name == theirs.name
    assert ours.train_loss == theirs.train_loss
    assert ours.validation_loss == pytest.approx(theirs.validation_loss, rel=1e-5)


@as_written
def test_recipes_of_tamil_are_those_of_notebook_7(capsys):
    letters = noise(64, 156)
    marks = ["def batches(", "def linear_layers(", "ladder = {"]
    scope = executed("07_tamil_from_scratch", marks, {"run": RUN, "hpl": letters, "mnist": letters})
    for recipe in recipes.TAMIL:
        _, ours = recipes.train(recipe, letters, RUN, RUN.seed)
        assert ours.train_loss == scope["histories"][recipe.name].train_loss


@promise.training("The same seed gives the same batches, weights and numbers")
def test_another_seed_gives_another_model_and_the_same_seed_the_same(capsys):
    digits, recipe, found = noise(28, 10), recipes.MNIST[0], []
    for seed in (1, 1, 2):
        trained = recipes.train(recipe, digits, RUN, seed, name=f"seed {seed}")
        found.append(recipes.test(recipe, *trained, digits, RUN))
    first, again, other = (result.answers.confidence for result in found)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert found[2].name == "seed 2"


@as_written
def test_the_compact_cnn_is_that_of_notebook_7(monkeypatch):
    """The networks of 1 to 5 would not train as ours if they were others."""
    monkeypatch.setattr(profile.Profile, "share", lambda *_: 1.0)  # as in `full`
    marks = ["def compact_cnn(", "hands = augmentation.RandomWarp("]
    scope = executed("07_tamil_from_scratch", marks, {"run": RUN, "hpl": noise(64, 156)})
    torch.manual_seed(3)
    theirs, images = scope["compact_cnn"](), torch.rand(8, 1, 64, 64)
    ours = networks.ARCHITECTURES["compact_cnn"](len(theirs[-1].bias))
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.eval()(images), theirs.eval()(images))
    outputs = []
    for network in (ours, theirs):  # dropout too
        torch.manual_seed(4)
        outputs.append(network.train()(images))
    assert torch.equal(*outputs)
    recipe, text = recipes.COMPACT_CNN, "".join(cells_of("07_tamil_from_scratch"))
    assert scope["hands"] == recipe.augment
    assert f"label_smoothing={recipe.smoothing})" in text and f'"decay": {recipe.decay}' in text
    assert f'"compact CNN", sides, {recipe.rate}, **helps)' in text
    assert f"pct_start={recipe.early_top}" in text
