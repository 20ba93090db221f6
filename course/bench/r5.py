"""R5 as it was published, to the accuracy that ours is timed to; part of `make bench`.

A ResNet-34 is fine-tuned by fastai from files, squished to 224×336 pixels and augmented in float32,
on the same writers as ours; it is looked at on a part of the same official test split. On a CPU
that takes hours, so it is given up after a while. One epoch at that speed is then a lower bound:
with ImageNet's weights and an easier, random split R5 reached 0.785, 0.884 and 0.918 after one, two
and three epochs. Where those weights cannot be had it begins at random, as the record says.
"""

import re
import tarfile
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torchvision.models import resnet34

from nbhelpers import profile, sources, tamil, vision

with warnings.catch_warnings(action="ignore"):  # as in nbhelpers.vision
    from fastai.vision.augment import Resize, aug_transforms
    from fastai.vision.data import ImageDataLoaders

SIZE = (224, 336)
BATCH = 64
LOOKED_AT = 500  # test images
STAGES = (  # whether all but the head is frozen, epochs, highest learning rate
    (True, 4, slice(3e-3)),
    (False, 1, slice(3e-3)),
    (False, 2, slice(1e-4, 1e-3)),
)


def outcome(mark: float, seconds: float, epochs: float, accuracy: float) -> dict[str, Any]:
    """Return what is recorded of a training."""
    spent = {"seconds_an_epoch": seconds / epochs, "epochs": epochs, "seconds": seconds}
    return spent | {"accuracy": accuracy, "reached": accuracy >= mark}


class _Clock(vision.Callback):
    """Counts seconds and images of training alone; ends the fit at the mark or at the limit."""

    order = 100  # after all others

    def __init__(self, limit: float, mark: float) -> None:
        self.limit, self.mark = limit, mark
        self.seconds, self.images, self.reached = 0.0, 0, 0.0

    def before_train(self) -> None:
        self.since = time.perf_counter()

    def after_batch(self) -> None:
        if self.training:
            if self.dls.device.type == "cuda":
                torch.cuda.synchronize()  # else what was begun on it may go on
            before, self.since = self.since, time.perf_counter()
            self.seconds += self.since - before
            self.images += len(self.yb[0])
            if self.seconds >= self.limit:
                raise vision.CancelFitException

    def after_epoch(self) -> None:
        self.reached = self.recorder.values[-1][-1]
        if self.reached >= self.mark:
            raise vision.CancelFitException


def files(folder: Path, held_out: set[int]) -> pd.DataFrame:
    """Unpack HPL Tamil into `folder`; return each file, its label, and whether to look at it."""
    for part, archives in (("train", tamil.TRAIN), ("test", tamil.TEST)):
        with tarfile.open(sources.fetch(*archives)) as packed:
            packed.extractall(folder / part, filter="data")
    rows = []
    for path in sorted(folder.glob("train/**/[0-9]*.tiff")):
        writer, label = re.search(r"usr_(\d+)/(\d+)t\d+\.tiff$", path.as_posix()).groups()
        if int(writer) not in held_out:
            rows.append((path.relative_to(folder), label, False))
    (truth,) = folder.glob("test/**/ground_truth.txt")
    labels = [line.split() for line in truth.read_text(encoding="ascii").splitlines() if line]
    some = torch.randperm(len(labels), generator=torch.Generator().manual_seed(42))[:LOOKED_AT]
    for number, label in (labels[row] for row in some):
        path = truth.with_name(f"{int(number):05d}.tiff")
        rows.append((path.relative_to(folder), f"{int(label):03d}", True))
    return pd.DataFrame(rows, columns=["file", "label", "look"])


def learner(folder: Path, table: pd.DataFrame, run: profile.Profile) -> tuple[vision.Learner, str]:
    """Return R5's learner, and the name of the weights that it begins with."""
    torch.manual_seed(run.seed)
    how = {"item_tfms": Resize(SIZE, method="squish"), "batch_tfms": aug_transforms(do_flip=False)}
    how |= {"fn_col": "file", "label_col": "label", "valid_col": "look"}
    dls = ImageDataLoaders.from_df(table, folder, bs=BATCH, device=run.device, **how)
    learn = vision.vision_learner(
        dls, resnet34, pretrained=False, normalize=False, metrics=vision.accuracy
    )
    try:
        weights = vision.imagenet("resnet34")
    except sources.Unavailable:
        return learn, "random"
    learn.model[0].load_state_dict(weights.body)
    return learn, weights.name


def published_way(
    held_out: set[int], mark: float, limit: float, run: profile.Profile
) -> dict[str, float | str]:
    """Train as R5 does until `mark` is reached, for at most `limit` seconds; return as `our_way`.

    Letters of the writers `held_out` are left out, so that both ways learn from the same.
    """
    # fastai 2.8 uses what torch has deprecated.
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(action="ignore"):
        table = files(Path(name), held_out)
        learn, weights = learner(Path(name), table, run)
        clock = _Clock(limit=limit, mark=mark)
        with learn.no_bar(), learn.no_logging():
            for frozen, epochs, rate in STAGES:
                (learn.freeze if frozen else learn.unfreeze)()
                learn.fit_one_cycle(epochs, rate, cbs=clock)
                reached = clock.reached >= mark
                if reached or clock.seconds >= limit:
                    break
            accuracy = clock.reached if reached else float(learn.validate()[1])
    an_epoch = int((~table["look"]).sum())
    epochs = clock.images / an_epoch
    found = outcome(mark, clock.seconds, epochs, accuracy) | {"weights": weights}
    found |= {"epochs": round(epochs)} if reached else {}  # fastai leaves out a last small batch
    return found | {"train_images": an_epoch, "test_images": LOOKED_AT}
