"""A LeNet trained in seconds, its files, and pictures to read, for tests that need real ones."""

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
from nbhelpers import data, networks, profile, records, training

RUN = profile.Profile("smoke", torch.device("cpu"), 0)
LENET = {"form": "mnist", "architecture": "lenet", "side": 28, "mean": 0.5, "std": 0.5}
WEIGHTS, GRAPH = "lenet.safetensors", "lenet.onnx"


def noise(side, classes, images=300):
    """A data set of noise, to be learned by heart."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (images, side, side), generator=generator, dtype=torch.uint8)
    labels = torch.arange(images) % classes
    split = data.Split(pixels, labels, tuple(map(str, range(classes))))
    return data.Dataset("noise", "full", split, split[:50], split[50:90])


@functools.cache
def digits():
    """The embedded sample, as the profile `quick` has it."""
    return data.digits_sample(profile.Profile("quick", torch.device("cpu"), 0))


@functools.cache
def trained():
    """A LeNet trained on the embedded sample, channels last and in training mode."""
    with contextlib.redirect_stdout(io.StringIO()):
        sample = digits()
        train, held, test = (
            data.Batches(part, 64, shuffle=part is sample.train, mean=0.5, std=0.5)
            for part in (sample.train, sample.validation, sample.test)
        )
        torch.manual_seed(0)
        model = networks.lenet().to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), 0.002)
        name = "LeNet on the sample"
        history = training.fit(model, train, held, optimizer=optimizer, epochs=4, name=name)
        probabilities, _ = training.predict(model, test)
        result = records.test_result(
            model, history, sample.test, probabilities, recipe="R0", band=(0, 1)
        )
    return model.train(), sample, result


@functools.cache
def saved():
    """The folder with its files, the card, and everything that was printed meanwhile."""
    model, sample, result = trained()
    folder = tempfile.TemporaryDirectory()  # removed when the process ends
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        card = saving.card("lenet", RUN, sample, result, **LENET)
        card = saving.save(model, card, sample, Path(folder.name) / "new")
    saved.folder = folder
    return Path(folder.name) / "new", card, printed.getvalue() + "".join(map(str, warned))


def publish():
    """Publish it; return the card and what was printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        card = saving.publish("lenet", saved()[0], trained()[1].validation)
    return card, printed.getvalue()


def pytorch_answers(images, temperature, model=None):
    """What PyTorch answers to images uint8 `[n, 28, 28]`: float32 `[n, 10]`."""
    model = copy.deepcopy(model or trained()[0]).eval()
    with torch.inference_mode():
        logits = model((images[:, None].float() / 255 - 0.5) / 0.5)
    return (logits / temperature).softmax(1)


def change_card(folder, **changes):
    """Change the card in both files of the small LeNet in `folder`; nothing is strange to it."""
    changes = {"strangest": 1.0} | changes
    graph = onnx.load(folder / GRAPH)
    card = json.dumps(json.loads(graph.metadata_props[0].value) | changes)
    graph.metadata_props[0].value = card
    onnx.save(graph, folder / GRAPH)
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, {"card": card})
    return folder


def picture_of(image, paper=255):
    """A drawing of an image uint8 [28, 28] on a large sheet, ink dark."""
    sheet = np.full((300, 400), paper, np.uint8)
    large = Image.fromarray(image.numpy()).resize((196, 196), Image.Resampling.BICUBIC)
    sheet[60:256, 100:296] = np.clip(paper - np.asarray(large, np.int16), 0, 255)
    return Image.fromarray(sheet)
