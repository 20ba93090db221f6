"""Figures, numbers with their uncertainty, and the results record.

Every figure has a title, labelled axes and an alternative text made from what it shows.
"""

from __future__ import annotations

import io
import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from nbhelpers.data import Dataset, Split
from nbhelpers.profile import Profile
from nbhelpers.sources import artifacts_root, written
from nbhelpers.training import History, parameter_count

plt.style.use("tableau-colorblind10")
plt.rcParams.update({"figure.dpi": 96, "figure.constrained_layout.use": True, "image.cmap": "gray"})


# ----------------------------------------------------------------------------------- figures


def show(figure: Figure, alt: str) -> None:
    """Show a figure with its alternative text (for readers who cannot see it), and close it."""
    from IPython.display import display

    drawn, png = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    plt.close(figure)
    # 256 colours, chosen for this picture, look the same and halve the size of a notebook.
    few = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(png, format="png", optimize=True)
    display(
        {"image/png": png.getvalue(), "text/plain": f"<figure: {alt}>"},
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )


def show_images(
    images: torch.Tensor, captions: Sequence[str], title: str, columns: int = 10
) -> None:
    """Show pictures in a grid, ink dark on light paper, each with its caption.

    Args:
        images: uint8 or float `[n, height, width]`, larger values are ink.
        captions: what to write above each.
        title: what to write above all.
        columns: pictures a row.
    """
    rows = -(-len(images) // columns)
    lines = 1 + max((caption.count("\n") for caption in captions), default=0)
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * 0.92, rows * (0.92 + 0.2 * lines) + 0.4), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, caption in zip(axes.flat, images, captions, strict=False):
        axis.imshow(image.cpu().numpy(), cmap="gray_r")
        axis.set_title(caption, fontsize=9)
    figure.suptitle(title)
    words = ", ".join(caption.replace("\n", " ") for caption in captions)
    show(figure, f"{title}: {len(images)} pictures in {rows} rows, captioned {words}.")


def curves_figure(histories: Sequence[History], title: str | None = None) -> Figure:
    """Return a figure of loss and accuracy against epoch, one colour a run.

    Dashed lines are training, solid ones validation; of a run of one epoch there are only dots,
    hollow for training and filled for validation.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for number, history in enumerate(histories):
        epochs = np.arange(1, history.epochs + 1)
        for axis, what in zip(axes, ("loss", "accuracy"), strict=True):
            for part, line in (("train", "--"), ("validation", "-")):
                axis.plot(
                    epochs,
                    getattr(history, f"{part}_{what}"),
                    line,
                    color=f"C{number}",
                    marker="o" if history.epochs == 1 else None,
                    fillstyle="none" if part == "train" else "full",
                    label=f"{history.name}, {part}" if len(histories) > 1 else part,
                )
            axis.set(xlabel="epoch", ylabel=what)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].legend(fontsize=8)
    figure.suptitle(title or f"Learning curves: {', '.join(h.name for h in histories)}")
    return figure


def show_curves(histories: History | Sequence[History], title: str | None = None) -> None:
    """Show loss and accuracy against epoch, for one run or several together."""
    histories = [histories] if isinstance(histories, History) else histories
    figure = curves_figure(histories, title)
    ends = "; ".join(
        f"{h.name}: validation accuracy {h.validation_accuracy[0]:.3f} after the first epoch, "
        f"{h.validation_accuracy[-1]:.4f} after epoch {h.epochs}"
        for h in histories
    )
    show(figure, f"Line plots of loss and accuracy against epoch. {ends}.")


def show_confusion(
    labels: torch.Tensor, predictions: torch.Tensor, classes: Sequence[str], title: str
) -> None:
    """Show how often each true class (row) was taken for each class (column).

    Args:
        labels: int64 `[n]`, the truth.
        predictions: int64 `[n]`.
        classes: the text of each class.
        title: what to write above.
    """
    counts = confusion_matrix(labels, predictions, labels=range(len(classes)))
    mistakes = counts - np.diag(np.diag(counts))
    figure, axis = plt.subplots(figsize=(6.2, 5.4))
    # Only mistakes are coloured, zeros are left empty: the diagonal would drown the rest.
    axis.imshow(np.eye(len(classes)), cmap="Greys", vmax=6)
    shown = np.ma.masked_equal(mistakes, 0)
    axis.imshow(shown, cmap="Oranges", vmin=0, vmax=max(1, 1.4 * mistakes.max()))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axis.text(column, row, count, ha="center", va="center", fontsize=8)
    axis.set_xticks(range(len(classes)), classes)
    axis.set_yticks(range(len(classes)), classes)
    axis.set(title=title, xlabel="predicted", ylabel="true")
    pairs = "; ".join(
        f"{true} taken for {taken} {count} times"
        for true, taken, count in most_confused(labels, predictions, classes, 3)
    )
    show(figure, f"Confusion matrix of {len(labels)} images. Most frequent mistakes: {pairs}.")


def show_mistakes(
    split: Split, probabilities: torch.Tensor, title: str, count: int = 20
) -> torch.Tensor:
    """Show the wrongly classified images on which the model was surest of its wrong answer.

    Args:
        split: the images and their labels.
        probabilities: float32 `[n, classes]`, of the same images in the same order.
        title: what to write above.
        count: how many at most.

    Returns:
        int64 `[k]`, the rows of the images shown.
    """
    sureness, predicted = probabilities.max(1)
    wrong = (predicted != split.labels).nonzero()[:, 0]
    rows = wrong[sureness[wrong].argsort(descending=True)][:count]
    truth, answers = ([split.classes[i] for i in ids[rows]] for ids in (split.labels, predicted))
    captions = [
        f"{true} as {answer}\n{sure:.2f}"
        for true, answer, sure in zip(truth, answers, sureness[rows], strict=True)
    ]
    show_images(split.images[rows], captions, title)
    return rows


# ----------------------------------------------------------------------------------- numbers


def most_confused(
    labels: torch.Tensor, predictions: torch.Tensor, classes: Sequence[str], count: int = 10
) -> list[tuple[str, str, int]]:
    """Return `(true class, predicted class, times)` of the most frequent mistakes."""
    counts = confusion_matrix(labels, predictions, labels=range(len(classes)))
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:count]
    pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [(classes[i], classes[j], int(counts[i, j])) for i, j in pairs if counts[i, j]]


def confidence_interval(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of an accuracy.

    Source: E. B. Wilson, Probable inference, 1927; computed by `scipy.stats.binomtest`.
    """
    interval = binomtest(correct, images).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Answers:
    """What a model answered on the test images, and how its training went.

    Attributes:
        predictions: uint8 `[n]`, the class that it gave each test image.
        confidence: float16 `[n]`, the probability that it gave that class.
        seconds: float32 `[epochs]`, training time until the end of each epoch.
        validation_accuracy: float32 `[epochs]`, after each epoch.
    """

    predictions: np.ndarray
    confidence: np.ndarray
    seconds: np.ndarray
    validation_accuracy: np.ndarray


@dataclass(frozen=True)
class Result:
    """One model's line of the results record; accuracies are shares, 0 to 1.

    `in_band` says whether the test accuracy lies in `expected_band`. `answers` is kept in a file
    of its own beside the record.
    """

    name: str
    recipe: str
    parameters: int
    epochs: int
    train_seconds: float
    validation_accuracy: float
    test_accuracy: float
    test_class_averaged_accuracy: float
    test_ci95: tuple[float, float]
    test_images: int
    input_size: tuple[int, int]
    expected_band: tuple[float, float]
    published: float | None
    answers: Answers | None = field(default=None, repr=False, compare=False)

    @property
    def in_band(self) -> bool:
        """Whether the test accuracy lies in the expected band."""
        low, high = self.expected_band
        return low <= self.test_accuracy <= high


def test_result(
    model: torch.nn.Module,
    history: History,
    test: Split,
    probabilities: torch.Tensor,
    *,
    recipe: str,
    band: tuple[float, float],
    published: float | None = None,
) -> Result:
    """Return the model's line of the results record, and print it.

    Args:
        model: trained; nothing about it may be chosen after this.
        history: of its training.
        test: the test split.
        probabilities: float32 `[n, classes]`, what `training.predict` gave for it: the one time
            that the model sees the test images.
        recipe: the published recipe it stands beside, such as `R1`.
        band: from `Profile.band`, in which the test accuracy should lie.
        published: from `Profile.published`, the test accuracy that the recipe reports.
    """
    confidence, predictions = probabilities.max(1)
    correct = int((predictions == test.labels).sum())
    answers = Answers(
        predictions.numpy().astype(np.uint8),  # no data set here has more than 256 classes
        confidence.numpy().astype(np.float16),
        np.array(history.seconds, np.float32),
        np.array(history.validation_accuracy, np.float32),
    )
    result = Result(
        name=history.name,
        recipe=recipe,
        parameters=parameter_count(model),
        epochs=history.epochs,
        train_seconds=round(history.seconds[-1], 2),
        validation_accuracy=history.validation_accuracy[-1],
        test_accuracy=correct / len(test),
        test_class_averaged_accuracy=float(balanced_accuracy_score(test.labels, predictions)),
        test_ci95=confidence_interval(correct, len(test)),
        test_images=len(test),
        input_size=tuple(test.images.shape[1:]),
        expected_band=band,
        published=published,
        answers=answers,
    )
    low, high = result.test_ci95
    print(
        f"{result.name}: test accuracy {result.test_accuracy:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f}, {result.test_images:,} images)"
    )
    return result


test_result.__test__ = False  # pytest: a name, not a test


def record(
    run: Profile,
    dataset: Dataset,
    notebook: str,
    results: Sequence[Result],
    part: str = "",
    **more: object,
) -> Path:
    """Write what a notebook measured to `artifacts/<profile>-<cpu|gpu>/records/<notebook>.json`.

    The answers on the test images go to a file beside it that ends in `.npz`; notebook 10 compares
    the models by them. Git ignores both: only `make publish` copies them to `results/`, where the
    committed reference lies. Results on the embedded sample go to a folder of their own.

    Args:
        run: the profile it ran under.
        dataset: what was trained and tested on.
        notebook: such as `01_one_linear_layer`.
        results: one a model.
        part: a word for the file's name, where a notebook has results on a second data set.
        more: what else was measured, by name; anything that JSON can hold.

    Returns:
        The path of the record.
    """
    entry = {
        "notebook": notebook,
        "profile": run.name,
        "device": run.device.type,
        "data": {
            "name": dataset.name,
            "source": dataset.source,
            **{part: len(getattr(dataset, part)) for part in ("train", "validation", "test")},
            "fingerprint": dataset.fingerprint,
        },
        "models": [_numbers(result) | {"in_band": result.in_band} for result in results],
        **more,
        "environment": environment(run),
        "seed": run.seed,
    }
    path = _record_path(run, dataset, f"{notebook}-{part}" if part else notebook)
    beside = path.with_suffix(".npz")
    arrays = {
        f"{number}_{part.name}": getattr(result.answers, part.name)
        for number, result in enumerate(results)
        if result.answers
        for part in fields(Answers)
    }
    with written(path) as unfinished:  # both are replaced, or neither
        unfinished.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
        if arrays:
            with written(beside) as answers, answers.open("wb") as file:
                np.savez_compressed(file, **arrays)
        else:
            beside.unlink(missing_ok=True)  # the answers of an earlier run are not this one's
    shutil.rmtree(checkpoints_folder(run, dataset, notebook), ignore_errors=True)
    return path


def _numbers(result: Result) -> dict[str, object]:
    return {f.name: getattr(result, f.name) for f in fields(result) if f.name != "answers"}


def recorded(run: Profile, dataset: Dataset, notebook: str, part: str = "") -> list[Result]:
    """Return what `record` wrote for an earlier notebook, under the same profile and on this data.

    The list is empty where that notebook has not been run.
    """
    path = _record_path(run, dataset, f"{notebook}-{part}" if part else notebook)
    if not path.exists():
        return []
    entry = json.loads(path.read_text(encoding="utf-8"))
    if entry["data"]["fingerprint"] != dataset.fingerprint:
        return []
    return results_in(path)


def results_in(path: Path) -> list[Result]:
    """Return the results of a record that `record` wrote, with the answers that lie beside it.

    `answers` is None for a record of before answers were kept.

    Raises:
        FileNotFoundError: there is no record at `path`.
    """
    models = json.loads(path.read_text(encoding="utf-8"))["models"]
    beside = path.with_suffix(".npz")
    arrays = dict(np.load(beside, allow_pickle=False)) if beside.exists() else {}
    lists = ("test_ci95", "input_size", "expected_band")
    results = []
    for number, model in enumerate(models):
        values = {part.name: model[part.name] for part in fields(Result) if part.name != "answers"}
        kept = {part.name: arrays.get(f"{number}_{part.name}") for part in fields(Answers)}
        answers = None if any(array is None for array in kept.values()) else Answers(**kept)
        tuples = {name: tuple(values[name]) for name in lists}
        results.append(Result(**values | tuples, answers=answers))
    return results


def measured(run: Profile, dataset: Dataset, notebook: str, what: str) -> Any | None:
    """Return what else `record` was given by an earlier notebook under the name `what`.

    None where that notebook has not been run under the same profile and on this data.
    """
    path = _record_path(run, dataset, notebook)
    entry = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    same = entry.get("data", {}).get("fingerprint") == dataset.fingerprint
    return entry.get(what) if same else None


def artifacts_folder(run: Profile, dataset: Dataset) -> Path:
    """Return the folder for what a run keeps for later notebooks: weights and its records.

    Each profile and device has its own, and so has the embedded sample; git ignores them all.
    """
    return artifacts_root() / _place(run, dataset)


def checkpoints_folder(run: Profile, dataset: Dataset, notebook: str) -> Path:
    """Return the folder for the checkpoints of a notebook, in a run's `artifacts_folder`.

    `record` empties it: a notebook that has recorded its results is done with its trainings.
    """
    return artifacts_folder(run, dataset) / "checkpoints" / notebook


def records_folder(run: Profile, dataset: Dataset) -> Path:
    """Return the folder for the records of a run, in its `artifacts_folder`."""
    return artifacts_folder(run, dataset) / "records"


def _record_path(run: Profile, dataset: Dataset, notebook: str) -> Path:
    return records_folder(run, dataset) / f"{notebook}.json"


def _place(run: Profile, dataset: Dataset) -> str:
    return run.place + ("-sample" if dataset.source == "sample" else "")


def environment(run: Profile) -> dict[str, str | int]:
    """Return the versions and the hardware that a number was measured with."""
    on_gpu = run.device.type == "cuda"
    hardware = (
        torch.cuda.get_device_name(run.device)
        if on_gpu
        else torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    )
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "fastai")},
        "device": hardware,
        "threads": torch.get_num_threads(),
    }


def result_table(results: Sequence[Result]) -> None:
    """Show results as a table: what was measured, how surely, and at what cost."""
    import pandas as pd
    from IPython.display import display

    rows = {
        result.name: {
            "parameters": f"{result.parameters:,}",
            "epochs": result.epochs,
            "training": f"{result.train_seconds:.0f} s",
            "validation": f"{result.validation_accuracy:.4f}",
            "test": f"{result.test_accuracy:.4f}",
            "95 % interval": "{:.4f} to {:.4f}".format(*result.test_ci95),
        }
        for result in results
    }
    display(pd.DataFrame.from_dict(rows, orient="index").rename_axis("model"))


def ladder_figure(records: dict[str, list[dict]]) -> Figure:
    """Return a figure of test accuracies with their intervals, beside the published ones.

    Args:
        records: results records by the name of their data set; each gets a panel.
    """
    panels = {name: [m for e in entries for m in e["models"]] for name, entries in records.items()}
    heights = [len(models) + 1.5 for models in panels.values()]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(8, 0.34 * sum(heights)), height_ratios=heights, squeeze=False
    )
    for axis, (name, models) in zip(axes.flat, panels.items(), strict=True):
        _draw_ladder(axis, name, models)
    axes[0, 0].legend(loc="lower left")
    axes[-1, 0].set_xlabel("test accuracy")
    return figure


def _draw_ladder(axis: Axes, name: str, models: Sequence[dict]) -> None:
    rows = np.arange(len(models))[::-1]
    ours = np.array([m["test_accuracy"] for m in models])
    low, high = np.array([m["test_ci95"] for m in models]).reshape(-1, 2).T
    axis.errorbar(
        ours, rows, xerr=[ours - low, high - ours], fmt="o", capsize=3, label="ours, 95 % interval"
    )
    published = [m["published"] or np.nan for m in models]
    axis.plot(published, rows, "|", markersize=12, markeredgewidth=2, label="published", color="C1")
    axis.set_yticks(rows, [m["name"] for m in models])
    axis.set_ylim(-0.6, len(models) - 0.4)
    axis.set_title(name)
    axis.grid(axis="x", alpha=0.3)
