"""Write what was measured into the README and into the site's page of results, between markers."""

import statistics
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course import promises, results
from course.elsewhere import links
from course.results import markdown
from nbhelpers.sources import project_folder, written

MAIN = (  # the models that the README shows
    "linear, AdamW one-cycle",
    "LeNet, AdamW one-cycle",
    "compact CNN, on digits",
    "compact CNN",
    "ResNet-18 from scratch",
)


def write() -> int:
    """Bring README.md, the page of results and the picture up to date; return 0."""
    root = project_folder()
    promises.take_over(root)
    for path, text in updated(root).items():
        line_end = "\r\n" if b"\r\n" in path.read_bytes() else "\n"  # as the checkout has it
        with written(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline=line_end)
    figure = ladder_figure(results.by_data_set(_records(root)))
    with written(root / "results" / "ladder.png") as unfinished:
        options = {"format": "png", "metadata": {"Software": None}, "bbox_inches": "tight"}
        figure.savefig(unfinished, **options)
    print("README.md, course/site/results.md and results/ladder.png are up to date")
    return 0


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


def updated(root: Path) -> dict[Path, str]:
    """Return both pages of the project with tables made anew, or raise a ValueError."""
    entries = _records(root)
    compared = next((entry for entry in entries if "costs" in entry), {})
    tables = [table(some, compared, root) for some in results.by_data_set(entries).values()]
    contents = {
        root / "README.md": {
            "minutes": minutes(root),
            "results": short_table(entries),
            "wild": wild(entries),
            "promises": promises.short_table(root),
        },
        root / "course" / "site" / "results.md": {
            "results": "\n\n".join([*tables, conditions(entries)]),
            "bench": "\n\n".join(map(speed, results.records(root / "results" / "bench-cpu"))),
            "promises": promises.table(root),
        },
    }
    if opened := links("00_looking_at_the_data"):  # else those that are there stay
        row = " · ".join(f"[{name}]({to})" for name, to in opened.items())
        contents[root / "README.md"]["links"] = f"Or open notebook 0 without installing: {row}"
    texts = {}
    for path, parts in contents.items():
        texts[path] = path.read_text(encoding="utf-8")
        above = "../" * (len(path.relative_to(root).parts) - 1)
        for name, content in parts.items():
            begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
            before, found, rest = texts[path].partition(begin)
            if not found or end not in rest:
                raise ValueError(f"{path.name} has no place for the {name}: {begin} … {end}")
            content = content.replace("](", f"]({above}")
            texts[path] = f"{before}{begin}\n{content}\n{end}{rest.partition(end)[2]}"
    return texts


def _records(root: Path) -> list[dict]:
    return results.records(root / "results" / results.REFERENCE)


def minutes(root: Path) -> str:
    """Return a Markdown table of the minutes that each notebook took, and all of them."""
    took = results.read(root / "results" / "durations.json")
    names = sorted({name for place in took.values() for name in place})
    rows = [
        [
            f"`{place.removesuffix('-cpu')}`",
            *(f"{took[place][name] / 60:.1f}" if name in took[place] else "–" for name in names),
        ]
        for place in ("quick-cpu", "full-cpu")
    ]
    heads = [str(int(name[:2])) if name[0].isdigit() else "all" for name in names]
    return markdown(["minutes", *heads], rows)


def short_table(entries: list[dict]) -> str:
    """Return a Markdown table of the models in `MAIN`."""
    heads = ["data", "notebook", "model", "published", "test accuracy", "95 % interval"]
    rows = [
        [entry["data"]["name"], _link(entry), *_accuracy(model)]
        for entry in entries
        for model in entry["models"]
        if model["name"] in MAIN
    ]
    page = (
        "\n\nEvery model, with its cost and, for Tamil, its accuracy on "
        "[labels that were read again](data/README.md): "
        "[the page of results](course/site/results.md)."
    )
    return markdown(heads, rows) + page


def table(entries: list[dict], compared: dict, root: Path) -> str:
    """Return a Markdown table of one data set's records, the published numbers beside ours.

    Costs and seeds are those of `compared`, notebook 10's record, or none where it is empty. The
    official split of HPL Tamil has one more column: accuracy on the audited labels.
    """
    data = entries[0]["data"]
    heads = [
        "notebook", "model", "published", "test accuracy", "95 % interval", "over seeds",
        "averaged over classes", "parameters", "multiply-adds", "training",
    ]  # fmt: skip
    audited = data["name"] == "HPL Tamil"
    costs, seeds = (compared.get(key, {}).get(data["name"], {}) for key in ("costs", "seeds"))
    rows = []
    for entry in entries:
        on_audited = results.on_audited_labels(root, entry) if audited else []
        for place, m in enumerate(entry["models"]):
            work = costs.get(m["name"], {}).get("multiply-adds")
            some = seeds.get(m["name"])
            rows.append([
                _link(entry), *_accuracy(m),
                f"{statistics.mean(some):.4f} ± {statistics.stdev(some):.4f}" if some else "–",
                f"{m['test_class_averaged_accuracy']:.4f}", f"{m['parameters']:,}",
                f"{work:,}" if work else "–", f"{m['train_seconds']:.0f} s",
            ])  # fmt: skip
            rows[-1][5:5] = on_audited[place : place + 1]
    heads[5:5] = ["on audited labels"] * audited
    return (
        f"**{data['name']}**: {data['train']:,} training, {data['validation']:,} validation, "
        f"{data['test']:,} test images; fingerprint `{data['fingerprint']}`.\n\n"
        + markdown(heads, rows)
    )


def _link(entry: dict) -> str:
    return f"[{entry['notebook'][:2]}](notebooks/{entry['notebook']}.ipynb)"


def _accuracy(model: dict) -> tuple[str, str, str, str]:
    published = f"{model['published']:.4f}" if model["published"] else "–"
    interval = "{:.4f} to {:.4f}".format(*model["test_ci95"])
    return model["name"], published, f"**{model['test_accuracy']:.4f}**", interval


def conditions(entries: list[dict]) -> str:
    """Return where the records of one profile were measured: most of them, then the others."""
    machines: dict[str, dict[str, None]] = {}
    for entry in entries:
        where = "{threads} CPU cores ({device}) with torch {torch}".format(**entry["environment"])
        machines.setdefault(where, {})[entry["notebook"][:2]] = None  # a notebook may have two
    (usual, _), *others = sorted(machines.items(), key=lambda item: -len(item[1]))
    places = [usual]
    for where, numbers in others:
        places.append(f"notebook{'s' * (len(numbers) > 1)} {', '.join(numbers)} on {where}")
    return (
        f"Measured on the real data at the `{entries[0]['profile']}` profile, on "
        f"{'; '.join(places)}. "
        "Training seconds leave validation out. “Published” is the test accuracy that the recipe "
        "reports. “Over seeds” is the mean of several trainings and their standard deviation, "
        "multiply-adds are those of one image (both measured in notebook 10)."
    )


def wild(entries: list[dict]) -> str:
    """Return a Markdown table of what was read on pictures from outside, as notebook 9 records it.

    It is empty where notebook 9 has not been run.
    """
    heads = ["test images of", "as published: mean (worst)", "prepared by `ink`: mean (worst)"]
    names = {"mnist": "MNIST, LeNet", "tamil": "HPL Tamil, compact CNN"}
    rows = []
    for form, measured in next((entry["wild"] for entry in entries if "wild" in entry), {}).items():
        cells = []
        for way in ("published_way", "ours"):
            found = {name: accuracies[way] for name, accuracies in measured.items()}
            worst = min(found, key=found.get)
            cells.append(f"{statistics.fmean(found.values()):.3f} ({found[worst]:.3f}, {worst})")
        rows.append([names[form], cells[0], f"**{cells[1]}**"])
    return markdown(heads, rows) if rows else ""


def speed(entry: dict) -> str:
    """Return a Markdown table of the ways of training, under a line on the processor."""
    heads = ["network, to test accuracy", "way", "seconds an epoch", "epochs", "seconds"]
    rows = []
    for contest, measured in entry["contests"].items():
        least = "at least " if measured.get("at_least") else ""
        ratio = f"{least}**{measured['speed_up']:.1f}**" if "speed_up" in measured else ""
        for way in ("published", "before", "ours"):
            if got := measured.get(way):
                epochs = got["epochs"]
                rows.append([
                    # R5 trains another network than we do.
                    f"{got.get('network', contest)}, {measured['mark']:.3f}", way,
                    f"{got['seconds_an_epoch']:.2f}",
                    str(epochs) if isinstance(epochs, int) else f"{epochs:.2f}",
                    f"{got['seconds']:.1f}{'' if got['reached'] else ', given up'}",
                    ratio if way == "ours" else "",
                ])  # fmt: skip
    facts = entry["environment"]
    where = "{threads} cores ({device})".format(**facts)
    if "numbers" in facts:  # which older records do not tell
        where += ", {instructions} instructions, training in {numbers}".format(**facts)
    return f"On {where}:\n\n" + markdown([*heads, "times faster"], rows)
