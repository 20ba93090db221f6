"""Set the results of the runs on this machine beside the committed reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from course import execute
from nbhelpers.sources import artifacts_root, project_folder

REFERENCE = "full-cpu"  # where nothing is committed for a run's own profile and device
_HEADS = (
    "notebook", "model", "run", "test", "reference", "of", "difference", "expected band", "in band",
)  # fmt: skip


def run(wanted: list[str], profile: str | None = None) -> int:
    """Print a line for each model; return 1 if one lies outside its expected band, else 0.

    Args:
        wanted: numbers such as `01`, or the beginning of a name; all notebooks if empty.
        profile: only runs of this one; all of them if None.

    Raises:
        FileNotFoundError: `wanted` names a notebook that does not exist, or nothing has been run.
    """
    root = project_folder()
    names = {path.stem for path in execute.find(root / "notebooks", wanted)}
    runs = _models(artifacts_root(), f"{profile or '*'}-*/records", names)
    reference = _models(root / "results", "*-*", names)
    if not runs:
        raise FileNotFoundError(
            f"{artifacts_root()}: no results of such a run. `make run` executes the notebooks."
        )
    _print_table([row(model, reference) for model in runs])
    missing = {model["notebook"] for model in reference} - {model["notebook"] for model in runs}
    outside = [f"{m['name']} ({m['place']})" for m in runs if not m["in_band"]]
    print(f"\nnot run here: {', '.join(sorted(missing)) or 'none'}")
    print(f"outside the expected band: {', '.join(outside) or 'none'}")
    return int(bool(outside))


def row(model: dict[str, Any], reference: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the cells of a model's line.

    Its reference is the one of its own profile and device, else that of `full-cpu`. A model that
    was trained and tested on the sample has none.
    """
    same = {
        r["place"]: r["test_accuracy"]
        for r in reference
        if (r["notebook"], r["name"]) == (model["notebook"], model["name"])
    }
    place = model["place"] if model["place"] in same else REFERENCE
    accuracy, (low, high) = model["test_accuracy"], model["expected_band"]
    if place in same and not model["place"].endswith("-sample"):
        beside = (f"{same[place]:.4f}", place, f"{accuracy - same[place]:+.4f}")
    else:
        beside = ("–", "–", "–")
    return (
        model["notebook"][:2], model["name"], model["place"], f"{accuracy:.4f}", *beside,
        f"{low:g} to {high:g}", "yes" if model["in_band"] else "NO",
    )  # fmt: skip


def _models(folder: Path, places: str, names: set[str]) -> list[dict[str, Any]]:
    """Return the models in the records of these notebooks, in their order, with `place` each."""
    found = []
    for path in sorted(folder.glob(f"{places}/[0-9][0-9]_*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        if entry["notebook"] in names:
            known = {"notebook": entry["notebook"], "place": path.relative_to(folder).parts[0]}
            found += [model | known for model in entry["models"]]
    return found


def _print_table(rows: list[tuple[str, ...]]) -> None:
    lines = [_HEADS, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip())
