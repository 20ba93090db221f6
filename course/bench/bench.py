"""The published way of training beside ours, in one run on this machine; part of `make bench`.

Each recipe trains as it was published and through `nbhelpers`, until the accuracy on the MNIST test
images first reaches the mark. The published ways: R3 turns images into tensors one by one, by PIL
transforms in a `DataLoader`; R1 draws items of one tensor through a `DataLoader`; both in float32
with their own optimizer. On Tamil the network of notebook 07 is trained to the accuracy that was
published for the official split, and R5's ResNet-34 as `r5.py` describes it; that is given up after
`STOP` seconds. What is told then are the seconds of one epoch at that speed, a lower bound: by its
own report R5 needs several epochs, with ImageNet's weights and an easier split. The test images
only stop the clock here: nothing is chosen on them, and no result of the notebooks comes from here.

Each published way has a process of its own, in which PyTorch and the C library are as they come;
ours begins, as a notebook does, with `profile.current()`. LeNet trains once more both ways while
another process keeps a core busy, as a browser or a backup would. For the Tamil network the way
that was ours before (`LARGE`) stands beside the present one.

With `ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2` a larger processor computes as an ordinary
one does; each kind has a record of its own.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import r5
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from nbhelpers import augmentation, data, networks, profile, records, small_maps, tamil, training
from nbhelpers.sources import project_folder


@dataclass(frozen=True)
class Contest:
    """One network, trained both ways to the same accuracy on the test images.

    Attributes:
        name: what the table calls it.
        make: builds the network.
        mark: the accuracy at which the clock stops.
        mean: what pixels in 0 to 1 are reduced by; `std`: what they are then divided by.
        items: the recipe's data set of a split.
        published_batch: images a batch in the recipe; `published_optimizer`: its optimizer.
        published_epochs: when to give the published way up.
        ours_rate: highest learning rate of our one-cycle schedule; `ours_epochs`: its length.
        augment: how our training images are changed, if at all.
    """

    name: str
    make: Callable[[], nn.Module]
    mark: float
    mean: float
    std: float
    items: Callable[[data.Split], TorchDataset]
    published_batch: int
    published_optimizer: Callable[..., torch.optim.Optimizer]
    published_epochs: int
    ours_rate: float
    ours_epochs: int
    augment: Callable[[torch.Tensor], torch.Tensor] | None = None


class PictureByPicture(TorchDataset):
    """Images as R3 loads them: each becomes a PIL picture, then a tensor in −1 to 1, every time."""

    def __init__(self, split: data.Split) -> None:
        """Keep the images and build the transforms."""
        self.images, self.labels = split.images.numpy(), split.labels.tolist()
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        """Return a float32 `[1, 28, 28]` tensor and its label."""
        return self.transform(Image.fromarray(self.images[row])), self.labels[row]


def one_tensor(split: data.Split) -> TorchDataset:
    """Return images as R1 loads them: float32 `[784]` in 0 to 1, divided once."""
    return TensorDataset(split.images.flatten(1) / 255, split.labels)


TAMIL_MARK = 0.907  # published for the official test split
SMALL = [24, 32]  # sides of the letters in our epochs
LARGE = [64, 64]  # what they were before
STOP = 120  # seconds, when R5 is given up
CONTESTS = [
    Contest(
        "LeNet (R3)", networks.lenet, 0.990, 0.5, 0.5,
        PictureByPicture, 512, partial(torch.optim.Adam, lr=0.001), 12, 0.006, 2,
    ),
    Contest(
        "784-300-50-10 (R1)", networks.three_layers, 0.971, 0.0, 1.0,
        one_tensor, 256, partial(torch.optim.SGD, lr=0.01), 400, 0.004, 5,
    ),
]  # fmt: skip


def published_way(contest: Contest, learn: data.Split, test: data.Split) -> dict[str, float]:
    """Train as the recipe does; return seconds an epoch, seconds to the mark, and accuracy."""
    torch.manual_seed(42)
    model = contest.make()
    optimizer = contest.published_optimizer(model.parameters())
    loader = DataLoader(contest.items(learn), contest.published_batch, shuffle=True)
    quick_test = data.Batches(test, 1000, mean=contest.mean, std=contest.std)
    seconds, epochs, accuracy = 0.0, 0, 0.0
    while accuracy < contest.mark and epochs < contest.published_epochs:
        started = time.perf_counter()
        model.train()
        for inputs, labels in loader:
            loss = functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds += time.perf_counter() - started
        epochs += 1
        accuracy = training.evaluate(model, quick_test).accuracy
    return _outcome(contest.mark, seconds, epochs, accuracy)


def our_way(
    contest: Contest, learn: data.Split, test: data.Split, run: profile.Profile
) -> dict[str, float]:
    """Train through nbhelpers; return the same."""
    torch.manual_seed(42)
    model = contest.make().to(run.device, memory_format=torch.channels_last)
    scale = {"mean": contest.mean, "std": contest.std, "device": run.device}
    train = data.Batches(learn, 256, shuffle=True, seed=42, **scale)
    optimizer = torch.optim.AdamW(model.parameters(), lr=contest.ours_rate, fused=True)
    history = training.fit(
        model,
        train,
        data.Batches(test, 1000, **scale),  # watched only to stop the clock
        optimizer=optimizer,
        schedule=training.one_cycle(optimizer, contest.ours_rate, len(train), contest.ours_epochs),
        epochs=contest.ours_epochs,
        augment=contest.augment,
        precision=run.precision,
    )
    reached = [i for i, a in enumerate(history.validation_accuracy) if a >= contest.mark]
    last = reached[0] if reached else history.epochs - 1
    accuracy = history.validation_accuracy[last]
    return _outcome(contest.mark, history.seconds[last], last + 1, accuracy)


def our_tamil(
    hpl: data.Dataset, run: profile.Profile, sides: list[int], batch_size: int
) -> dict[str, float]:
    """Train notebook 07's network for an epoch at each of `sides`; return what `our_way` returns.

    Its accuracy counts only with the statistics of unchanged images, so it is read once, at the
    end; taking them, and making the images small, is part of the seconds.
    """
    started = time.perf_counter()
    torch.manual_seed(42)
    model = networks.compact_cnn().to(run.device, memory_format=torch.channels_last)
    small_maps.fast_on_small_maps(model)
    how = {"sides": sides, "device": run.device}
    train = data.Batches(hpl.train, batch_size, shuffle=True, seed=42, **how)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.006, weight_decay=0.05, fused=True)
    history = training.fit(
        model,
        train,
        data.Batches(hpl.validation[:1000], 1000, **how),
        optimizer=optimizer,
        schedule=training.one_cycle(optimizer, 0.006, len(train), len(sides), pct_start=0.2),
        epochs=len(sides),
        loss_function=nn.CrossEntropyLoss(label_smoothing=0.1),
        augment=augmentation.RandomWarp(8, 0.1, 0.15, 0.04, stretch=0.2, bend=0.01),
        precision=run.precision,
    )
    some = torch.randperm(len(hpl.train), generator=torch.Generator().manual_seed(42))[:8192]
    how["sides"] = sides[-1:]
    update_bn(data.Batches(hpl.train[some], 256, **how), model)
    seconds = time.perf_counter() - started
    score = training.evaluate(model, data.Batches(hpl.test, 1000, **how))
    return _outcome(TAMIL_MARK, seconds, history.epochs, score.accuracy)


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Keep one core busy while the block runs."""
    process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        pass


def apart(way: Callable[..., dict], *arguments: Any) -> dict:
    """Return what `way` returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(way, *arguments).result()


def _outcome(mark: float, seconds: float, epochs: int, accuracy: float) -> dict[str, float]:
    return {
        "seconds_an_epoch": seconds / epochs,
        "epochs": epochs,
        "seconds": seconds,
        "accuracy": accuracy,
        "reached": accuracy >= mark,
    }


def _print_row(name: str, way: str, mark: float, got: dict[str, float]) -> None:
    print(
        f"{name:<20}{way:<12}{got['seconds_an_epoch']:>8.2f}{got['epochs']:>8.3g}"
        f"{got['seconds']:>9.1f}{got['accuracy']:>10.4f}"
        + ("" if got["reached"] else f"  (did not reach {mark})")
    )


def write(report: dict, name: str, run: profile.Profile) -> None:
    """Write a report to results/, unless the run is a mere trial."""
    if os.environ.get("NB_PROFILE", run.name) != "smoke":
        place = f"bench-{'cpu' if run.device.type == 'cpu' else 'gpu'}"
        path = project_folder() / "results" / place / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"written to {path.relative_to(project_folder())}")


def _both(
    contest: Contest, mnist: data.Dataset, run: profile.Profile, name: str = ""
) -> dict[str, Any]:
    """Train both ways, print a row each, and return what is recorded of them."""
    ways = {
        "ours": apart(our_way, contest, mnist.train, mnist.test, run),
        "published": apart(published_way, contest, mnist.train, mnist.test),
    }
    for way, got in ways.items():
        _print_row(name or contest.name, way, contest.mark, got)
    ratio = ways["published"]["seconds"] / ways["ours"]["seconds"]
    print(f"{name or contest.name:<20}to {contest.mark}: {ratio:.1f} times faster\n")
    return {"mark": contest.mark, "speed_up": ratio, **ways}


def main() -> None:
    """Run every contest, print a table and write it to results/."""
    run = profile.current()
    # Published recipes train on all 60,000 images that are not test images, or on most of them;
    # both ways get our 48,000 here, so that only the way differs.
    mnist, hpl = data.mnist(run), tamil.tamil(run, proportions="adapted")
    if "sample" in (mnist.source, hpl.source):
        raise SystemExit("The benchmark needs the real data: `make data` fetches it.")
    print(f"{'':<20}{'way':<12}{'s/epoch':>8}{'epochs':>8}{'seconds':>9}{'accuracy':>10}")
    numbers = str(run.precision).removeprefix("torch.")
    kind = {"numbers": numbers, "instructions": torch.backends.cpu.get_cpu_capability()}
    report = {"environment": records.environment(run) | kind, "contests": {}}
    for contest in CONTESTS:
        report["contests"][contest.name] = _both(contest, mnist, run)
    with busy():
        name = f"{CONTESTS[0].name}, one busy process beside"
        report["contests"][name] = _both(CONTESTS[0], mnist, run, name)
    name, ours = "compact CNN (Tamil)", our_tamil(hpl, run, SMALL, 128)
    before = our_tamil(hpl, run, LARGE, 256)
    held_out = set(hpl.validation.writers.tolist())
    published = apart(r5.published_way, held_out, TAMIL_MARK, STOP, run)
    if not published["reached"]:  # it needs more than one epoch, by its own report
        published["seconds"] = published["seconds_an_epoch"]
    for way, got in (("ours", ours), ("before", before), ("published", published)):
        _print_row(name, way, TAMIL_MARK, got)
    ratio, at_least = published["seconds"] / ours["seconds"], not published["reached"]
    print(f"{name:<20}to {TAMIL_MARK}: {'at least ' * at_least}{ratio:.1f} times faster")
    print(f"{'':<20}{before['seconds'] / ours['seconds']:.1f} times faster than before\n")
    report["contests"][name] = {
        "mark": TAMIL_MARK, "speed_up": ratio, "at_least": at_least,
        "ours": ours, "before": before,
        "published": {"network": "ResNet-34 (R5, Tamil)", **published},
    }  # fmt: skip
    write(report, f"training-{numbers}", run)


if __name__ == "__main__":
    main()
