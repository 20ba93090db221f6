"""What the project promises, the tests that prove it, and what was seen when they last ran.

A test says what it proves by `@pytest.mark.promise(group, text)`. While tests run,
`tests/conftest.py` collects what became of them in `build/promises.json`; `make readme` takes that
over into `results/promises.json`, which is committed, and from there into the README's table.
Speeds are not tests: their rows come from what `make bench`, `make publish` and `make test`
measured. Nor is the row of `make verify`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nbhelpers.sources import written

GROUPS = (
    "Data",
    "Training",
    "Results",
    "Notebooks",
    "Site and playground",
    "Hostile conditions",
    "Speed",
)
NOTEBOOK_LIMITS = {"quick-cpu": 12, "full-cpu": 120}  # minutes for all of them, by place
TEST_LIMIT = 8  # minutes
# How many times faster than as published LeNet is to be trained, by kind of processor.
KINDS = {"bfloat16": ("a processor with bfloat16", 15), "float32": ("an ordinary processor", 10)}
LOADER_SHARE = 0.15  # of an epoch
TOGETHER = "all in one run"
NOT_YET = "not measured yet"


@dataclass(frozen=True)
class Row:
    """One line of the table: a promise, Markdown links to what tests it, and what was seen."""

    group: str
    promise: str
    tested_by: str
    seen: str


def read(path: Path) -> dict:
    """Return what JSON file `path` holds, or an empty dictionary where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(path: Path, content: dict) -> None:
    """Write `content` to the JSON file `path`, whole or not at all."""
    with written(path) as unfinished:
        text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True)
        unfinished.write_text(text + "\n", encoding="utf-8")


def merged(known: dict, ran: dict, root: Path) -> dict:
    """Return the outcomes in `known`, brought up to date by those of the tests that `ran`.

    Both hold, by test file, the `environment` and by name the `tests`. A test that did not run
    keeps its entry, as long as it and its promise are still there.

    Args:
        known: earlier outcomes.
        ran: newer ones.
        root: the folder that the files' names begin at.
    """
    files = {}
    for name in sorted(known.keys() | ran.keys()):
        path = root / name
        source = path.read_text(encoding="utf-8") if path.exists() else ""
        older, newer = known.get(name, {}), ran.get(name, {})
        tests = {}
        for test, entry in (older.get("tests", {}) | newer.get("tests", {})).items():
            kept = [promise for promise in entry["promises"] if promise[1] in source]
            if kept and f"def {test.rpartition('::')[2]}(" in source:
                tests[test] = entry | {"promises": kept}
        if tests:
            files[name] = {"environment": (newer or older)["environment"], "tests": tests}
    return files


def take_over(root: Path) -> None:
    """Bring what ran here, as `build/` of the project at `root` has it, into `results/`."""
    path = root / "results" / "promises.json"
    known = read(path)
    ran = read(root / "build" / "promises.json")
    content = known | {"files": merged(known.get("files", {}), ran, root)}
    if (timed := root / "build" / "test_seconds").exists():
        content["make_test_seconds"] = float(timed.read_text(encoding="ascii"))
    if verified := read(root / "build" / "verify" / "outcome.json"):
        content["make_verify_differences"] = known.get("make_verify_differences", {}) | verified
    write(path, content)
    for place in NOTEBOOK_LIMITS:
        if together := read(root / "build" / place / "together.json"):
            keep_durations(place, {TOGETHER: together["seconds"]}, root)
    quick = (root / "build" / "quick-cpu").glob("[0-9]*.json")
    keep_durations("quick-cpu", {path.stem: read(path)["seconds"] for path in quick}, root)


def keep_durations(place: str, seconds: dict[str, float], root: Path) -> None:
    """Write how long notebooks took into the committed `results/durations.json`.

    Args:
        place: the profile and the kind of device, such as `full-cpu`.
        seconds: of each notebook by its name, of one run of them all by `TOGETHER`; others keep
            theirs.
        root: of the project.
    """
    path = root / "results" / "durations.json"
    known = read(path)
    rounded = {name: round(value, 1) for name, value in seconds.items()}
    write(path, known | {place: known.get(place, {}) | rounded})


def table(root: Path) -> str:
    """Return the Markdown table of all promises, with a line on where the tests ran."""
    files = read(root / "results" / "promises.json").get("files", {})
    lines = ["| promise | tested by | seen |", "|---|---|---|"]
    every = [*rows(files), repeated(root), *speeds(root)]
    for group in GROUPS:
        if inside := [row for row in every if row.group == group]:
            lines.append(f"| **{group}** | | |")
            lines += [f"| {row.promise} | {row.tested_by} | {row.seen} |" for row in inside]
    places = {_place(file["environment"]): None for file in files.values()}
    return "\n".join(lines) + (f"\n\nTests ran on {'; '.join(places)}." if places else "")


def rows(files: dict) -> list[Row]:
    """Return a row for each promise that tests carry, in alphabetical order.

    Args:
        files: from `merged`.
    """
    found: dict[tuple[str, str], list[tuple[str, dict]]] = {}
    for file, content in files.items():
        for entry in content["tests"].values():
            for group, promise in entry["promises"]:
                found.setdefault((group, promise), []).append((file, entry))
    result = []
    for (group, promise), entries in sorted(found.items()):
        names = dict.fromkeys(file for file, _ in entries)
        links = ", ".join(f"[{Path(name).stem}]({name})" for name in names)
        result.append(Row(group, promise, links, _seen([entry for _, entry in entries])))
    return result


def _seen(entries: list[dict]) -> str:
    outcomes = [entry["outcome"] for entry in entries]
    if "failed" in outcomes:
        return "**FAILED**"
    reasons = "; ".join(dict.fromkeys(e["reason"] for e in entries if e["reason"]))
    if "passed" not in outcomes:
        return f"skipped here: {reasons}"
    numbers = "; ".join(e["seen"] for e in entries if e.get("seen"))
    skipped = f"{outcomes.count('skipped')} of {len(outcomes)} tests skipped here: {reasons}"
    notes = [numbers] * bool(numbers) + [skipped] * ("skipped" in outcomes)
    return ": ".join(["passed", "; ".join(notes)]) if notes else "passed"


def repeated(root: Path) -> Row:
    """Return the row on what `make verify` found."""
    found = read(root / "results" / "promises.json").get("make_verify_differences", {})
    missing = [name[:2] for name in _notebooks(root) if f"{name}, smoke" not in found]
    by_profile = Counter(name.rpartition(", ")[2] for name in found)
    amounts = ", ".join(f"{count} at {profile}" for profile, count in by_profile.items())
    differences = sum(found.values())
    seen = f"{amounts}: {differences or 'no'} differences: {_met(not differences)}"
    if missing or "full" not in by_profile:
        seen = f"{NOT_YET}: {', '.join(missing) or 'full'}"
    promise = "All notebooks at `smoke`, and one at `full`, come out the same when executed twice"
    return Row("Results", promise, _link("make verify", "promises.json"), seen)


def speeds(root: Path) -> list[Row]:
    """Return a row for each promise of speed, with the number that was measured, met or not."""
    bench = root / "results" / "bench-cpu"
    images = read(bench / "loading.json")
    durations = read(root / "results" / "durations.json")
    notebooks = _notebooks(root)
    minutes = read(root / "results" / "promises.json").get("make_test_seconds", 0) / 60
    share = images.get("our_loader", {}).get("shares", {}).get("unfrozen")
    loading = f"{100 * share:.1f} %: {_met(share <= LOADER_SHARE)}" if share else NOT_YET
    ways = list(images.get("ways", {}).values())  # fastai's, then ours
    ratios = [ways[0][stage] / ways[1][stage] for stage in ("frozen", "unfrozen") if ways]
    epochs = {"speed_up": min(ratios)} if ratios else {}
    tests = f"{minutes:.1f} minutes: {_met(minutes <= TEST_LIMIT)}" if minutes else NOT_YET
    rows = [
        *_races(bench),
        (
            f"Loading images takes at most {100 * LOADER_SHARE:.0f} % of an epoch of training",
            _link("make bench", "bench-cpu/loading.json"),
            loading,
        ),
        (
            "An epoch of a ResNet-34 is at least twice as fast as with fastai, from a folder",
            _link("make bench", "bench-cpu/loading.json"),
            _ratio(epochs, 2),
        ),
        (
            f"`make test`, every notebook included, passes within {TEST_LIMIT} minutes on 2 cores",
            _link("make test", "promises.json"),
            tests,
        ),
    ]
    for place, limit in NOTEBOOK_LIMITS.items():
        profile = place.partition("-")[0]
        rows.append(
            (
                f"All notebooks take at most {limit} minutes at `{profile}` on 2 cores",
                _link(f"make run PROFILE={profile}", "durations.json"),
                _minutes(durations.get(place, {}), notebooks, limit),
            )
        )
    return [Row("Speed", *row) for row in rows]


def _races(bench: Path) -> list[tuple[str, str, str]]:
    """Return a row for each kind of processor and each training that is timed beside another."""
    found = []
    for kind, (processor, wanted) in KINDS.items():
        record = bench / f"training-{kind}.json"
        contests = read(record).get("contests", {})
        letters = contests.get("compact CNN (Tamil)", {})
        times = {}
        if "before" in letters:
            times["speed_up"] = letters["before"]["seconds"] / letters["ours"]["seconds"]
        busy = contests.get("LeNet (R3), one busy process beside", {})
        lenet = "LeNet reaches 0.990 at least {} times faster than trained as published"
        tamil = "The Tamil network reaches 0.907 at least"
        link = _link("make bench", f"bench-cpu/{record.name}") if contests else "`make bench`"
        found += [
            (f"{promise}, on {processor}", link, _ratio(contest, least))
            for promise, contest, least in (
                (lenet.format(wanted), contests.get("LeNet (R3)", {}), wanted),
                (f"{lenet.format(8)}, one busy process beside both", busy, 8),
                (f"{tamil} 12 times faster than R5's way", letters, 12),
                (f"{tamil} 3 times faster than at 64 × 64 pixels", times, 3),
            )
        ]
    return found


def _notebooks(root: Path) -> list[str]:
    return [path.stem for path in sorted((root / "notebooks").glob("[0-9]*.ipynb"))]


def _link(command: str, record: str) -> str:
    return f"[`{command}`](results/{record})"


def _ratio(contest: dict, wanted: float) -> str:
    if "speed_up" not in contest:
        return NOT_YET
    least = "at least " if contest.get("at_least") else ""
    ratio = contest["speed_up"]
    return f"{least}{ratio:.1f} times: {_met(ratio >= wanted)}"


def _minutes(durations: dict[str, float], notebooks: list[str], limit: float) -> str:
    """Return how long one run of all took, else the sum of what was timed, a lower bound."""
    if TOGETHER in durations:
        minutes = durations[TOGETHER] / 60
        return f"{minutes:.1f} minutes in one run: {_met(minutes <= limit)}"
    minutes = sum(durations.get(name, 0) for name in notebooks) / 60
    missing = ", ".join(name[:2] for name in notebooks if name not in durations)
    if not missing:
        return f"{minutes:.1f} minutes: {_met(minutes <= limit)}"
    if minutes > limit:
        return f"more than {int(minutes)} minutes (without {missing}): {_met(False)}"
    return f"{NOT_YET}: {missing}"


def _met(is_met: bool) -> str:
    return "kept" if is_met else "**not kept**"


def _place(environment: dict) -> str:
    names = ("python", "torch", "torchvision", "fastai")
    versions = ", ".join(f"{name} {environment[name]}" for name in names)
    return f"{environment['cores']} cores ({environment['device']}) with {versions}"


def plain(reason: str) -> str:
    """Return why a test was skipped, without the folders of this machine."""
    without = re.sub(r"(?<![\w:/\\])(?:[A-Za-z]:)?[/\\](?:[\w.@~+-]+[/\\])+", "", reason)
    return without.removeprefix("Skipped: ").strip()
