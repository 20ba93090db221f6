"""The bridge to fastai: our in-memory splits as its `DataLoaders`, and weights of known origin.

fastai reads a file for each image, in worker processes. Here batches are cut straight out of a
tensor that is in memory already; `show_batch`, `lr_find`, `ClassificationInterpretation`,
`Learner.export` and the rest work on them as on fastai's own. Notebooks 06 and 08 use it.
"""

from __future__ import annotations

import gc
import json
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from sklearn.metrics import confusion_matrix
from torch import nn
from torchvision.transforms.functional import normalize

from nbhelpers import checkpoints, networks, sources, training
from nbhelpers.data import Dataset, Split
from nbhelpers.progress import Progress
from nbhelpers.shapes import resized
from nbhelpers.training import History

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # fastai 2.8 uses what torch and pandas have deprecated
    import fastai.callback.schedule  # noqa: F401  gives Learner fit_one_cycle and lr_find
    from fastai import interpret
    from fastai.callback.core import Callback, CancelEpochException, CancelFitException
    from fastai.callback.progress import ProgressCallback
    from fastai.data.core import DataLoaders, TfmdDL
    from fastai.data.transforms import Category, CategoryMap
    from fastai.learner import Learner, load_learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.metrics import accuracy
    from fastai.optimizer import OptimWrapper
    from fastai.torch_core import TensorCategory, TensorImageBW, to_cpu
    from fastai.vision.learner import vision_learner

Size = tuple[int, int]  # height and width
Statistics = tuple[Sequence[float], Sequence[float]]  # means and standard deviations
Augment = Callable[[torch.Tensor], torch.Tensor]


# ---------------------------------------------------------------------------------------- batches


def dataloaders(
    dataset: Dataset,
    side: int | Size,
    batch_size: int,
    channels: int = 1,
    *,
    statistics: Statistics,
    augment: Augment | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> DataLoaders:
    """Return fastai's `DataLoaders` over the training and the validation split.

    A batch is float32 `[b, channels, height, width]` and labels int64 `[b]`. Training batches come
    in a new order in each epoch, without an incomplete last one, which batch normalisation would
    suffer from. Validation batches keep the split's order; where training batches are small, they
    are up to four times as large (at most 128 images), since without gradients small batches only
    cost time. For the one time that the test split is needed there is `dls.test_dl(dataset.test)`;
    `dls.test_dl` also takes images uint8 `[n, h, w]`.

    Args:
        dataset: the splits, as in the other notebooks.
        side: of the images that the model gets, or their height and width.
        batch_size: images a training batch.
        channels: 1, or 3 equal ones for weights that expect colour.
        statistics: of the `Weights` that the model starts from; three are averaged for one channel.
        augment: changes a training batch, float32 `[b, 1, height, width]` of 0 to 1, at random.
        device: where batches are delivered; the images are kept there too.
        seed: of the order of the training batches.
    """
    size = (side, side) if isinstance(side, int) else tuple(side)
    mean, std = ([sum(n) / len(n)] * channels if len(n) != channels else [*n] for n in statistics)
    images = (
        Images(part.images.to(device), part.labels.to(device), part.classes, size, (mean, std))
        for part in (dataset.train, dataset.validation)
    )
    counts = (batch_size, max(batch_size, min(128, 4 * batch_size)))
    train, validation = (
        Loader(part, count, num_workers=0) for part, count in zip(images, counts, strict=True)
    )
    train.shuffle, train.augment = True, augment
    train.drop_last = len(dataset.train) >= batch_size
    train.rng.seed(seed)
    return DataLoaders(train, validation, device=torch.device(device))


@dataclass(eq=False, repr=False)
class Images:
    """What a `Loader` takes its batches from, with the names that fastai looks for.

    Attributes:
        images: uint8 `[n, h, w]`. Those that shrink to `size` do so once, here; those that grow
            to it, which could fill the memory, do so batch by batch.
        labels: int64 `[n]`, or None where they are not known.
        classes: the text of each class.
        size: of the images in a batch.
        statistics: that batches are normalised with, one number a channel.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    classes: tuple[str, ...]
    size: Size
    statistics: Statistics

    n_inp, loss_func = 1, CrossEntropyLossFlat()
    items = iloc = property(lambda self: self)  # Interpretation takes rows of `items.iloc`
    c = property(lambda self: len(self.classes))
    vocab = property(lambda self: CategoryMap(self.classes, sort=False))

    def __post_init__(self) -> None:
        """Resize images that shrink."""
        if self.images.shape[1] * self.images.shape[2] >= self.size[0] * self.size[1]:
            self.images = resized(self.images, self.size)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, rows: int | Sequence[int]) -> tuple[torch.Tensor, ...] | Images:
        """Return one image and its label, or the images at several rows."""
        if isinstance(rows, int):
            return tuple(part[0] for part in self.batch([rows]))
        return self.like(self.images[rows], None if self.labels is None else self.labels[rows])

    def batch(
        self, rows: Sequence[int], augment: Augment | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Return float32 `[b, channels, height, width]` and, where known, labels int64 `[b]`."""
        chosen = torch.tensor(rows, dtype=torch.int64, device=self.images.device)
        pixels = resized(self.images[chosen], self.size)[:, None].float().div_(255)
        if augment:  # before normalisation: after it, paper is another number in each channel
            pixels = augment(pixels)
        mean, std = self.statistics
        inputs = normalize(pixels.expand(-1, len(mean), -1, -1), mean, std)
        return (inputs,) if self.labels is None else (inputs, self.labels[chosen])

    def like(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> Images:
        """Return other images, to be treated as these are."""
        return replace(self, images=images, labels=labels)

    def new_empty(self) -> Images:
        """Return none of the images: what is left of them in an exported learner."""
        return self[[]]

    def decode(self, item: tuple[torch.Tensor, ...], full: bool = True) -> tuple:
        """Return `item` with the text of its class for the label; `show_batch` asks for it."""
        image, *labels = item
        return (image, *(Category(self.classes[label]) for label in labels))


class Loader(TfmdDL):
    """fastai's loader, with whole batches cut out of `Images`."""

    augment: Augment | None = None

    def create_batches(self, samps: Iterable[int]) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the batches of the rows `samps`, augmented if this is the training loader."""
        for rows in self.chunkify(samps):
            yield self.dataset.batch(rows, self.augment)

    def decode(self, b: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Return a batch as fastai shows it: one channel of 0 to 1, ink dark on paper."""
        inputs, *labels = to_cpu(b)
        mean, std = self.dataset.statistics
        return TensorImageBW(inputs[:, :1] * std[0] + mean[0]), *map(TensorCategory, labels)

    def new(
        self,
        dataset: Images | Split | Iterable[torch.Tensor] | None = None,
        cls: type | None = None,
        **options: object,
    ) -> Loader:
        """Return such a loader without augmentation, over other images if given (`test_dl`)."""
        if isinstance(dataset, Split):
            dataset = self.dataset.like(dataset.images, dataset.labels)
        elif dataset is not None and not isinstance(dataset, Images):
            dataset = self.dataset.like(torch.stack(list(dataset)))
        return super().new(dataset, cls, **options)


# ---------------------------------------------------------------------------------------- weights


_SHA256 = {  # the first eight digits, which torchvision publishes in the names of its files
    "resnet18": "f37072fd",
    "resnet34": "b627a593",
}


@dataclass(frozen=True)
class Weights:
    """What a model starts from.

    Attributes:
        name: where the weights come from, as tables call it.
        statistics: mean and standard deviation of the pixels (0 to 1) that the weights were
            trained on, one number a channel or one for all.
        architecture: whose they are; None for weights drawn at random.
        body: all but the head, by the names that they have in `learn.model[0]`.
    """

    name: str
    statistics: Statistics
    architecture: str | None = None
    body: dict[str, torch.Tensor] | None = field(default=None, repr=False)


def scratch(train: Split) -> Weights:
    """Return weights to be drawn at random, with the statistics of the training images."""
    shares = torch.bincount(train.images.flatten(), minlength=256).double() / train.images.numel()
    pixels = torch.linspace(0, 1, 256, dtype=torch.float64)
    mean = (shares * pixels).sum()
    std = (shares * (pixels - mean) ** 2).sum().sqrt()
    return Weights("scratch", ((mean.item(),), (std.item(),)))


def imagenet(architecture: str) -> Weights:
    """Return torchvision's ImageNet weights of `resnet18` or `resnet34`, with their statistics.

    They come from torch hub's cache, this project's downloads, `weights/` of the mirror or the
    internet, in this order, and have the published checksum. The file can hold only numbers.

    Raises:
        Unavailable: none of these has them; one line that says how to get the file.
    """
    archive = imagenet_archive(architecture)
    path = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(archive.path).name
    if not sources.has_checksum(path, archive.checksum):
        try:
            path = sources.fetch(archive)
        except sources.Unavailable as error:
            raise sources.Unavailable(
                f"ImageNet weights for {architecture} are not here: connect to the internet, or "
                f"put {archive.urls[0]} into torch hub's checkpoints or weights/ of a mirror."
            ) from error
    model = getattr(torchvision.models, architecture)(weights=None)
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    body = nn.Sequential(*list(model.children())[:-2]).state_dict()  # no pooling, no classes
    preset = torchvision.models.get_model_weights(architecture).IMAGENET1K_V1.transforms()
    return Weights("ImageNet", (tuple(preset.mean), tuple(preset.std)), architecture, body)


def imagenet_archive(architecture: str) -> sources.Archive:
    """Return the file with torchvision's ImageNet weights."""
    url = torchvision.models.get_model_weights(architecture).IMAGENET1K_V1.url
    name = f"weights/{PurePosixPath(url).name}"
    return sources.Archive(name, f"sha256:{_SHA256[architecture]}", (url,))


def save_body(learn: Learner, path: Path, name: str) -> None:
    """Save all but the head of a trained model as safetensors, which hold no code.

    Args:
        learn: from `learner`.
        path: where to, such as in `reporting.artifacts_folder`.
        name: what it was trained on.
    """
    body = {key: value.contiguous() for key, value in learn.model[0].state_dict().items()}
    facts = {
        "name": name,
        "architecture": learn.arch.__name__,
        "size": learn.dls.size,
        "statistics": learn.dls.statistics,
    }
    with sources.written(path) as unfinished:
        in_header = {key: json.dumps(value) for key, value in facts.items()}
        unfinished.write_bytes(to_safetensors(body, in_header))


def load_body(path: Path, hint: str = "Run the notebook that saves it.") -> Weights:
    """Return what `save_body` saved.

    Raises:
        Unavailable: there is no such file; one line that ends with `hint`.
    """
    if not path.exists():
        raise sources.Unavailable(f"{path.name} is not here. {hint}")
    with safe_open(path, framework="pt") as file:
        facts = {key: json.loads(value) for key, value in file.metadata().items()}
        body = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict
    mean, std = map(tuple, facts["statistics"])
    return Weights(facts["name"], (mean, std), facts["architecture"], body)


# --------------------------------------------------------------------------------------- learners


# fastai's own Adam takes up to a quarter of an epoch on a CPU; PyTorch's fused one, with the same
# settings, a third of that.
_ADAMW = partial(torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-5, fused=True)


def learner(
    dls: DataLoaders,
    architecture: str,
    weights: Weights,
    folder: Path,
    precision: torch.dtype = torch.float32,
    checkpoint: Path | None = None,
    **options: object,
) -> Learner:
    """Return fastai's `vision_learner` that starts from `weights` and reports quietly.

    With weights given, all but the head (and batch normalisation) is frozen, as fastai does it.

    Args:
        dls: from `dataloaders`, with the statistics of `weights`.
        architecture: `resnet18`, `resnet34` or another of torchvision's.
        weights: from `imagenet`, `load_body` or `scratch`.
        folder: for `learn.save`, `learn.export` and what `lr_find` puts aside.
        precision: from `Profile.precision`; in bfloat16, images also lie channels last.
        checkpoint: a folder in which every fit keeps its state, as `training.fit` does.
        options: passed on to `vision_learner`.

    Raises:
        ValueError: `weights` are of another architecture.
    """
    if weights.architecture not in (None, architecture):
        raise ValueError(f"The weights are of {weights.architecture}, the model is {architecture}.")
    channels = len(dls.statistics[0])
    # Neither `pretrained` nor `normalize`: the weights are ours, and batches are normalised.
    defaults = {"pretrained": False, "normalize": False, "metrics": accuracy, "model_dir": "."}
    defaults["opt_func"] = partial(OptimWrapper, opt=_ADAMW)
    learn = vision_learner(
        dls,
        getattr(torchvision.models, architecture),
        n_in=channels,
        path=Path(folder),
        **defaults | options,
    )
    if weights.body:
        first = weights.body["0.weight"]
        if first.shape[1] != channels:  # equal channels then give what they gave before
            first = first.sum(1, keepdim=True).repeat(1, channels, 1, 1) / channels
        learn.model[0].load_state_dict(weights.body | {"0.weight": first})
        learn.freeze()
    learn.model = networks.fast_on_small_maps(learn.model)
    if precision == torch.bfloat16:
        learn.model = Bfloat16(*learn.model).to(memory_format=torch.channels_last)
    learn.path.mkdir(parents=True, exist_ok=True)
    learn.remove_cb(ProgressCallback)
    learn.logger = _silent
    learn.add_cb(EpochTable(f"{architecture}, {weights.name}"))
    return learn.add_cb(Checkpoint(checkpoint)) if checkpoint else learn


class Bfloat16(nn.Sequential):
    """A model that computes in bfloat16 where that is precise enough; its weights stay float32.

    fastai's `to_bf16` does nothing on a CPU, and stays switched on when training is interrupted.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits float32 `[b, classes]`."""
        with torch.autocast(inputs.device.type, torch.bfloat16):
            logits = super().forward(inputs)
        return logits.float()


def load_exported(path: Path) -> Learner:
    """Return what `learn.export` saved, on the CPU.

    An exported learner is a pickle, and loading one runs whatever it says: load only files that
    you made yourself. Files of `learn.save` and of `save_body` cannot hold programs.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*insecure pickle module")  # it is said above
        return load_learner(path)


def _silent(line: Sequence) -> None:
    """Stand in for fastai's logger, which would print a raw list in each epoch."""


class EpochTable(Callback):
    """Measures what `training.fit` measures, and shows it in one table at the end of each fit.

    fastai's own display leaves residue in saved notebooks, its training loss is a moving average,
    and it has no training accuracy. Meanwhile a bar is shown where `progress.Progress` shows one.

    Args:
        name: what figures and tables call the model.
    """

    order = 60  # after fastai's own

    def __init__(self, name: str) -> None:
        """Begin with an empty history, to which every fit of the learner adds."""
        super().__init__()
        self.history, self.batches = History(name), []

    def __call__(self, event_name: str) -> None:
        """Take part in fits only: lr_find, validate and get_preds set another logger."""
        if self.learn.logger is _silent:
            super().__call__(event_name)

    def before_fit(self) -> None:
        """Show the bar."""
        self.first = self.history.epochs
        self.bar = Progress(self.history, self.first + self.n_epoch, len(self.dls.train))
        self.bar.__enter__()

    def before_epoch(self) -> None:
        """Expect nothing: the epoch may be skipped."""
        self.trained = None

    def before_train(self) -> None:
        """Start the clock."""
        self.batches, self.started = [], time.perf_counter()

    def after_batch(self) -> None:
        """Keep the sum of the losses, the number of right answers and that of images."""
        labels = self.yb[0]
        right = (self.pred.argmax(1) == labels).sum()
        self.batches.append((self.learn.loss.detach() * len(labels), right, len(labels)))
        if self.training:
            self.bar.batch_done()

    def before_validate(self) -> None:
        """Stop the clock."""
        self.trained = (*self._means(), time.perf_counter() - self.started)

    def after_epoch(self) -> None:
        """Add the epoch to the history, unless it was skipped."""
        if not self.trained:
            return
        *trained, seconds = self.trained
        seconds += self.history.seconds[-1] if self.history.epochs else 0
        measured = (*trained, *self._means(), seconds)
        for entry, value in zip(fields(History)[1:], measured, strict=True):
            getattr(self.history, entry.name).append(value)
        self.bar.epoch_done()

    def after_fit(self) -> None:
        """Put the table in the place of the bar."""
        import pandas as pd
        from IPython.display import display

        self.bar.__exit__(CancelFitException, None, None)  # without its line: the table has it
        del self.bar
        history = self.history
        columns = {
            "train loss": history.train_loss,
            "validation loss": history.validation_loss,
            "accuracy": history.validation_accuracy,
        }
        table = pd.DataFrame(columns, range(1, history.epochs + 1)).map("{:.4f}".format)
        seconds = pd.Series(history.seconds, table.index)
        table["seconds"] = (seconds - seconds.shift(fill_value=0)).map("{:.1f}".format)
        display(table[self.first :].rename_axis("epoch"))

    def _means(self) -> tuple[float, float]:
        loss, right, images = map(sum, zip(*self.batches, strict=True))
        self.batches = []
        return float(loss) / images, float(right) / images


class Checkpoint(Callback):
    """Keeps the state of a fit after each epoch, and takes it up again, as `training.fit` does.

    fastai's own callbacks keep a model, but neither the order of the images nor the random numbers.

    Args:
        folder: of the files, one for each fit that begins in another way.
    """

    order = 61  # after EpochTable, whose history is a part of the state

    def __init__(self, folder: Path) -> None:
        """Remember the folder."""
        super().__init__()
        self.folder = folder

    def __call__(self, event_name: str) -> None:
        """Take part where EpochTable does."""
        if self.learn.logger is _silent:
            super().__call__(event_name)

    def before_fit(self) -> None:
        """Go back to where such a fit was interrupted."""
        images, size, statistics = (
            getattr(self.dls.train.dataset, part) for part in ("images", "size", "statistics")
        )
        schedules = self.learn.param_scheduler.scheds if hasattr(self, "param_scheduler") else {}
        how = {
            "state": self._state(),
            "images": [images, self.dls.train.dataset.labels],
            "rates": {
                name: [np.asarray(rate(done)).tolist() for done in np.linspace(0, 1, 9)]
                for name, rate in schedules.items()
            },
            "learning": [weights.requires_grad for weights in self.learn.model.parameters()],
            "settings": checkpoints.settings(
                self.n_epoch, self.dls.train.bs, size, statistics,
                self.dls.train.augment, self.learn.loss_func,
            ),
        }  # fmt: skip
        name = self.learn.epoch_table.history.name
        self.file = checkpoints.path(self.folder, name, how)
        self.first, before = 0, self.learn.epoch_table.history.epochs
        if self.file.exists():
            self._restore(checkpoints.load(self.file))
            self.first = self.learn.epoch_table.history.epochs - before
            print(f"{name}: goes on after epoch {self.first}, from {self.file.name}")

    def before_epoch(self) -> None:
        """Skip what was trained before."""
        if self.epoch < self.first:
            raise CancelEpochException

    def after_epoch(self) -> None:
        """Keep the state."""
        if self.epoch >= self.first:
            checkpoints.save(self.file, self._state())

    def _state(self) -> dict:
        return {
            "model": self.learn.model.state_dict(),
            "optimizer": self.learn.opt.state_dict(),
            "order": self.dls.train.rng.getstate(),
            "random": training.random_state(),
            "history": asdict(history(self.learn)),
        }

    def _restore(self, state: dict) -> None:
        self.learn.model.load_state_dict(state["model"])
        self.learn.opt.load_state_dict(state["optimizer"])
        self.dls.train.rng.setstate(state["order"])
        training.set_random_state(state["random"])
        vars(history(self.learn)).update(state["history"])


def history(learn: Learner) -> History:
    """Return what every fit of a learner has measured so far, for `reporting`."""
    return learn.epoch_table.history


# ----------------------------------------------------------------------------------- small memory


_NO_MEMORY = re.compile(
    "out of memory|(not|can't) allocate|not enough memory|alloc_failed|bad_alloc"
    "|could not create a primitive"  # oneDNN, where it finds no room for its working memory
)


def lr_find(learn: Learner) -> NamedTuple:
    """Run fastai's learning-rate finder on `learn`, show its plot and return what it suggests.

    Its `valley` is a learning rate (a float) at which the loss falls steeply. The weights, and the
    optimizer's state, are afterwards what they were.

    fastai stops as soon as the loss has grown fourfold. Where the loss is small already, one
    difficult batch at the start does that, and there is nothing to suggest from; then all 100
    batches are tried, up to a learning rate of 1.
    """
    try:
        return learn.lr_find()
    except IndexError:
        return learn.lr_find(end_lr=1, stop_div=False)


class ClassificationInterpretation(interpret.ClassificationInterpretation):
    """fastai's, but the model answers only once for the confusion matrix, however often it is used.

    And scikit-learn counts; on the way fastai makes `classes × classes × images` numbers.
    """

    @cached_property
    def _counts(self) -> np.ndarray:
        _, labels, answers = self.learn.get_preds(dl=self.dl, with_decoded=True, act=self.act)
        return confusion_matrix(labels, answers, labels=range(len(self.vocab)))

    def confusion_matrix(self) -> np.ndarray:
        """Return int64 `[classes, classes]`: how often each label (row) got each answer."""
        return self._counts.copy()  # most_confused empties the diagonal of what it gets


def batch_size_that_fits(make: Callable[[int], Learner], largest: int) -> int:
    """Return `largest`, its half, quarter, …: the first with which training steps fit in memory.

    One line is printed that says which it is, and why. Two steps are tried, because from the second
    on the optimizer's state is there, too; nothing is frozen in them, as that needs most. It
    helps on a GPU; a CPU's system often promises more memory than it has.

    Args:
        make: returns a new learner for a batch size; it is used for two steps only.
        largest: the batch size to begin with.

    Raises:
        MemoryError: not even one image fits.
    """
    size, reason = largest, "fits in memory"
    while size:
        fits = False
        try:
            _two_steps(make(size))
            fits = True
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and not _NO_MEMORY.search(str(error).lower()):
                raise
        # The learner refers to itself, and an error holds on to it until `except` is left.
        gc.collect()
        torch.cuda.empty_cache()
        if fits:
            print(f"Batch size {size}: {reason}.")
            return size
        size, reason = size // 2, f"{size} images do not fit in memory"
    raise MemoryError("Not even one image fits in memory: take a smaller side or a smaller model.")


def _two_steps(learn: Learner) -> None:
    learn.unfreeze()
    with learn.no_logging():
        learn.fit(2, cbs=_StopAfterTwoBatches())


class _StopAfterTwoBatches(Callback):
    def after_batch(self) -> None:
        if self.learn.train_iter == 2:
            raise CancelFitException
