"""Data sets as plain in-memory splits, and the batch iterator that feeds a training loop."""

import gzip
import hashlib
import html
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from nbhelpers import shapes, sources
from nbhelpers.profile import Profile


class DataError(RuntimeError):
    """A data file is damaged or is not what it claims to be."""


@dataclass(frozen=True)
class Split:
    """Images with their labels."""

    images: torch.Tensor  # uint8 [n, height, width]; 0 is paper, 255 is ink
    labels: torch.Tensor  # int64 [n], indices into `classes`
    classes: tuple[str, ...]  # the text of each class, such as "7"
    writers: torch.Tensor | None = None  # int64 [n], who wrote each, where that is known
    sizes: torch.Tensor | None = None  # int32 [n, 2], height and width before scaling, likewise

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, rows: torch.Tensor | slice) -> "Split":
        """Return the split of the images at `rows` (int64 indices, a bool mask or a slice)."""
        columns = {name: one[rows] for name, one in vars(self).items() if torch.is_tensor(one)}
        return replace(self, **columns)


@dataclass(frozen=True)
class Dataset:
    """Three splits that share no image."""

    name: str
    source: str  # "full" for the real data, "sample" for the embedded stand-in
    train: Split  # what models learn from
    validation: Split  # what choices are made on
    test: Split  # what is read once per model, for the result

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
            digest.update(split.labels.contiguous().numpy())
        return digest.hexdigest()[:16]


# torchvision's homes and checksums: importing it takes seconds, and nothing else here needs it.
_MNIST_HOMES = "https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"
_MNIST_FILES = {  # file name: MD5
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
DIGITS = tuple("0123456789")


def mnist(run: Profile) -> Dataset:
    """Return MNIST: 48,000 / 12,000 / 10,000 images of 28×28 (fewer in the `smoke` profile).

    The official training images are split at random, with every digit in the same proportion; the
    official test images stay the test split. Where neither cache, mirror nor internet has MNIST,
    scikit-learn's `load_digits` stands in, under a banner.

    Source: Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/

    Raises:
        DataError: an archive is damaged.
        Unavailable: the real data is not to be had and NBHELPERS_SAMPLE is `never`.
    """

    def real() -> Dataset:
        archives = mnist_archives()
        learn, test = _mnist_split(archives[:2], 60_000), _mnist_split(archives[2:], 10_000)
        train, validation = stratified_split(learn, 12_000, run.seed)
        return sized(Dataset("MNIST", "full", train, validation, test), run)

    return real_or_sample(real, partial(digits_sample, run))


def mnist_archives() -> list[sources.Archive]:
    """Return the four official archives with the checksums and homes that torchvision lists."""
    return [
        sources.Archive(f"mnist/{name}", f"md5:{md5}", tuple(url + name for url in _MNIST_HOMES))
        for name, md5 in _MNIST_FILES.items()
    ]


def _mnist_split(archives: Sequence[sources.Archive], count: int) -> Split:
    """Return the images of the first of two archives with the labels of the second."""
    paths = [sources.fetch(archive) for archive in archives]
    images, labels = read_idx(paths[0], (count, 28, 28)), read_idx(paths[1], (count,))
    if labels.max() >= len(DIGITS):
        raise DataError(f"{paths[1]}: label {labels.max()}, expected 0 to {len(DIGITS) - 1}.")
    return Split(torch.from_numpy(images), torch.from_numpy(labels).long(), DIGITS)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the content of a gzipped IDX file of bytes, as MNIST is published in: uint8 `shape`.

    Raises:
        DataError: it is truncated, no IDX file of bytes, or of another shape.
    """
    # Two zero bytes, the type (8: unsigned bytes), the number of axes, the length of each.
    header = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
    size = len(header) + math.prod(shape)
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(size + 1)  # one too many would show
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = f"{path}: damaged gzip archive ({error}). Delete it and fetch it again."
        raise DataError(message) from None
    if len(content) != size or not content.startswith(header):
        raise DataError(
            f"{path}: {len(content):,} bytes or more that begin with {content[:16].hex(' ', 4)}; "
            f"expected {size:,} that begin with {header.hex(' ', 4)}, for the shape {shape}. "
            "Delete it and fetch it again."
        )
    return np.frombuffer(content[len(header) :], np.uint8).reshape(shape).copy()


def digits_sample(run: Profile) -> Dataset:
    """Return scikit-learn's 1,797 digits, scaled to 20×20 and centred in 28×28, as MNIST's were.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images / 16).float()
    large = functional.interpolate(small[:, None], size=(20, 20), mode="bilinear")[:, 0]
    images = shapes.place_by_centre_of_mass((large * 255).round().to(torch.uint8).numpy(), 28)
    everything = Split(torch.from_numpy(images), torch.from_numpy(digits.target).long(), DIGITS)
    learn, test = stratified_split(everything, 400, run.seed)
    train, validation = stratified_split(learn, 280, run.seed)
    return sized(Dataset("MNIST", "sample", train, validation, test), run)


def leave_out(
    source: Path, damaged: Sequence[str], others: int, advice: str = "Replace them"
) -> None:
    """Go on without damaged images if NBHELPERS_DAMAGED is `skip`: say so, and keep their names.

    `damaged` tells of each in `source` where it lies and what is wrong; `others` are whole.

    Raises:
        DataError: there are any, and NBHELPERS_DAMAGED is `stop`; counts them and names some.
    """
    mode = sources.mode("NBHELPERS_DAMAGED")
    if not damaged:
        return
    count = f"{len(damaged):,} of the {len(damaged) + others:,} images in {source} cannot be used"
    if mode == "stop":
        more = [f"and {len(damaged) - 10:,} more"] if len(damaged) > 10 else []
        named = "\n  ".join([f"{count}:", *damaged[:10], *more])
        raise DataError(f"{named}\n{advice}, or set NBHELPERS_DAMAGED=skip to go on without them.")
    names = sources.data_folder() / "downloads" / "damaged" / f"{source.name}.txt"
    try:
        with sources.written(names) as unfinished:
            unfinished.write_text("".join(f"{one}\n" for one in damaged), encoding="utf-8")
        said = f"their names are in {names}"
    except sources.WriteError as error:  # no reason not to go on
        said = f"the first is {damaged[0]}. Names are not kept: {error}"
    print(f"{count} and are left out; {said}")


def real_or_sample(real: Callable[[], Any], sample: Callable[[], Any]) -> Any:
    """Return the real data, or, where no source has it, the sample under a banner.

    Raises:
        Unavailable: the real data is not to be had and NBHELPERS_SAMPLE is `never`.
    """
    mode = sources.mode("NBHELPERS_SAMPLE")
    try:
        if mode == "always":
            raise sources.Unavailable("NBHELPERS_SAMPLE is set to always")
        return real()
    except sources.Unavailable as error:
        if mode == "never":
            raise
        _show_banner(str(error))
    return sample()


def _show_banner(reason: str) -> None:
    from IPython.display import HTML, display

    class Banner(HTML):
        def __repr__(self) -> str:
            return f"*** SAMPLE DATA, NOT THE REAL SET ***\n{reason}"

    text = (
        '<div style="background:#b00020;color:white;font-size:1.2em;padding:1em"><b>SAMPLE DATA, '
        "not the real set.</b> This run shows the course on a small stand-in; its numbers say "
        "nothing.<details><summary>why</summary>"
        f'<pre style="color:inherit;background:none">{html.escape(reason)}</pre></details></div>'
    )
    display(Banner(text))


def stratified_split(split: Split, held_out: int, seed: int) -> tuple[Split, Split]:
    """Divide `split` at random, by `seed`, into the rest and `held_out` images, classes alike."""
    rest, held = stratified_rows(split.labels, held_out, seed)
    return split[rest], split[held]


def stratified_rows(labels: torch.Tensor, held_out: int, seed: int) -> list[torch.Tensor]:
    """Return which rows `stratified_split` puts into its two parts, int64 each."""
    from sklearn.model_selection import train_test_split  # takes seconds to import

    rows, options = torch.arange(len(labels)), {"random_state": seed, "stratify": labels}
    return train_test_split(rows, test_size=held_out, **options)


def sized(dataset: Dataset, run: Profile) -> Dataset:
    """Cut each split to the profile's size, classes in proportion."""
    names = ("train", "validation", "test")
    cut = {name: subset(getattr(dataset, name), run.size(name), run.seed) for name in names}
    return replace(dataset, **cut)


def subset(split: Split, size: int | None, seed: int) -> Split:
    """Return `size` images of `split`, drawn at random, classes in proportion; None means all."""
    if not size or size >= len(split):
        return split
    from sklearn.utils import resample

    options = {"n_samples": size, "random_state": seed, "stratify": split.labels}
    return split[torch.from_numpy(resample(np.arange(len(split)), replace=False, **options))]


class Batches:
    """Batches of a split, straight from memory: no files, no worker processes.

    Iterating yields `(inputs, labels)`: inputs float32 `[b, 1, height, width]`, equal to
    `(pixel / 255 - mean) / std`; labels int64 `[b]`; both on `device`. The last may be shorter.

    Args:
        split: where the images come from.
        batch_size: images a batch.
        shuffle: draw a new order in each epoch, from `seed`; else the order is the split's.
        seed: of the shuffling.
        mean, std: what pixels in 0 to 1 lose, and are then divided by.
        device: where batches are delivered; the images are kept there too.
        sides: of the images in pixels, one for each epoch (small images first cost less); the last
            one holds for all later epochs. Without any, images keep their size.

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
        self.images, self.labels = split.images[:0, None], split.labels.to(device)
        self.set_epoch(0)
        self.batch_size, self.shuffle = batch_size, shuffle
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
        order = torch.arange(len(self.labels))
        if self.shuffle:
            order = torch.randperm(len(order), generator=self.generator)
        for rows in order.to(self.labels.device).split(self.batch_size):
            pixels = self.images[rows].float()
            yield pixels.div_(255 * self.std).sub_(self.mean / self.std), self.labels[rows]
