"""Models trained in seconds, and pictures to read, for tests that need real ones."""

import contextlib
import copy
import functools
import io
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from handwriting import saving
from nbhelpers import data, networks, profile, reporting, training

RUN = profile.Profile("smoke", torch.device("cpu"), 0)
LENET = {"form": "mnist", "architecture": "lenet", "side": 28, "mean": 0.5, "std": 0.5}
WEIGHTS, GRAPH = "lenet.safetensors", "lenet.onnx"


def lenet(run, folder, images=6_000, epochs=3):
    """Train LeNet on a part of MNIST, or on the sample where that is what there is; save it.

    Returns the data set; the model has not learned from its validation images.
    """
    dataset = data.mnist(run)
    train = dataset.train[:images]
    passes = epochs if len(train) > 3_000 else 4 * epochs
    _train_and_save("lenet", run, dataset, train, passes, folder, "mnist", 0.1307, 0.3081)
    return dataset


def compact_cnn(run, folder, dataset):
    """Train the compact CNN on a part of the letters of `dataset`; save it."""
    _train_and_save(
        "compact_cnn", run, dataset, dataset.train[:4_000], 3, folder, "tamil", 0.1, 0.3
    )


def _train_and_save(name, run, dataset, train, epochs, folder, form, mean, std):
    model, result = _trained(name, dataset, train, dataset.validation[:1_000], epochs, mean, std)
    how = {"architecture": name, "side": train.images.shape[-1], "mean": mean, "std": std}
    card = saving.card(name, run, dataset, result, form, **how)
    saving.save(model, card, dataset, folder)


def _trained(name, dataset, train, judges, epochs, mean, std, title=None):
    torch.manual_seed(0)
    model = networks.ARCHITECTURES[name](len(dataset.classes))
    batches = data.Batches(train, 64, shuffle=True, mean=mean, std=std)
    held = data.Batches(judges, 500, mean=mean, std=std)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = training.one_cycle(optimizer, 2e-3, len(batches), epochs)
    history = training.fit(
        model, batches, held, optimizer=optimizer, schedule=schedule, epochs=epochs,
        name=title or name,
    )  # fmt: skip
    probabilities, _ = training.predict(model, held)
    return model, reporting.test_result(
        model, history, judges, probabilities, recipe="", band=(0.0, 1.0)
    )


@functools.cache
def trained():
    """A LeNet trained on the embedded sample, channels last and in training mode."""
    with contextlib.redirect_stdout(io.StringIO()):
        digits = data.digits_sample(profile.Profile("quick", torch.device("cpu"), 0))
        model, result = _trained(
            "lenet", digits, digits.train, digits.test, 8, 0.5, 0.5, "LeNet on the sample"
        )
    return model.to(memory_format=torch.channels_last).train(), digits, result


@functools.cache
def saved():
    """The folder with its files, the card, and everything that was printed meanwhile."""
    model, digits, result = trained()
    folder = tempfile.TemporaryDirectory()  # removed when the process ends
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        card = saving.card("lenet", RUN, digits, result, **LENET)
        card = saving.save(model, card, digits, Path(folder.name) / "new")
    saved.folder = folder
    return Path(folder.name) / "new", card, printed.getvalue() + "".join(map(str, warned))


def expected_probabilities(images, temperature):
    """What PyTorch answers to images uint8 `[n, 28, 28]`: float32 `[n, 10]`."""
    model = copy.deepcopy(trained()[0]).eval()
    with torch.inference_mode():
        logits = model((images[:, None].float() / 255 - 0.5) / 0.5)
    return (logits / temperature).softmax(1)


def change_card(folder, **changes):
    """Change the card in both files of the small LeNet in `folder`."""
    graph = onnx.load(folder / GRAPH)
    card = json.dumps(json.loads(graph.metadata_props[0].value) | changes)
    graph.metadata_props[0].value = card
    onnx.save(graph, folder / GRAPH)
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, {"card": card})


def picture_of(image, paper=255):
    """A drawing of an image uint8 [28, 28] on a large sheet, ink dark."""
    sheet = np.full((300, 400), paper, np.uint8)
    large = Image.fromarray(image.numpy()).resize((196, 196), Image.Resampling.BICUBIC)
    sheet[60:256, 100:296] = np.clip(paper - np.asarray(large, np.int16), 0, 255)
    return Image.fromarray(sheet)
