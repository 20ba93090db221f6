"""What the project promises, the tests that prove it, and what was seen when they last ran.

A test says what it proves by `@pytest.mark.promise(group, text)`; `tests/conftest.py` writes that
into the JUnit files of `make test` and `make test-browser`. `make readme` takes what these say over
into `results/promises.json`, which is committed, and from there into the tables. Speeds and the
row of `make verify` are not tests: see `measured`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from course.results import TOGETHER, keep_durations, markdown, read, write

GROUPS = (
    "Data", "Training", "Results", "Notebooks", "Site and playground", "Hostile conditions",
    "Speed",
)  # fmt: skip
SUITES = ("tests", "tests-browser")  # what the JUnit files in build/ are called
HEADS = ["promise", "tested by", "seen"]
MAIN = (  # those that the README shows
    "Only an archive whose bytes have the published checksum is used",
    "The same seed gives the same batches, weights and numbers",
    "Noise, text, filled shapes and blank pages are never taken for a character",
    "No data file, model or checkpoint can run a program when it is opened",
    "All notebooks take at most 12 minutes at `quick` on 2 cores",
)

NOTEBOOK_MINUTES = {"quick-cpu": 12, "full-cpu": 120}  # for all of them, by place
TEST_MINUTES = 8
# How many times faster than as published LeNet is to be trained, by kind of processor.
KINDS = {"bfloat16": ("a processor with bfloat16", 15), "float32": ("an ordinary processor", 10)}
NOT_YET = "not measured yet"
_Row = tuple[str, str, str, str, str]  # group, promise, command, record, what was seen


def take_over(root: Path) -> None:
    """Bring what ran here, as `build/` of the project at `root` has it, into `results/`."""
    path, build = root / "results" / "promises.json", root / "build"
    content = read(path)
    for suite in SUITES:
        if (junit := build / f"{suite}.xml").exists():
            content[suite] = rows(junit)
    if (timed := build / "test_seconds").exists():
        content["make_test_seconds"] = float(timed.read_text(encoding="ascii"))
    verified = read(build / "verify" / "outcome.json")
    content["make_verify_differences"] = content.get("make_verify_differences", {}) | verified
    write(path, content)
    for place in NOTEBOOK_MINUTES:
        if together := read(build / place / "together.json"):
            keep_durations(place, {TOGETHER: together["seconds"]}, root)
    quick = (build / "quick-cpu").glob("[0-9]*.json")
    keep_durations("quick-cpu", {path.stem: read(path)["seconds"] for path in quick}, root)


def rows(junit: Path) -> list[list[str]]:
    """Return each promise: group, text, links to tests, what was seen; or raise a ValueError."""
    try:
        cases = ElementTree.parse(junit).iter("testcase")
    except ElementTree.ParseError as error:
        raise ValueError(f"{junit}: expected a JUnit file; run the tests again ({error})") from None
    found: dict[tuple[str, str], list[ElementTree.Element]] = {}
    for case in sorted(cases, key=lambda one: one.get("classname", "")):
        for entry in case.iter("property"):
            if entry.get("name") == "promise":
                group, _, promise = entry.get("value", "").partition(": ")
                found.setdefault((group, promise), []).append(case)
    result = []
    for (group, promise), proofs in sorted(found.items()):
        names = dict.fromkeys(case.get("classname", "") for case in proofs)
        links = [f"[{n.rpartition('.')[2]}]({n.replace('.', '/')}.py)" for n in names]
        result.append([group, promise, ", ".join(links), _seen(proofs)])
    return result


def _seen(cases: list[ElementTree.Element]) -> str:
    if any(case.find(bad) is not None for case in cases for bad in ("failure", "error")):
        return "**FAILED**"
    skips = [skip.get("message", "") for case in cases for skip in case.iter("skipped")]
    # Without the folders of this machine.
    reasons = "; ".join(dict.fromkeys(re.sub(r"(?<!\S)/\S*/", "", reason) for reason in skips))
    if len(skips) == len(cases):
        return f"skipped here: {reasons}"
    properties = [entry for case in cases for entry in case.iter("property")]
    notes = [entry.get("value", "") for entry in properties if entry.get("name") == "seen"]
    if skips:
        notes.append(f"{len(skips)} of {len(cases)} tests skipped here: {reasons}")
    return f"passed: {'; '.join(notes)}" if notes else "passed"


def measured(root: Path) -> list[list[str]]:
    """Return group, promise, a link to the record, and what was measured, of each such promise."""
    known = read(root / "results" / "promises.json")
    repeated = "All notebooks at `smoke`, and one at `full`, come out the same when executed twice"
    differences = _repeated(root, known.get("make_verify_differences", {}))
    tests = f"`make test`, every notebook included, passes within {TEST_MINUTES} minutes on 2 cores"
    tested = _minutes(known.get("make_test_seconds", 0), TEST_MINUTES)
    found = [
        ("Results", repeated, "make verify", "promises.json", differences),
        *_races(root / "results" / "bench-cpu"),
        ("Speed", tests, "make test", "promises.json", tested),
        *_notebooks(root),
    ]
    return [
        [group, promise, f"[`{command}`](results/{record})" if record else f"`{command}`", seen]
        for group, promise, command, record, seen in found
    ]


def _races(bench: Path) -> Iterator[_Row]:
    """Yield a row for each kind of processor and each training that is timed beside another."""
    for kind, (processor, wanted) in KINDS.items():
        record = bench / f"training-{kind}.json"
        contests = read(record).get("contests", {})
        letters, before = contests.get("compact CNN (Tamil)", {}), {}
        if "before" in letters:
            before["speed_up"] = letters["before"]["seconds"] / letters["ours"]["seconds"]
        busy = contests.get("LeNet (R3), one busy process beside", {})
        lenet = "LeNet reaches 0.990 at least {} times faster than trained as published"
        tamil = "The Tamil network reaches 0.907 at least"
        for promise, contest, least in (
            (lenet.format(wanted), contests.get("LeNet (R3)", {}), wanted),
            (f"{lenet.format(8)}, one busy process beside both", busy, 8),
            (f"{tamil} 12 times faster than R5's way", letters, 12),
            (f"{tamil} 3 times faster than at 64 × 64 pixels", before, 3),
        ):
            link = f"bench-cpu/{record.name}" if contests else ""
            yield "Speed", f"{promise}, on {processor}", "make bench", link, _ratio(contest, least)


def _notebooks(root: Path) -> Iterator[_Row]:
    """Yield how long one run of all notebooks took, by place; one in parts does not count."""
    durations = read(root / "results" / "durations.json")
    for place, limit in NOTEBOOK_MINUTES.items():
        profile = place.partition("-")[0]
        promise = f"All notebooks take at most {limit} minutes at `{profile}` on 2 cores"
        seen = _minutes(durations.get(place, {}).get(TOGETHER, 0), limit)
        yield "Speed", promise, f"make run PROFILE={profile}", "durations.json", seen


def _repeated(root: Path, differences: dict[str, int]) -> str:
    notebooks = [path.stem for path in sorted((root / "notebooks").glob("[0-9]*.ipynb"))]
    missing = [name[:2] for name in notebooks if f"{name}, smoke" not in differences]
    amounts = Counter(name.rpartition(", ")[2] for name in differences)
    if missing or "full" not in amounts:
        return f"{NOT_YET}: {', '.join(missing) or 'full'}"
    told = ", ".join(f"{count} at {profile}" for profile, count in amounts.items())
    found = sum(differences.values())
    return f"{told}: {found or 'no'} differences: {_met(not found)}"


def _ratio(contest: dict[str, Any], wanted: float) -> str:
    if "speed_up" not in contest:
        return NOT_YET
    least = "at least " if contest.get("at_least") else ""
    return f"{least}{contest['speed_up']:.1f} times: {_met(contest['speed_up'] >= wanted)}"


def _minutes(seconds: float, limit: float) -> str:
    return f"{seconds / 60:.1f} minutes: {_met(seconds <= 60 * limit)}" if seconds else NOT_YET


def _met(is_met: bool) -> str:
    return "kept" if is_met else "**not kept**"


def every(root: Path) -> list[list[str]]:
    """Return the rows of all promises, tested and measured."""
    known = read(root / "results" / "promises.json")
    return [row for suite in SUITES for row in known.get(suite, [])] + measured(root)


def table(root: Path) -> str:
    """Return the Markdown table of all promises."""
    rows = every(root)
    lines = []
    for group in GROUPS:
        if inside := [row[1:] for row in rows if row[0] == group]:
            lines += [[f"**{group}**", "", ""], *inside]
    return markdown(HEADS, lines)


def short_table(root: Path) -> str:
    """Return a Markdown table of the promises in `MAIN`, and how many there are of all."""
    rows = every(root)
    kept = sum(row[3].startswith("passed") or row[3].endswith(": kept") for row in rows)
    page = "[all of them](course/site/results.md#what-we-promise-and-how-it-is-tested)"
    short = markdown(HEADS, [row[1:] for row in rows if row[1] in MAIN])
    return f"{short}\n\nOf {len(rows)} promises {kept} are kept: {page}."
