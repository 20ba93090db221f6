import promise
import pytest
import torch
from torch import nn

from nbhelpers.data import Batches, Split
from nbhelpers.training import evaluate, fit, one_cycle, predict


@pytest.fixture
def split():
    """Two easy classes: ink in the left half or in the right."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (250,), generator=generator)
    images = torch.randint(0, 120, (250, 6, 6), generator=generator, dtype=torch.uint8)
    images[labels == 0, :, :3] += 130
    images[labels == 1, :, 3:] += 130
    return Split(images, labels, ("left", "right"))


def new_model(dropout=0.0):
    torch.manual_seed(1)
    layers = [nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(dropout), nn.Linear(36, 2)]
    return nn.Sequential(*layers)


def run(split, epochs, model=None, sides=(), **options):
    model = model or new_model(0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    train = Batches(split, 64, shuffle=True, seed=3, sides=sides)
    schedule = one_cycle(optimizer, 0.05, len(train), 6)
    return model, fit(
        model, train, Batches(split, 64, sides=sides), optimizer=optimizer, schedule=schedule,
        epochs=epochs, **options,
    )  # fmt: skip


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_learns(split, precision):
    _, history = run(split, 6, precision=precision)
    assert history.epochs == 6
    assert history.validation_accuracy[-1] > 0.99
    assert history.train_loss[-1] < history.train_loss[0]
    assert history.seconds == sorted(history.seconds)


@promise.training("An interrupted training goes on from its checkpoint with the same numbers")
def test_resumed_training_gives_the_same_numbers(split, tmp_path):
    """Killed in the middle of the fourth epoch, then called again; small images come first."""
    sides, seen = [3, 3, 6, 6, 12], []
    whole, history = run(split, 6, sides=sides)

    def dies(inputs):
        seen.append(inputs.shape[-1])
        if len(seen) == 3 * 4 + 2:
            raise KeyboardInterrupt
        return inputs

    how = {"sides": sides, "augment": dies, "checkpoint": tmp_path / "deep/checkpoints"}
    with pytest.raises(KeyboardInterrupt):
        run(split, 6, **how)
    assert len(list(how["checkpoint"].iterdir())) == 1
    resumed, resumed_history = run(split, 6, **how)
    assert seen == [3] * 8 + [6] * 6 + [6] * 4 + [12] * 8, "three epochs were not trained again"
    assert resumed_history.train_loss == history.train_loss
    assert resumed_history.validation_loss == history.validation_loss
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_no_number_is_told(split):
    model = new_model()
    nn.init.constant_(model[-1].weight, float("nan"))
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        run(split, 1, model=model)


@promise.training("Accuracy is measured with dropout off, and each image counts once")
def test_evaluation_counts_images_not_batches(split):
    model = new_model()  # which says 0, whatever it sees
    nn.init.zeros_(model[-1].weight)
    model[-1].bias.data = torch.tensor([1.0, 0.0])
    score = evaluate(model, Batches(split, 240))  # batches of 240 and 10
    assert score.correct == (split.labels == 0).sum()
    assert score.images == 250
    assert score.accuracy == score.correct / 250
    expected = nn.functional.cross_entropy(torch.tensor([[1.0, 0.0]]).repeat(250, 1), split.labels)
    assert score.loss == pytest.approx(expected.item())


@promise.training("Accuracy is measured with dropout off, and each image counts once")
def test_evaluation_switches_dropout_off_and_training_on_again(split):
    model, _ = run(split, 1, model=new_model(0.5))
    batches = Batches(split, 64)
    assert evaluate(model, batches) == evaluate(model, batches)
    assert not model.training


def test_probabilities(split):
    model, _ = run(split, 1)
    probabilities, labels = predict(model, Batches(split, 64))
    assert probabilities.shape == (250, 2) and probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(1), torch.ones(250))
    assert torch.equal(labels, split.labels)
    rough, _ = predict(model, Batches(split, 64), precision=torch.bfloat16)
    assert rough.dtype == torch.float32
    assert torch.allclose(rough, probabilities, atol=0.02) and not torch.equal(rough, probabilities)
