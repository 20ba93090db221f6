"""Write the measured results into the README, between its markers."""

from __future__ import annotations

import json
import re
import statistics

from course import promises
from nbhelpers.sources import project_folder, written

PLACE = "full-cpu"  # the committed reference


def write() -> int:
    """Bring README.md and its picture up to date; return 0."""
    from nbhelpers.reporting import ladder_figure

    promises.take_over(project_folder())
    path = project_folder() / "README.md"
    with path.open(encoding="utf-8", newline="") as file:
        line_end = "\r\n" if "\r\n" in file.read() else "\n"  # as the checkout has it
    text = updated(path.read_text(encoding="utf-8"))
    with written(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline=line_end)
    figure = ladder_figure(by_data_set(records()))
    picture = project_folder() / "results" / "ladder.png"
    with written(picture) as unfinished:
        options = {"format": "png", "metadata": {"Software": None}, "bbox_inches": "tight"}
        figure.savefig(unfinished, **options)
    print(f"{path.name} and results/ladder.png are up to date")
    return 0


def records(place: str = PLACE) -> list[dict]:
    """Return the results records of one run, in the order of the notebooks."""
    folder = project_folder() / "results" / place
    paths = sorted(folder.glob("*.json"), key=lambda path: path.stem)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def by_data_set(entries: list[dict]) -> dict[str, list[dict]]:
    """Return results records by the name of what was trained and tested on, first seen first."""
    groups: dict[str, list[dict]] = {}
    for entry in entries:
        groups.setdefault(entry["data"]["name"], []).append(entry)
    return groups


def updated(text: str) -> str:
    """Return the README's text with the tables between their markers made anew."""
    compared = next((entry for entry in records() if "costs" in entry), {})
    tables = [table(entries, compared) for entries in by_data_set(records()).values()]
    for name, content in (
        ("results", "\n\n".join([*tables, conditions(records())])),
        ("wild", wild(records())),
        ("bench", bench(records("bench-cpu"))),
        ("promises", promises.table(project_folder())),
    ):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
        if not pattern.search(text):
            raise ValueError(f"README.md has no place for the {name}: {begin} … {end}")
        whole = f"{begin}\n{content}\n{end}"
        text = pattern.sub(lambda _, whole=whole: whole, text)
    return text


def table(entries: list[dict], compared: dict) -> str:
    """Return a Markdown table of one data set's records, the published numbers beside ours.

    Args:
        entries: the records.
        compared: notebook 10's record, with the costs and the seeds; empty where there is none.
    """
    data = entries[0]["data"]
    lines = [
        f"**{data['name']}**: {data['train']:,} training, {data['validation']:,} validation, "
        f"{data['test']:,} test images; fingerprint `{data['fingerprint']}`.\n",
        "| notebook | model | published | test accuracy | 95 % interval | over seeds "
        "| averaged over classes | parameters | multiply-adds | training |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    costs = compared.get("costs", {}).get(data["name"], {})
    seeds = compared.get("seeds", {}).get(data["name"], {})
    for entry in entries:
        name = entry["notebook"]
        for m in entry["models"]:
            low, high = m["test_ci95"]
            published = f"{m['published']:.4f}" if m["published"] else "–"
            link = f"[{name[:2]}](notebooks/{name}.ipynb)"
            work = costs.get(m["name"], {}).get("multiply-adds")
            lines.append(
                f"| {link} | {m['name']} | {published} | **{m['test_accuracy']:.4f}** "
                f"| {low:.4f} to {high:.4f} | {_over_seeds(seeds.get(m['name']))} "
                f"| {m['test_class_averaged_accuracy']:.4f} | {m['parameters']:,} "
                f"| {f'{work:,}' if work else '–'} | {m['train_seconds']:.0f} s |"
            )
    return "\n".join(lines)


def _over_seeds(accuracies: list[float] | None) -> str:
    if not accuracies:
        return "–"
    return f"{statistics.mean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f}"


def conditions(entries: list[dict]) -> str:
    """Return where the records were measured: the machine of most notebooks, then the others.

    Args:
        entries: the results records of one profile, at least one.
    """
    machines: dict[str, dict[str, None]] = {}
    for entry in entries:
        where = "{threads} CPU cores ({device}) with torch {torch}".format(**entry["environment"])
        machines.setdefault(where, {})[entry["notebook"][:2]] = None  # a notebook may have two
    (usual, _), *others = sorted(machines.items(), key=lambda item: -len(item[1]))
    exceptions = "".join(
        f"; notebook{'s' if len(numbers) > 1 else ''} {', '.join(numbers)} on {where}"
        for where, numbers in others
    )
    return (
        f"Measured on the real data at the `{entries[0]['profile']}` profile, on {usual}"
        f"{exceptions}. "
        "Training seconds leave validation out. “Published” is the test accuracy that the recipe "
        "reports. “Over seeds” is the mean of several trainings and their standard deviation, "
        "multiply-adds are those of one image (both measured in notebook 10)."
    )


def wild(entries: list[dict]) -> str:
    """Return a Markdown table of what was read on pictures from outside, as notebook 9 records it.

    It is empty where notebook 9 has not been run.
    """
    measured = next((entry["wild"] for entry in entries if "wild" in entry), {})
    lines = [
        "| test images of | as published: mean (worst) | prepared by `ink`: mean (worst) |",
        "|---|---|---|",
    ]
    for form, conditions in measured.items():
        cells = []
        for way in ("published_way", "ours"):
            values = [accuracies[way] for accuracies in conditions.values()]
            worst = min(conditions, key=lambda name, way=way: conditions[name][way])
            mean = sum(values) / len(values)
            cells.append(f"{mean:.3f} ({conditions[worst][way]:.3f}, {worst})")
        name = {"mnist": "MNIST, LeNet", "tamil": "HPL Tamil, compact CNN"}[form]
        lines.append(f"| {name} | {cells[0]} | **{cells[1]}** |")
    return "\n".join(lines) if measured else ""


def bench(entries: list[dict]) -> str:
    """Return what `make bench` measured, as far as there are records of it."""
    parts = [speed(e) for e in entries if "contests" in e]
    parts += [loading(e) for e in entries if "our_loader" in e]
    return "\n\n".join(parts + [waiting(e) for e in entries if "milliseconds_a_step" in e])


def speed(entry: dict) -> str:
    """Return a Markdown table of the ways of training, under a line on the processor."""
    lines = [
        f"On {_processor(entry)}:\n",
        "| network, to test accuracy | way | seconds an epoch | epochs | seconds | times faster |",
        "|---|---|---|---|---|---|",
    ]
    for contest, measured in entry["contests"].items():
        least = "at least " if measured.get("at_least") else ""
        ratio = f"{least}**{measured['speed_up']:.1f}**" if "speed_up" in measured else ""
        for way in ("published", "before", "ours"):
            if got := measured.get(way):
                given_up = "" if got["reached"] else ", given up"
                network = got.get("network", contest)  # R5 trains another than we do
                lines.append(
                    f"| {network}, {measured['mark']:.3f} | {way} | {got['seconds_an_epoch']:.2f} "
                    f"| {_epochs(got['epochs'])} | {got['seconds']:.1f}{given_up} "
                    f"| {ratio if way == 'ours' else ''} |"
                )
    return "\n".join(lines)


def waiting(entry: dict) -> str:
    """Return a Markdown table of what threads that wait cost."""
    lines = [
        f"A training step in milliseconds, on {_processor(entry)}. Threads that wait for one "
        "another keep a core busy as libgomp comes, and for a shorter time with our setting "
        "(`nbhelpers/waiting_threads.pth`):\n",
    ]
    for name, by_company in entry["milliseconds_a_step"].items():
        for beside, times in by_company.items():
            if len(lines) == 1:
                lines.append("| network | beside | " + " | ".join(times) + " |")
                lines.append("|---|---|" + "---|" * len(times))
            numbers = " | ".join(f"{value:.1f}" for value in times.values())
            lines.append(f"| {name} | {beside} | {numbers} |")
    return "\n".join(lines)


def _processor(entry: dict) -> str:
    facts = entry["environment"]
    where = "{threads} cores ({device})".format(**facts)
    if "numbers" in facts:
        where += ", {instructions} instructions, training in {numbers}".format(**facts)
    return where


def _epochs(count: float) -> str:
    return str(count) if isinstance(count, int) else f"{count:.2f}"


def loading(entry: dict) -> str:
    """Return a Markdown table of the ways in which images reach a model, and what ours costs."""
    side, loader = entry["side"], entry["our_loader"]
    shares = {name: f"{100 * share:.1f} %" for name, share in loader["shares"].items()}
    lines = [
        f"How images reach a ResNet-34 at {side}×{side} pixels: one epoch of training on the "
        f"{entry['epoch']:,} images of MNIST, scaled up from {entry['measured']:,}.\n",
        "| way | batch | numbers | frozen, seconds an epoch | unfrozen, seconds an epoch |",
        "|---|---|---|---|---|",
    ]
    for way, got in entry["ways"].items():
        lines.append(
            f"| {way} | {got['batch']} | {got['precision']} "
            f"| {got['frozen']:.1f} | {got['unfrozen']:.1f} |"
        )
    lines.append(
        f"\nOur loader alone takes {loader['seconds']:.1f} s an epoch: "
        f"{shares['unfrozen']} of an unfrozen epoch (promised: at most "
        f"{100 * loader['promise']:.0f} %) and {shares['frozen']} of a frozen one."
    )
    return "\n".join(lines)
