"""Models trained in seconds, for tests that need a real one to read with."""

import torch

from handwriting import models
from nbhelpers import data, networks, records, training


def lenet(run, folder, images=6_000, epochs=3):
    """Train LeNet on a part of MNIST, or on the sample where that is what there is; save it.

    Returns the data set; the model has not learned from its validation images.
    """
    dataset = data.mnist(run)
    train = dataset.train[:images]
    passes = epochs if len(train) > 3_000 else 4 * epochs
    scale = {"mean": 0.1307, "std": 0.3081}
    _save("lenet", "LeNet", run, dataset, train, passes, folder, "mnist", scale)
    return dataset


def compact_cnn(run, folder, dataset):
    """Train the compact CNN on a part of the letters of `dataset`; save it."""
    train, scale = dataset.train[:4_000], {"mean": 0.1, "std": 0.3}
    _save("compact_cnn", "compact CNN", run, dataset, train, 3, folder, "tamil", scale)


def _save(name, title, run, dataset, train, epochs, folder, form, scale):
    torch.manual_seed(0)
    model = networks.ARCHITECTURES[name](len(dataset.classes))
    judges = dataset.validation[:1_000]
    batches = data.Batches(train, 64, shuffle=True, seed=0, **scale)
    held = data.Batches(judges, 500, **scale)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = training.one_cycle(optimizer, 2e-3, len(batches), epochs)
    history = training.fit(
        model, batches, held, optimizer=optimizer, schedule=schedule, epochs=epochs, name=title
    )
    probabilities, _ = training.predict(model, held)
    result = records.test_result(model, history, judges, probabilities, recipe="", band=(0.0, 1.0))
    how = {"form": form, "architecture": name, "side": train.images.shape[-1], **scale}
    models.save(model, name, run, dataset, result, folder=folder, **how)
