"""Execute notebooks twice, each time from scratch, and say what came out differently.

What must be equal: every number that was recorded, the models' answers bit for bit, and what each
cell shows: text, tables, and pictures byte for byte. What may differ are times, and what depends
on them, and only these:

- in a record, what is named after seconds, latency or throughput, the `environment`, and the
  `sweep` of notebook 11, whose workers choose by what others have finished;
- in text, a number that s, ms, µs, min or seconds follows;
- in a table, a column headed by seconds, latency, throughput, (s), (ms) or "… a second";
- all that a cell shows whose metadata have the tag `times`, such as a figure drawn from seconds.
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
import time
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from bs4 import BeautifulSoup
from nbformat import NotebookNode

from course import execute, promises
from nbhelpers.sources import project_folder

TAG = "times"
RUNS = ("first", "second")
_TIME = re.compile(r"\d[\d.,]*(e[+-]?\d+)? ?(s|ms|µs|min|minutes?|seconds?)\b")
_TIMED = re.compile(r"seconds|latency|throughput|a second\b|\(m?s\)")
_LEFT_OUT = ("environment", "sweep")
_LONGEST = 8  # lines of a difference that are worth showing


def run(wanted: list[str], full: list[str]) -> int:
    """Execute notebooks twice below `build/verify/` and compare; return 0 if nothing differs.

    Args:
        wanted: numbers such as `01` of notebooks for the smoke profile; all of them if empty.
        full: those for the full profile; none if empty.

    Raises:
        FileNotFoundError: `wanted` or `full` names a notebook that does not exist.
        RunError: another such run is going on.
    """
    root = project_folder()
    chosen = [(path, "smoke") for path in execute.find(root / "notebooks", wanted)]
    if full:
        chosen += [(path, "full") for path in execute.find(root / "notebooks", full)]
    return verify(chosen, root / "build" / "verify")


def verify(chosen: list[tuple[Path, str]], folder: Path) -> int:
    """Execute each notebook at its profile, all of them twice, and compare; return 0 if equal.

    Args:
        chosen: paths of notebooks, each with the name of a profile, in the order of execution.
        folder: where both runs keep what they make; what they made before is removed first.

    Raises:
        RunError: another such run is going on there.
    """
    with execute.alone(folder):
        for name in RUNS:
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        twice = [(name, *each) for name in RUNS for each in chosen]
        done = all(_execute(folder, *each) for each in twice)
        return int(not done or _compare(folder, chosen) > 0)


def _execute(folder: Path, name: str, path: Path, profile: str) -> bool:
    """Execute a notebook; return whether it went well."""
    print(f"{name} run: {path.stem}, {profile} …", end=" ", flush=True)
    started = time.perf_counter()
    error = execute.notebook(
        path, _copy(folder, name, path, profile),
        NB_HEADLESS="1", NB_PROFILE=profile, NBHELPERS_ARTIFACTS=str(folder / name),
    )  # fmt: skip
    print(f"{time.perf_counter() - started:.0f} s")
    if error:
        print(error)
    return error is None


def _compare(folder: Path, chosen: list[tuple[Path, str]]) -> int:
    """Say what differs between both runs, also in `outcome.json`; return how much does."""
    print()
    found = {}
    for path, profile in chosen:
        copies = (_copy(folder, name, path, profile) for name in RUNS)
        differences, cells, left_out = _cells(*(nbformat.read(c, as_version=4) for c in copies))
        differences += _records(*(folder / name for name in RUNS), f"{profile}-*", path.stem)
        found[f"{path.stem}, {profile}"] = len(differences)
        note = f"; left out because of times: {left_out}" if left_out else ""
        amount = f"{len(differences) or 'no'} difference{'s' * (len(differences) != 1)}"
        print(f"{path.stem}, {profile}: {amount} ({cells} cells{note})")
        for difference in differences:
            print("  " + difference.replace("\n", "\n    "))
    promises.write(folder / "outcome.json", found)
    print(f"\nboth runs lie in {folder}")
    return sum(found.values())


def _copy(folder: Path, name: str, path: Path, profile: str) -> Path:
    return folder / name / f"{profile}-notebooks" / path.name


# ---------------------------------------------------------------------------------- the cells


def _cells(first: NotebookNode, second: NotebookNode) -> tuple[list[str], int, int]:
    """Return what differs between two copies, how many cells were compared, and left out."""
    differences, compared, left_out = [], 0, 0
    for number, (one, other) in enumerate(zip(first.cells, second.cells, strict=True)):
        if one.cell_type != "code":
            continue
        if TAG in one.metadata.get("tags", []):
            left_out += 1
            continue
        compared += 1
        pairs = zip_longest(_shown(one), _shown(other), fillvalue="")
        unequal = (_difference(*pair) for pair in pairs if pair[0] != pair[1])
        differences += [f"cell {number} ({one.id}): {text}" for text in unequal]
    return differences, compared, left_out


def _shown(cell: NotebookNode) -> list[str]:
    """Return what a cell shows, one entry for each output, without times."""
    return [text for output in cell.outputs for text in _texts(output)]


def _texts(output: NotebookNode) -> Iterator[str]:
    if output.output_type == "stream":
        yield without_times(output.text)
        return
    data = output.get("data", {})
    for kind, content in sorted(data.items()):
        if kind == "text/html":
            yield html_without_times(content)
        elif kind.startswith("image/"):
            yield f"{kind} {content}"
        elif kind != "text/plain" or "text/html" not in data:  # else: the same table once more
            yield without_times(str(content))


def without_times(text: str) -> str:
    """Return `text` with each time as `<time>`, and runs of spaces, which pad it, as one."""
    return re.sub(r"[ \t]+", " ", _TIME.sub("<time>", text))


def html_without_times(text: str) -> str:
    """Return the text of an HTML output, a line for each row of a table, without times.

    Its styles are left out; pandas gives each styled table names at random.
    """
    soup = BeautifulSoup(text, "html.parser")
    for style in soup("style"):
        style.decompose()
    lines = []
    for table in soup("table"):
        rows = [
            [cell.get_text(" ", strip=True) for cell in row(["th", "td"])] for row in table("tr")
        ]
        heads = rows[: len(table.thead("tr"))] if table.thead else rows[:1]
        timed = {i for row in heads for i, cell in enumerate(row) if _TIMED.search(cell)}
        for row in rows:
            cells = (
                "<time>" if i in timed and row not in heads else without_times(cell)
                for i, cell in enumerate(row)
            )
            lines.append(" | ".join(cells))
        table.decompose()
    return "\n".join([*lines, without_times(soup.get_text(" ", strip=True))])


def _difference(one: str, other: str) -> str:
    if "image/" in (one[:6], other[:6]):
        return "the picture differs"
    lines = list(difflib.unified_diff(one.splitlines(), other.splitlines(), n=0, lineterm=""))
    changed = [line for line in lines[2:] if not line.startswith("@@")]
    if len(changed) > _LONGEST:
        changed = [*changed[:_LONGEST], f"… {len(changed) - _LONGEST} more lines"]
    return "\n".join(["what it shows differs", *changed])


# -------------------------------------------------------------------------------- the records


def _records(first: Path, second: Path, places: str, notebook: str) -> list[str]:
    """Return what differs between the records of a notebook in two folders of artifacts."""
    pattern = f"{places}/records/{notebook}[.-]*"
    paths = [path.relative_to(side) for side in (first, second) for path in side.glob(pattern)]
    differences = []
    for name in sorted({path.as_posix() for path in paths}):
        one, other = first / name, second / name
        if not (one.exists() and other.exists()):
            differences.append(f"{name}: only the {RUNS[other.exists()]} run wrote it")
        elif one.suffix == ".npz":
            differences += [f"{name}: {text}" for text in _arrays(one, other)]
        else:
            entries = (json.loads(path.read_text(encoding="utf-8")) for path in (one, other))
            differences += [f"{name}: {text}" for text in _values(*entries)]
    return differences


def _arrays(first: Path, second: Path) -> Iterator[str]:
    one, other = (dict(np.load(path, allow_pickle=False)) for path in (first, second))
    if one.keys() != other.keys():
        yield f"holds {', '.join(one)} / {', '.join(other)}"
        return
    for name, array in one.items():
        if not _TIMED.search(name) and array.tobytes() != other[name].tobytes():
            yield f"{name} differs"


def _values(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Yield where two records differ, and both values."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key, value in one.items():
            if key not in _LEFT_OUT and not _TIMED.search(key):
                yield from _values(value, other[key], f"{where}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _values(*pair, f"{where}/{number}")
    elif json.dumps(one) != json.dumps(other):  # unlike ==, finds NaN equal to NaN
        yield f"{where.lstrip('/')}: {one} / {other}"
