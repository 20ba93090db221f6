"""Figures, styled by `notebooks/matplotlibrc` and with alternative texts, and tables."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from nbhelpers.data import Split
from nbhelpers.records import Result
from nbhelpers.training import History


def show(figure: Figure, alt: str) -> None:
    """Show a figure with its alternative text (for readers who cannot see it), and close it."""
    from IPython.display import display

    drawn, png = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    plt.close(figure)
    # 256 colours, chosen for this picture, look the same and halve the size of a notebook.
    few = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(png, format="png", optimize=True)
    data = {"image/png": png.getvalue(), "text/plain": f"<figure: {alt}>"}
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def show_images(
    images: torch.Tensor, captions: Sequence[str], title: str, columns: int = 10
) -> None:
    """Show pictures in a grid, ink dark on light paper, each with its caption.

    `images` are uint8 or float `[n, height, width]`; larger values are ink.
    """
    rows = max(1, -(-len(images) // columns))
    lines = 1 + max((caption.count("\n") for caption in captions), default=0)
    size = columns * 0.92, rows * (0.92 + 0.2 * lines) + 0.4
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, caption in zip(axes.flat, images, captions, strict=False):
        axis.imshow(image.cpu().numpy(), cmap="gray_r")
        axis.set_title(caption, fontsize=9)
    figure.suptitle(title)
    words = ", ".join(caption.replace("\n", " ") for caption in captions)
    shape = f"{len(images)} pictures in {rows} {'row' if rows == 1 else 'rows'}"
    show(figure, f"{title}: {shape}, captioned {words}.")


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
                how = {"color": f"C{number}", "marker": "o" if history.epochs == 1 else None}
                how["fillstyle"] = "none" if part == "train" else "full"
                how["label"] = f"{history.name}, {part}" if len(histories) > 1 else part
                axis.plot(epochs, getattr(history, f"{part}_{what}"), line, **how)
            axis.set(xlabel="epoch", ylabel=what)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5], min_n_ticks=1))
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
    """Show how often each true class (row) was taken for each class (column), int64 `[n]` both."""
    counts = _confusion(labels, predictions, classes)
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
    worst = most_confused(labels, predictions, classes, 3)
    pairs = "; ".join(f"{true} taken for {taken}: {count} times" for true, taken, count in worst)
    show(figure, f"Confusion matrix of {len(labels)} images. Most frequent mistakes: {pairs}.")


def show_mistakes(
    split: Split, probabilities: torch.Tensor, title: str, count: int = 20
) -> torch.Tensor:
    """Show the wrongly classified images on which the model was surest of its wrong answer.

    `probabilities` are float32 `[n, classes]`, of the images in `split`. Returns int64 `[k]`, the
    rows of the images shown, at most `count`.
    """
    sureness, predicted = probabilities.max(1)
    wrong = (predicted != split.labels).nonzero()[:, 0]
    rows = wrong[sureness[wrong].argsort(descending=True)][:count]
    truth, answers = ([split.classes[i] for i in ids[rows]] for ids in (split.labels, predicted))
    told = zip(truth, answers, sureness[rows], strict=True)
    captions = [f"{true} as {answer}\n{sure:.2f}" for true, answer, sure in told]
    show_images(split.images[rows], captions, title)
    return rows


def most_confused(
    labels: torch.Tensor, predictions: torch.Tensor, classes: Sequence[str], count: int = 10
) -> list[tuple[str, str, int]]:
    """Return `(true class, predicted class, times)` of the most frequent mistakes."""
    counts = _confusion(labels, predictions, classes)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:count]
    pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [(classes[i], classes[j], int(counts[i, j])) for i, j in pairs if counts[i, j]]


def _confusion(
    labels: torch.Tensor, predictions: torch.Tensor, classes: Sequence[str]
) -> np.ndarray:
    from sklearn.metrics import confusion_matrix  # takes a second or two to import

    return confusion_matrix(labels, predictions, labels=range(len(classes)))


def result_table(results: Sequence[Result]) -> None:
    """Show results as a table: what was measured, how surely, and at what cost."""
    import pandas as pd
    from IPython.display import display

    rows = [
        {
            "model": result.name,
            "parameters": f"{result.parameters:,}",
            "epochs": result.epochs,
            "training": f"{result.train_seconds:.0f} s",
            "validation": f"{result.validation_accuracy:.4f}",
            "test": f"{result.test_accuracy:.4f}",
            "95 % interval": "{:.4f} to {:.4f}".format(*result.test_ci95),
        }
        for result in results
    ]
    display(pd.DataFrame(rows).set_index("model"))
