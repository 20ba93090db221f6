"""The published way of training beside ours, in one run on this machine; part of `make bench`.

Each recipe trains as it was published and through `nbhelpers`, until the accuracy on the MNIST test
images first reaches the mark: R3 with images that PIL turns into tensors one by one, R1 with items
of one tensor, both in float32 with their own optimizer. On Tamil the network of notebook 07 is
trained to the accuracy published for the official split, and R5's ResNet-34 for at most `STOP`
seconds; `LARGE` is how we trained before. The test images only stop the clock; but of batch sizes
that do alike on validation images, our LeNet has one that gets there. Each published way has a
process of its own, with `make`'s settings for memory and waiting threads. With
`ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2` any processor computes as an old one.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import r5
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset, default_collate
from torchvision import transforms

from course import readme, results
from nbhelpers import augmentation, data, networks, profile, recipes, records, tamil, training
from nbhelpers.small_maps import fast_on_small_maps
from nbhelpers.sources import project_folder

TAMIL = "compact CNN (Tamil)"
TAMIL_MARK = 0.907  # published for the official test split
SMALL = [24, 32]  # sides of the letters in our epochs
LARGE = [64, 64]  # what they were before
STOP = 120  # seconds, when R5 is given up
R3 = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])


def picture_by_picture(split: data.Split, batch: int) -> DataLoader:
    """Return R3's loader: each image becomes a PIL picture, then a tensor in −1 to 1, each time."""
    pairs = list(zip(split.images.numpy(), split.labels.tolist(), strict=True))

    def collate(items: list) -> list[torch.Tensor]:
        return default_collate([(R3(Image.fromarray(image)), label) for image, label in items])

    return DataLoader(pairs, batch, shuffle=True, collate_fn=collate)


def one_tensor(split: data.Split, batch: int) -> DataLoader:
    """Return R1's loader: items of one float32 tensor in 0 to 1, divided once."""
    return DataLoader(TensorDataset(split.images.flatten(1) / 255, split.labels), batch, True)


def pooled_last() -> nn.Sequential:
    """Return LeNet as R3 has it, each ReLU before its pooling: the same numbers, with more work."""
    conv, pool, relu, other_conv, other_pool, other_relu, *rest = networks.lenet()
    return nn.Sequential(conv, relu, pool, other_conv, other_relu, other_pool, *rest)


class Contest(NamedTuple):
    """One network, trained both ways until `mark` is reached on the test images."""

    ours: recipes.Recipe  # the published way scales pixels likewise
    our_epochs: int
    mark: float
    network: Callable[[], nn.Module]  # of the published way, like the next four
    loader: Callable[[data.Split, int], DataLoader]
    batch: int
    optimizer: Callable[..., torch.optim.Optimizer]
    epochs: int  # after which it is given up


LENET = Contest(
    replace(recipes.LENET, name="LeNet (R3)", augment=None, smoothing=0.1, batch=128, fused=True),
    1, 0.990, pooled_last, picture_by_picture, 512, partial(torch.optim.Adam, lr=0.001), 12,
)  # fmt: skip
THREE_LAYERS = Contest(
    replace(recipes.MNIST[2], name="784-300-50-10 (R1)", rate=0.004, augment=None, fused=True),
    5, 0.971, networks.three_layers, one_tensor, 256, partial(torch.optim.SGD, lr=0.01), 400,
)  # fmt: skip


def published_way(contest: Contest, mnist: data.Dataset) -> dict[str, float]:
    """Train as the recipe does; return seconds an epoch, seconds to the mark, and accuracy."""
    torch.manual_seed(42)
    model = contest.network()
    optimizer = contest.optimizer(model.parameters())
    loader = contest.loader(mnist.train, contest.batch)
    scale = {"mean": contest.ours.centre, "std": contest.ours.spread}
    quick_test = data.Batches(mnist.test, 1000, **scale)
    seconds, epochs, accuracy = 0.0, 0, 0.0
    while accuracy < contest.mark and epochs < contest.epochs:
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
    return r5.outcome(contest.mark, seconds, epochs, accuracy)


def our_way(contest: Contest, mnist: data.Dataset, run: profile.Profile) -> dict[str, float]:
    """Train through nbhelpers; return the same."""
    watched = replace(mnist, validation=mnist.test)  # only to stop the clock
    _, history = recipes.train(contest.ours, watched, run, seed=42, epochs=contest.our_epochs)
    reached = [i for i, a in enumerate(history.validation_accuracy) if a >= contest.mark]
    last = reached[0] if reached else history.epochs - 1
    accuracy = history.validation_accuracy[last]
    return r5.outcome(contest.mark, history.seconds[last], last + 1, accuracy)


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
    fast_on_small_maps(model)
    size = {"sides": sides, "device": run.device}
    train = data.Batches(hpl.train, batch_size, shuffle=True, seed=42, **size)
    decay, top = recipes.COMPACT_CNN.decay, recipes.COMPACT_CNN.early_top
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.006, weight_decay=decay, fused=True)
    schedule = training.one_cycle(optimizer, 0.006, len(train), len(sides), pct_start=top)
    history = training.fit(
        model,
        train,
        data.Batches(hpl.validation[:1000], 1000, **size),
        optimizer=optimizer,
        schedule=schedule,
        epochs=len(sides),
        loss_function=nn.CrossEntropyLoss(label_smoothing=recipes.COMPACT_CNN.smoothing),
        augment=augmentation.RandomWarp(8, 0.1, 0.15, 0.04, stretch=0.2, bend=0.01),
        precision=run.precision,
    )
    some = torch.randperm(len(hpl.train), generator=torch.Generator().manual_seed(42))[:8192]
    size["sides"] = sides[-1:]
    update_bn(data.Batches(hpl.train[some], 256, **size), model)
    seconds = time.perf_counter() - started
    score = training.evaluate(model, data.Batches(hpl.test, 1000, **size))
    return r5.outcome(TAMIL_MARK, seconds, history.epochs, score.accuracy)


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    """Keep one core busy while the block runs."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def _apart(way: Callable[..., dict], *arguments: Any) -> dict:
    """Return what `way` returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(way, *arguments).result()


def _compared(mark: float, ours: dict, published: dict, **before: dict) -> dict[str, Any]:
    ratio = published["seconds"] / ours["seconds"]
    found = {"mark": mark, "speed_up": ratio, "ours": ours, "published": published, **before}
    if "weights" in published and not published["reached"]:  # R5, which was given up
        found["at_least"] = True
    return found


def main() -> None:
    """Run every contest; print what was measured, and write it to results/, but no mere trial."""
    run = profile.current()
    # Published recipes train on all 60,000 images that are not test images, or on most of them;
    # both ways get our 48,000 here, so that only the way differs.
    mnist, hpl = data.mnist(run), tamil.tamil(run)
    if "sample" in (mnist.source, hpl.source):
        raise SystemExit("The benchmark needs the real data: `make data` fetches it.")
    contests = {}
    for contest, beside in ((LENET, ""), (THREE_LAYERS, ""), (LENET, ", one busy process beside")):
        print(f"{contest.ours.name}{beside} …", flush=True)
        with _busy() if beside else contextlib.nullcontext():
            # Some seconds long, so other work on the machine shows: the middle one of three.
            thrice = (_apart(our_way, contest, mnist, run) for _ in range(3))
            ours = sorted(thrice, key=lambda one: one["seconds"])[1]
            published = _apart(published_way, contest, mnist)
        contests[contest.ours.name + beside] = _compared(contest.mark, ours, published)
    print(f"{TAMIL} …", flush=True)
    ours = our_tamil(hpl, run, SMALL, 128)
    before = our_tamil(hpl, run, LARGE, 256)
    held_out = set(hpl.validation.writers.tolist())
    published = _apart(r5.published_way, held_out, TAMIL_MARK, STOP, run)
    if not published["reached"]:  # it needs more than one epoch, by its own report
        published["seconds"] = published["seconds_an_epoch"]
    published["network"] = "ResNet-34 (R5, Tamil)"
    contests[TAMIL] = _compared(TAMIL_MARK, ours, published, before=before)
    numbers = str(run.precision).removeprefix("torch.")
    kind = {"numbers": numbers, "instructions": torch.backends.cpu.get_cpu_capability()}
    entry = {"environment": records.environment(run) | kind, "contests": contests}
    print(readme.speed(entry))
    if run.name != "smoke":
        place = f"bench-{'cpu' if run.device.type == 'cpu' else 'gpu'}/training-{numbers}.json"
        results.write(project_folder() / "results" / place, entry)
        print(f"written to results/{place}")


if __name__ == "__main__":
    main()
