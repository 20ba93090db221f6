"""Set the results of the runs on this machine beside the committed reference."""

from typing import Any

import pandas as pd

from course import execute, results
from nbhelpers.sources import artifacts_root, project_folder


def run(wanted: list[str], profile: str | None = None) -> int:
    """Print a line for each model; return 1 if one lies outside its expected band, else 0.

    Wanted are numbers such as `01`, all notebooks if empty; of runs all, or those of a profile.
    """
    root = project_folder()
    names = {path.stem for path in execute.find(root / "notebooks", wanted)}
    name = "[0-9][0-9]_*.json"
    runs = results.models(artifacts_root().glob(f"{profile or '*'}-*/records/{name}"))
    runs = [model for model in runs if model["notebook"] in names]
    reference = results.models((root / "results").glob(f"*-*/{name}"))
    known = {(m["notebook"], m["name"], m["place"]): m["test_accuracy"] for m in reference}
    if not runs:
        raise FileNotFoundError(
            f"{artifacts_root()}: no results of such a run. `make run` executes the notebooks."
        )
    print(pd.DataFrame([_row(model, known) for model in runs]).to_string(index=False))
    missing = names & {m["notebook"] for m in reference} - {m["notebook"] for m in runs}
    outside = [f"{m['name']} ({m['place']})" for m in runs if not m["in_band"]]
    print(f"\nnot run here: {', '.join(sorted(missing)) or 'none'}")
    print(f"outside the expected band: {', '.join(outside) or 'none'}")
    return int(bool(outside))


def _row(model: dict[str, Any], known: dict[tuple[str, str, str], float]) -> dict[str, str]:
    """Return a model's line, by its heads.

    The reference is of its own profile and device, else of `full-cpu`. On the sample it has none.
    """
    accuracy, (low, high) = model["test_accuracy"], model["expected_band"]
    line = {
        "notebook": model["notebook"][:2], "model": model["name"], "run": model["place"],
        "test": f"{accuracy:.4f}", "reference": "–", "of": "–", "difference": "–",
        "expected band": f"{low:g} to {high:g}", "in band": "yes" if model["in_band"] else "NO",
    }  # fmt: skip
    for place in (model["place"], results.REFERENCE):
        beside = known.get((model["notebook"], model["name"], place))
        if beside is not None and not model["place"].endswith("-sample"):
            difference = f"{accuracy - beside:+.4f}"
            return line | {"reference": f"{beside:.4f}", "of": place, "difference": difference}
    return line
