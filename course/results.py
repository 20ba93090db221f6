"""Read and keep what runs have measured."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nbhelpers.records import confidence_interval
from nbhelpers.records import read as read_record
from nbhelpers.sources import written
from nbhelpers.tamil.alphabet import class_table

REFERENCE = "full-cpu"  # the committed records that README and site show
TOGETHER = "all in one run"
NO = ("other", "neither")  # what a reader of the audit says of an image that is not its label


def read(path: Path) -> dict[str, Any]:
    """Return what JSON file `path` holds, or an empty dictionary where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(path: Path, content: dict[str, Any]) -> None:
    """Write `content` to the JSON file `path`, whole or not at all."""
    with written(path) as unfinished:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        unfinished.write_text(text + "\n", encoding="utf-8")


def records(folder: Path) -> list[dict[str, Any]]:
    """Return what the JSON files in `folder` hold, in the order of their names."""
    return [read(path) for path in sorted(folder.glob("*.json"), key=lambda path: path.stem)]


def by_data_set(entries: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return records by the name of what was trained and tested on, first seen first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(entry["data"]["name"], []).append(entry)
    return groups


def models(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the models in the records at `paths`, notebook by notebook.

    Each has what its record is of: `notebook`, the data's `source`, and `place`, the profile and
    the device, such as `full-cpu`, as the folder is called.
    """
    found = []
    for path in sorted(paths, key=lambda path: (path.stem, path.parent)):
        entry = read_record(path)
        folder = path.parent.parent if path.parent.name == "records" else path.parent
        about = {"notebook": entry["notebook"], "place": folder.name}
        about["source"] = entry["data"]["source"]
        found += [model | about for model in entry["models"]]
    return found


def on_audited_labels(root: Path, entry: dict[str, Any]) -> list[str]:
    """Return each model's test accuracy on HPL Tamil's audited labels, with its 95 % interval.

    `entry` is a record of the official split, whose answers lie beside it. An image of which both
    readers say no, but not what it is, is left out. `data/README.md` tells of the audit.
    """
    path = root / "results" / REFERENCE / f"{entry['notebook']}.npz"
    if not path.exists():  # a record that came without its answers
        return ["–"] * len(entry["models"])
    votes = pd.read_csv(root / "data" / "hpl_label_audit.csv", keep_default_na=False)
    votes = votes[votes.reader_1.isin(NO) & votes.reader_2.isin(NO)]
    number = {text: label for label, (text, _) in enumerate(class_table())}
    label, written = (votes[name].map(number).to_numpy() for name in ("label", "written"))
    cells = []
    with np.load(path) as kept:
        for place, model in enumerate(entry["models"]):
            answers, images = kept[f"{place}_predictions"][votes.image], model["test_images"]
            right = round(model["test_accuracy"] * images)
            right += int((answers == written).sum()) - int((answers == label).sum())
            left = images - int((votes.written == "").sum())
            low, high = confidence_interval(right, left)
            cells.append(f"**{right / left:.4f}** ({low:.4f} to {high:.4f})")
    return cells


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    ruler = "|".join(["---"] * len(heads))
    return "\n".join(
        [f"| {' | '.join(heads)} |", f"|{ruler}|", *(f"| {' | '.join(r)} |" for r in rows)]
    )


def keep_durations(place: str, seconds: dict[str, float], root: Path) -> None:
    """Write how long notebooks, and by `TOGETHER` one run of all, took into durations.json.

    `place` is the profile and the kind of device. What is not in `seconds` keeps its own.
    """
    path = root / "results" / "durations.json"
    known = read(path)
    kept = known.get(place, {}) | {name: round(value, 1) for name, value in seconds.items()}
    write(path, known | {place: dict(sorted(kept.items()))})
