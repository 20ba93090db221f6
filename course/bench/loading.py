"""How images reach a ResNet-34 at 24×24 pixels: fastai's way beside ours; part of `make bench`.

fastai's way is that of R4: a file for each image, opened, resized and stacked in worker processes,
then augmented batch by batch; the model computes in float32 on three equal channels. Ours is that
of notebook 06: batches cut out of one tensor, augmented, with one channel and in the profile's
precision. So the times compare both ways as a whole; what loading alone costs in ours is measured
by itself. Both models begin at random, which takes as long as beginning with ImageNet weights.

An epoch is timed on `IMAGES` training images and scaled to all of them. The first `WARM_UP` batches
are not counted, nor is the start of the workers, writing the files, or validation.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from bench import write
from PIL import Image
from torchvision.models import resnet34

from nbhelpers import augmentation, data, profile, records, vision

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # as in nbhelpers.vision
    from fastai.vision.augment import Resize, aug_transforms
    from fastai.vision.data import ImageDataLoaders

IMAGES = 8_000
SIDE = 24
OUR_BATCH = 128
WARM_UP = 2  # batches
PROMISE = 0.15  # the largest share of an unfrozen epoch that our loader may take


class Stopwatch(vision.Callback):
    """Measures `seconds` an image in the training part of an epoch, then ends the fit."""

    order = 100  # after all others

    def after_batch(self) -> None:
        """Start the clock after the warm-up, then count images."""
        if self.iter + 1 == WARM_UP:
            self.seen, self.started = 0, _now(self.dls.device)
        elif self.iter + 1 > WARM_UP:
            self.seen += len(self.yb[0])

    def after_train(self) -> None:
        """Stop the clock."""
        self.seconds = (_now(self.dls.device) - self.started) / self.seen
        raise vision.CancelFitException


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def write_pictures(split: data.Split, folder: Path) -> None:
    """Write each image as a PNG file into the folder of its class."""
    for name in split.classes:
        (folder / name).mkdir(parents=True)
    for row, (image, label) in enumerate(zip(split.images.numpy(), split.labels, strict=True)):
        Image.fromarray(image).save(folder / split.classes[label] / f"{row}.png")


def from_a_folder(folder: Path, run: profile.Profile) -> vision.Learner:
    """Return R4's learner, with fastai's own batch size and number of workers, one for each core.

    Args:
        folder: with `train/<class>/<file>` and `valid/<class>/<file>`.
        run: names the device and the seed.
    """
    torch.manual_seed(run.seed)
    dls = ImageDataLoaders.from_folder(
        folder,
        item_tfms=Resize(SIDE),
        batch_tfms=aug_transforms(do_flip=False),
        device=run.device,
    )
    return vision.vision_learner(dls, resnet34, pretrained=False)


def from_memory(mnist: data.Dataset, run: profile.Profile) -> vision.DataLoaders:
    """Return notebook 06's loaders."""
    return vision.dataloaders(
        mnist,
        SIDE,
        OUR_BATCH,
        statistics=vision.scratch(mnist.train).statistics,
        augment=augmentation.RandomAffine(10, 0.1, 0.1, 0.05),
        device=run.device,
        seed=run.seed,
    )


def time_training(learn: vision.Learner) -> dict[str, float]:
    """Return seconds an image of training, with all but the head frozen and with nothing frozen."""
    seconds = {}
    for name, prepare in (("frozen", learn.freeze), ("unfrozen", learn.unfreeze)):
        prepare()
        watch = Stopwatch()
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(1, cbs=watch)
        seconds[name] = watch.seconds
    return seconds


def time_loading(dls: vision.DataLoaders) -> float:
    """Return seconds an image of the training loader without a model."""
    seen = 0
    for batch, (_, labels) in enumerate(dls.train, 1):
        if batch == WARM_UP:
            started = _now(dls.device)
        elif batch > WARM_UP:
            seen += len(labels)
    return (_now(dls.device) - started) / seen


def main() -> None:
    """Time both ways and our loader alone, print a table and write it to results/."""
    run = profile.current()
    mnist = data.mnist(run)
    if mnist.source == "sample":
        raise SystemExit("The benchmark needs the real data: `make data` fetches it.")
    epoch, few = len(mnist.train), replace(mnist, train=mnist.train[:IMAGES])
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fastai 2.8 uses what torch has deprecated
        folder = Path(name)
        write_pictures(few.train, folder / "train")
        write_pictures(few.validation[:OUR_BATCH], folder / "valid")  # fastai wants some
        learners = {
            "fastai, from a folder": (from_a_folder(folder, run), torch.float32),
            "ours, from memory": (
                vision.learner(
                    from_memory(few, run),
                    "resnet34",
                    vision.scratch(few.train),
                    folder,
                    precision=run.precision,
                    quiet=True,
                ),
                run.precision,
            ),
        }
        print(f"{'':<23}{'batch':>6}{'workers':>9}{'precision':>11}{'frozen':>9}{'unfrozen':>10}")
        ways = {}
        for way, (learn, precision) in learners.items():
            got = ways[way] = {
                "batch": getattr(learn.dls, "bs", OUR_BATCH),
                "workers": learn.dls.fake_l.num_workers if hasattr(learn.dls, "fake_l") else 0,
                "precision": str(precision).removeprefix("torch."),
                **{name: epoch * seconds for name, seconds in time_training(learn).items()},
            }
            print(
                f"{way:<23}{got['batch']:>6}{got['workers']:>9}{got['precision']:>11}"
                f"{got['frozen']:>9.1f}{got['unfrozen']:>10.1f}"
            )
    seconds = epoch * time_loading(from_memory(mnist, run))  # quick enough for all images
    ours = ways["ours, from memory"]
    shares = {name: seconds / ours[name] for name in ("frozen", "unfrozen")}
    print(f"Seconds an epoch of {epoch:,} images, measured on {len(few.train):,}.")
    print(
        f"Our loader alone: {seconds:.2f} s, {100 * shares['unfrozen']:.1f} % of an unfrozen epoch"
        f" (promised: at most {100 * PROMISE:.0f} %), {100 * shares['frozen']:.1f} % of a frozen"
        " one.\n"
    )
    report = {
        "environment": records.environment(run),
        "side": SIDE,
        "epoch": epoch,
        "measured": len(few.train),
        "ways": ways,
        "our_loader": {"seconds": seconds, "promise": PROMISE, "shares": shares},
    }
    write(report, "loading", run)


if __name__ == "__main__":
    main()
