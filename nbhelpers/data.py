"""Data sets as plain in-memory splits, and the batch iterator that feeds a training loop."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import resample
from torch.nn import functional

from nbhelpers import shapes, sources
from nbhelpers.profile import Profile

MOST_NAMED = 10  # damaged images that an error names; it counts the others


class DataError(RuntimeError):
    """A data file is damaged or is not what it claims to be."""


@dataclass(frozen=True)
class Split:
    """Images with their labels.

    Attributes:
        images: uint8 `[n, height, width]`; 0 is paper, 255 is ink.
        labels: int64 `[n]`, indices into `classes`.
        classes: the text of each class, such as `"7"`.
        writers: int64 `[n]`, who wrote each, where that is known.
    """

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]
    writers: torch.Tensor | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, rows: torch.Tensor | slice) -> Split:
        """Return the split of the images at `rows` (int64 indices, a bool mask or a slice)."""
        writers = None if self.writers is None else self.writers[rows]
        return replace(self, images=self.images[rows], labels=self.labels[rows], writers=writers)


@dataclass(frozen=True)
class Dataset:
    """Three splits that share no image.

    Attributes:
        name: the name of the data set.
        source: `"full"` for the real data, `"sample"` for the embedded stand-in.
        train: what models learn from.
        validation: what choices are made on.
        test: what is read once per model, for the result.
    """

    name: str
    source: str
    train: Split
    validation: Split
    test: Split

    @property
    def classes(self) -> tuple[str, ...]:
        """The text of each class."""
        return self.train.classes

    @property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over every image and label, in order."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            digest.update(split.images.contiguous().numpy())
            digest.update(split.labels.numpy())
        return digest.hexdigest()[:16]


# ------------------------------------------------------------------------------------- MNIST

# torchvision's homes and checksums: importing it takes seconds, and nothing else here needs it.
_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
_MNIST_FILES = {  # file name: number of items, MD5
    "train-images-idx3-ubyte.gz": (60_000, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-labels-idx1-ubyte.gz": (60_000, "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte.gz": (10_000, "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte.gz": (10_000, "ec29112dd5afa0611ce80d1b7f02629c"),
}
DIGITS = tuple("0123456789")


def mnist(run: Profile) -> Dataset:
    """Return MNIST: 48,000 / 12,000 / 10,000 images of 28×28 (fewer in the `smoke` profile).

    The official 60,000 training images are split at random, seeded, with every digit in the same
    proportion; the official 10,000 test images stay the test split. Where neither cache, mirror
    nor internet has MNIST, scikit-learn's `load_digits` stands in, under a banner.

    Source: Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/

    Raises:
        DataError: an archive is damaged.
        SourceError: the real data is not to be had and NBHELPERS_SAMPLE is `never`.
    """
    mode = sources.sample_mode()
    if mode == "always":
        return digits_sample(run)
    try:
        train_images, train_labels, test_images, test_labels = _mnist_arrays()
    except sources.Unavailable as error:
        if mode == "never":
            raise
        return digits_sample(run, reason=str(error))
    learn = Split(torch.from_numpy(train_images), torch.from_numpy(train_labels), DIGITS)
    test = Split(torch.from_numpy(test_images), torch.from_numpy(test_labels), DIGITS)
    train, validation = stratified_split(learn, 12_000, run.seed)
    return sized(Dataset("MNIST", "full", train, validation, test), run)


def mnist_archives() -> list[sources.Archive]:
    """Return the four official archives with the checksums and homes that torchvision lists."""
    return [
        sources.Archive(f"mnist/{name}", f"md5:{md5}", tuple(url + name for url in _MNIST_MIRRORS))
        for name, (_, md5) in _MNIST_FILES.items()
    ]


def _mnist_arrays() -> list[np.ndarray]:
    paths = {Path(archive.path).name: sources.fetch(archive) for archive in mnist_archives()}
    arrays = []
    for name, (count, _) in _MNIST_FILES.items():
        shape = (count, 28, 28) if "images" in name else (count,)
        arrays.append(read_idx(paths[name], shape))
        if "labels" in name:
            arrays[-1] = _checked_labels(arrays[-1], len(DIGITS), paths[name])
    return arrays


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read a gzipped IDX file of bytes, as MNIST is published in.

    The format: two zero bytes, a byte for the type (8: unsigned bytes), one for the number of
    axes, the length of each axis (big-endian, 32 bits), then the values.

    Args:
        path: the `.gz` file.
        shape: the shape it must have.

    Returns:
        uint8 `shape`.

    Raises:
        DataError: it is truncated, no IDX file of bytes, or of another shape.
    """
    advice = "Delete it and fetch it again."
    header = struct.pack(f">{len(shape)}I", *shape)
    expected = math.prod(shape)
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(4 + len(header) + expected + 1)  # one too many would show
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip archive ({error}). {advice}") from None
    magic = struct.pack(">BBBB", 0, 0, 8, len(shape))
    if content[:4] != magic:
        raise DataError(
            f"{path}: wrong magic number {content[:4].hex()}, expected {magic.hex()} "
            f"(bytes along {len(shape)} axes). {advice}"
        )
    if content[4 : 4 + len(header)] != header:
        usable = content[4 : 4 + len(header)].ljust(len(header), b"\0")
        found = struct.unpack(f">{len(shape)}I", usable)
        raise DataError(f"{path}: announces shape {found}, expected {shape}. {advice}")
    found = len(content) - 4 - len(header)
    if found != expected:
        count = f"{found:,}" if found < expected else f"more than {expected:,}"
        raise DataError(f"{path}: {count} values, expected {expected:,}. {advice}")
    return np.frombuffer(content[4 + len(header) :], np.uint8).reshape(shape).copy()


def _checked_labels(labels: np.ndarray, classes: int, path: Path) -> np.ndarray:
    if labels.max() >= classes:
        raise DataError(f"{path}: label {labels.max()}, expected 0 to {classes - 1}.")
    return labels.astype(np.int64)


# ------------------------------------------------------------------------ the embedded sample


def digits_sample(run: Profile, reason: str = "NBHELPERS_SAMPLE is set to always") -> Dataset:
    """Return scikit-learn's 1,797 digits in MNIST's form, under a banner that says so.

    Each 8×8 image is scaled to 20×20 and placed by its centre of mass in 28×28, as MNIST's were.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    from sklearn.datasets import load_digits

    banner(reason)
    digits = load_digits()
    small = torch.from_numpy(digits.images / 16).float()
    large = functional.interpolate(small[:, None], size=(20, 20), mode="bilinear")[:, 0]
    images = shapes.place_by_centre_of_mass((large * 255).round().to(torch.uint8), 28)
    everything = Split(images, torch.from_numpy(digits.target).long(), DIGITS)
    learn, test = stratified_split(everything, 400, run.seed)
    train, validation = stratified_split(learn, 280, run.seed)
    return sized(Dataset("MNIST", "sample", train, validation, test), run)


def leave_out(
    source: Path, damaged: Sequence[str], others: int, advice: str = "Replace them"
) -> None:
    """Go on without damaged images if NBHELPERS_DAMAGED is `skip`: say so, and keep their names.

    Args:
        source: the archive or folder that holds them.
        damaged: of each, where it lies and what is wrong with it.
        others: how many images are not damaged.
        advice: what else to do about them.

    Raises:
        DataError: there are any, and NBHELPERS_DAMAGED is not `skip`; counts them and names some.
    """
    skip = sources.damaged_mode() == "skip"
    if not len(damaged):
        return
    count = f"{len(damaged):,} of the {len(damaged) + others:,} images in {source}"
    if not skip:
        named = "".join(f"\n  {one}" for one in damaged[:MOST_NAMED])
        more = f"\n  and {len(damaged) - MOST_NAMED:,} more" * (len(damaged) > MOST_NAMED)
        raise DataError(
            f"{count} cannot be used:{named}{more}\n"
            f"{advice}, or set NBHELPERS_DAMAGED=skip to go on without them."
        )
    names = sources.data_folder() / "downloads" / "damaged" / f"{source.name}.txt"
    try:
        with sources.written(names) as unfinished:
            unfinished.write_text("".join(f"{one}\n" for one in damaged), encoding="utf-8")
        said = f"their names are in {names}"
    except sources.WriteError as error:  # no reason not to go on
        said = f"the first is {damaged[0]}. Names are not kept: {error}"
    print(f"{count} cannot be used and are left out; {said}")


def banner(reason: str) -> None:
    """Show, so that no one can overlook it, that what follows is on sample data, and why."""
    from IPython.display import HTML, display

    class Banner(HTML):
        def __repr__(self) -> str:
            return f"*** SAMPLE DATA, NOT THE REAL SET ***\n{reason}"

    display(
        Banner(
            '<div style="background:#b00020;color:white;font-size:1.2em;padding:1em">'
            "<b>SAMPLE DATA, not the real set.</b> The real data could not be had, so this run "
            "shows the course on a small stand-in. Its numbers say nothing about the real data."
            '<details><summary>why</summary><pre style="color:white;background:transparent">'
            f"{reason}</pre></details></div>"
        )
    )


# ------------------------------------------------------------------------------------ splits


def stratified_split(split: Split, held_out: int, seed: int) -> tuple[Split, Split]:
    """Divide `split` at random into the rest and `held_out` images, classes in proportion.

    The same seed gives the same two parts, whatever else ran before.
    """
    rest, held = train_test_split(
        np.arange(len(split)), test_size=held_out, random_state=seed, stratify=split.labels
    )
    return split[torch.from_numpy(rest)], split[torch.from_numpy(held)]


def sized(dataset: Dataset, run: Profile) -> Dataset:
    """Cut each split to the profile's size, classes in proportion."""
    names = ("train", "validation", "test")
    cut = {name: subset(getattr(dataset, name), run.size(name), run.seed) for name in names}
    return replace(dataset, **cut)


def subset(split: Split, size: int, seed: int) -> Split:
    """Return `size` images of `split`, drawn at random, classes in proportion; 0 means all."""
    if not size or size >= len(split):
        return split
    rows = resample(
        np.arange(len(split)),
        replace=False,
        n_samples=size,
        random_state=seed,
        stratify=split.labels,
    )
    return split[torch.from_numpy(rows)]


# ----------------------------------------------------------------------------------- batches


class Batches:
    """Batches of a split, straight from memory: no files, no worker processes.

    Iterating yields `(inputs, labels)`: inputs float32 `[b, 1, height, width]`, equal to
    `(pixel / 255 - mean) / std`; labels int64 `[b]`; both on `device`. The last batch may be
    shorter. Notebook 01 builds the same by hand.

    Args:
        split: where the images come from.
        batch_size: images a batch.
        shuffle: draw a new order in each epoch, from `seed`. Without it the order is the split's.
        seed: of the shuffling.
        mean: subtracted from pixels in 0 to 1.
        std: what pixels are divided by after that.
        device: where batches are delivered; the images are kept there too.
        sides: of the images in pixels, one for each epoch: small images first cost less. The last
            one holds for all later epochs; without any, images keep their size.

    Source of growing images: J. Howard, fast.ai's entry in DAWNBench, 2018 (progressive resizing).
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        mean: float = 0.0,
        std: float = 1.0,
        device: torch.device | str = "cpu",
        sides: Sequence[int] = (),
    ) -> None:
        """Move the split to the device and set up the order of batches."""
        self.split, self.device, self.sides = split, device, list(sides)
        self.images = split.images[:0, None]
        self.set_epoch(0)
        self.labels = split.labels.to(device)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.mean, self.std = mean, std
        self.generator = torch.Generator().manual_seed(seed)

    def set_epoch(self, epoch: int) -> None:
        """Bring the images to the size they have in `epoch`, counted from 0; `fit` calls this."""
        size = self.split.images.shape[1:]
        if self.sides:
            size = torch.Size([self.sides[min(epoch, len(self.sides) - 1)]] * 2)
        if len(self.images) != len(self.split) or self.images.shape[2:] != size:
            self.images = shapes.resized(self.split.images, size)[:, None].to(self.device)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of one epoch."""
        count = len(self.labels)
        if self.shuffle:
            order = torch.randperm(count, generator=self.generator).to(self.labels.device)
            rows: Sequence[torch.Tensor | slice] = order.split(self.batch_size)
        else:
            rows = [slice(i, i + self.batch_size) for i in range(0, count, self.batch_size)]
        for chosen in rows:
            pixels = self.images[chosen].float()
            yield pixels.div_(255 * self.std).sub_(self.mean / self.std), self.labels[chosen]
