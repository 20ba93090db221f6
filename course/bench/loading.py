"""How images reach a ResNet-34 at 24×24 pixels: fastai's way beside ours; part of `make bench`.

fastai's way is R4's: a file for each image, read by worker processes and augmented batch by batch,
three equal channels in float32. Ours is that of notebook 06: batches cut out of one tensor, one
channel, the profile's precision. Our loader is also timed alone. Models begin at random. An epoch
is timed on `IMAGES` training images, without the first `WARM_UP` batches, and scaled up.
"""

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from common import now, real, tell
from PIL import Image
from r5 import Clock, ImageDataLoaders, Resize, aug_transforms
from torchvision.models import resnet34

from course.measured import LOADER_SHARE
from nbhelpers import augmentation, data, profile, vision

IMAGES = 8_000
SIDE = 24
OUR_BATCH = 128
WARM_UP = 2  # batches
STAGES = ("frozen", "unfrozen")


def from_a_folder(few: data.Dataset, folder: Path, run: profile.Profile) -> vision.Learner:
    """Write a file for each image; return R4's learner, with fastai's own batch and workers."""
    for name, split in (("train", few.train), ("valid", few.validation[:OUR_BATCH])):
        for row, (image, label) in enumerate(zip(split.images.numpy(), split.labels, strict=True)):
            path = folder / name / split.classes[label] / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    torch.manual_seed(run.seed)
    how = {"item_tfms": Resize(SIDE), "batch_tfms": aug_transforms(do_flip=False)}
    dls = ImageDataLoaders.from_folder(folder, device=run.device, **how)
    return vision.vision_learner(dls, resnet34, pretrained=False)


def from_memory(mnist: data.Dataset, run: profile.Profile) -> vision.DataLoaders:
    """Return notebook 06's loaders."""
    statistics = vision.scratch(mnist.train).statistics
    how = {"augment": augmentation.RandomAffine(10, 0.1, 0.1, 0.05), "statistics": statistics}
    return vision.dataloaders(mnist, SIDE, OUR_BATCH, device=run.device, seed=run.seed, **how)


def time_training(learn: vision.Learner, epoch: int) -> dict[str, float]:
    """Return seconds of an epoch with so many images, with all but the head frozen and without."""
    seconds = {}
    for stage, prepare in zip(STAGES, (learn.freeze, learn.unfreeze), strict=True):
        prepare()
        clock = Clock(WARM_UP)
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(1, cbs=clock)
        seconds[stage] = epoch * clock.seconds / clock.images
    return seconds


def time_loading(dls: vision.DataLoaders) -> float:
    """Return seconds an image of the training loader without a model."""
    seen = 0
    for batch, (_, labels) in enumerate(dls.train, 1):
        if batch == WARM_UP:
            started = now(dls.device)
        elif batch > WARM_UP:
            seen += len(labels)
    return (now(dls.device) - started) / seen


def time_both(few: data.Dataset, epoch: int, run: profile.Profile) -> dict[str, dict]:
    """Return what is recorded of both ways."""
    ways = {}
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fastai 2.8 uses what torch has deprecated
        folder, start = Path(name), vision.scratch(few.train)
        theirs, loaders = from_a_folder(few, folder, run), from_memory(few, run)
        ours = vision.learner(loaders, "resnet34", start, folder, run.precision, quiet=True)
        train = theirs.dls.train
        for way, learn, batch, workers, precision in (
            ("fastai, from a folder", theirs, train.bs, train.fake_l.num_workers, torch.float32),
            ("ours, from memory", ours, OUR_BATCH, 0, run.precision),
        ):
            print(f"{way} …", flush=True)
            numbers = str(precision).removeprefix("torch.")
            ways[way] = {"batch": batch, "workers": workers, "precision": numbers}
            ways[way] |= time_training(learn, epoch)
    return ways


def main() -> None:
    """Time both ways and our loader alone; print and write what was measured."""
    run = profile.current()
    mnist = real(data.mnist(run))
    epoch, few = len(mnist.train), replace(mnist, train=mnist.train[:IMAGES])
    ways = time_both(few, epoch, run)
    seconds = epoch * time_loading(from_memory(mnist, run))  # quick enough for all images
    shares = {stage: seconds / ways["ours, from memory"][stage] for stage in STAGES}
    sizes = {"side": SIDE, "epoch": epoch, "measured": len(few.train)}
    loader = {"seconds": seconds, "promise": LOADER_SHARE, "shares": shares}
    tell("loading", run, **sizes, ways=ways, our_loader=loader)


if __name__ == "__main__":
    main()
