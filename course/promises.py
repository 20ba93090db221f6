"""What the project promises, the tests that prove it, and what was seen when they last ran.

A test says what it proves by `@pytest.mark.promise(group, text)`; `tests/conftest.py` writes that
into the JUnit files of `make test` and `make test-browser`. `make readme` takes what these say over
into `results/promises.json`, which is committed, and from there into the tables. Speeds and the
row of `make verify` are not tests: see `measured.py`.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

from course import measured
from course.results import TOGETHER, keep_durations, markdown, read, write

GROUPS = (
    "Data",
    "Training",
    "Results",
    "Notebooks",
    "Site and playground",
    "Hostile conditions",
    "Speed",
)
SUITES = ("tests", "tests-browser")  # what the JUnit files in build/ are called
HEADS = ["promise", "tested by", "seen"]
MAIN = (  # those that the README shows
    "Only an archive whose bytes have the published checksum is used",
    "The same seed gives the same batches, weights and numbers",
    "Noise, text, filled shapes and blank pages are never taken for a character",
    "No data file, model or checkpoint can run a program when it is opened",
    "All notebooks take at most 12 minutes at `quick` on 2 cores",
)


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
    for place in measured.NOTEBOOK_MINUTES:
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


def every(root: Path) -> list[list[str]]:
    """Return the rows of all promises, tested and measured."""
    known = read(root / "results" / "promises.json")
    return [row for suite in SUITES for row in known.get(suite, [])] + measured.rows(root)


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
