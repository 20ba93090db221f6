"""Write the measured results into the README, between its markers."""

from __future__ import annotations

import json
import re

from nbhelpers.sources import project_folder

PLACE = "full-cpu"  # the committed reference


def write() -> int:
    """Bring README.md and its picture up to date; return 0."""
    from nbhelpers.reporting import ladder_figure

    path = project_folder() / "README.md"
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
    figure = ladder_figure([m for entry in records() for m in entry["models"]])
    picture = project_folder() / "results" / "ladder.png"
    figure.savefig(picture, metadata={"Software": None}, bbox_inches="tight")
    print(f"{path.name} and results/ladder.png are up to date")
    return 0


def records(place: str = PLACE) -> list[dict]:
    """Return the results records of one run, in the order of the notebooks."""
    folder = project_folder() / "results" / place
    return [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))]


def updated(text: str) -> str:
    """Return the README's text with the tables between their markers made anew."""
    for name, content in (("results", table(records())), ("bench", speed(records("bench-cpu")))):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
        if not pattern.search(text):
            raise ValueError(f"README.md has no place for the {name}: {begin} … {end}")
        whole = f"{begin}\n{content}\n{end}"
        text = pattern.sub(lambda _, whole=whole: whole, text)
    return text


def table(entries: list[dict]) -> str:
    """Return a Markdown table of results records, with the published numbers beside ours."""
    lines = [
        "| notebook | model | published | test accuracy | 95 % interval | parameters | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in entries:
        name = entry["notebook"]
        for m in entry["models"]:
            low, high = m["test_ci95"]
            published = f"{m['published']:.4f}" if m["published"] else "–"
            link = f"[{name[:2]}](notebooks/{name}.ipynb)"
            lines.append(
                f"| {link} | {m['name']} | {published} | **{m['test_accuracy']:.4f}** "
                f"| {low:.4f} to {high:.4f} | {m['parameters']:,} | {m['train_seconds']:.0f} s |"
            )
    if entries:
        data, machine = entries[0]["data"], entries[0]["environment"]
        lines.append(
            f"\nMeasured on the real {data['name']} ({data['train']:,} training, "
            f"{data['validation']:,} validation, {data['test']:,} test images; fingerprint "
            f"`{data['fingerprint']}`) at the `{entries[0]['profile']}` profile, on "
            f"{machine['threads']} CPU cores ({machine['device']}) with torch "
            f"{machine['torch']}. Training seconds leave validation out. “Published” is the test "
            "accuracy that the recipe reports."
        )
    return "\n".join(lines)


def speed(entries: list[dict]) -> str:
    """Return a Markdown table of what `make bench` measured."""
    lines = [
        "| network, to test accuracy | way | seconds an epoch | epochs | seconds | times faster |",
        "|---|---|---|---|---|---|",
    ]
    for contest, measured in [pair for e in entries for pair in e["contests"].items()]:
        for way in ("published", "ours"):
            got = measured[way]
            faster = f"**{measured['speed_up']:.1f}**" if way == "ours" else ""
            lines.append(
                f"| {contest}, {measured['mark']:.3f} | {way} | {got['seconds_an_epoch']:.2f} "
                f"| {got['epochs']} | {got['seconds']:.1f} | {faster} |"
            )
    return "\n".join(lines)
