"""A LeNet trained in seconds, for tests that need a real model to read with."""

import torch

from nbhelpers import data, models, networks, reporting, training


def save(run, folder, images=6_000, epochs=3):
    """Train LeNet on a part of MNIST, or on the sample where that is what there is; save it.

    Returns the data set; the model has not learned from its validation images.
    """
    dataset = data.mnist(run)
    train = dataset.train[:images]
    passes = epochs if len(train) > 3_000 else 4 * epochs
    torch.manual_seed(0)
    model = networks.lenet()
    batches = data.Batches(train, 64, shuffle=True, seed=0, mean=0.1307, std=0.3081)
    held = data.Batches(dataset.validation[:1_000], 500, mean=0.1307, std=0.3081)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = training.one_cycle(optimizer, 2e-3, len(batches), passes)
    history = training.fit(
        model, batches, held, optimizer=optimizer, schedule=schedule, epochs=passes, name="LeNet"
    )
    probabilities, _ = training.predict(model, held)
    result = reporting.test_result(
        model, history, dataset.validation[:1_000], probabilities, recipe="", band=(0.0, 1.0)
    )
    models.save(
        model, "lenet", run, dataset, result,
        form="mnist", architecture="lenet", side=28, mean=0.1307, std=0.3081, folder=folder,
    )  # fmt: skip
    return dataset
