"""The picture of the README: each model's test accuracy, with its interval."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from nbhelpers.sources import project_folder


@plt.rc_context(fname=project_folder() / "notebooks" / "matplotlibrc")  # type: ignore
def ladder_figure(records: dict[str, list[dict]]) -> Figure:
    """Return a figure of test accuracies with their intervals, beside the published ones.

    Each data set, whose name `records` are listed by, gets a panel.
    """
    panels = {name: [m for e in entries for m in e["models"]] for name, entries in records.items()}
    heights = [len(models) + 1.5 for models in panels.values()]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(8, 0.34 * sum(heights)), height_ratios=heights, squeeze=False
    )
    for axis, (name, models) in zip(axes.flat, panels.items(), strict=True):
        rows = np.arange(len(models))[::-1]
        ours = np.array([m["test_accuracy"] for m in models])
        low, high = np.array([m["test_ci95"] for m in models]).reshape(-1, 2).T
        looks = {"fmt": "o", "capsize": 3, "label": "ours, 95 % interval"}
        axis.errorbar(ours, rows, xerr=[ours - low, high - ours], **looks)
        published = [m["published"] or np.nan for m in models]
        looks = {"markersize": 12, "markeredgewidth": 2, "label": "published", "color": "C1"}
        axis.plot(published, rows, "|", **looks)
        axis.set_yticks(rows, [m["name"] for m in models])
        axis.set_ylim(-0.6, len(models) - 0.4)
        axis.set_title(name)
        axis.grid(axis="x", alpha=0.3)
    axes[0, 0].legend(loc="lower left")
    axes[-1, 0].set_xlabel("test accuracy")
    return figure
