"""The promises that are measured, not tested: speeds, and the same again from each notebook."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course.results import TOGETHER, read

NOTEBOOK_MINUTES = {"quick-cpu": 12, "full-cpu": 120}  # for all of them, by place
TEST_MINUTES = 8
# How many times faster than as published LeNet is to be trained, by kind of processor.
KINDS = {"bfloat16": ("a processor with bfloat16", 15), "float32": ("an ordinary processor", 10)}
NOT_YET = "not measured yet"
_Row = tuple[str, str, str, str]  # promise, command, record, what was seen


def rows(root: Path) -> list[list[str]]:
    """Return group, promise, a link to the record, and what was measured, of each such promise."""
    known = read(root / "results" / "promises.json")
    tests = f"`make test`, every notebook included, passes within {TEST_MINUTES} minutes on 2 cores"
    tested = _minutes(known.get("make_test_seconds", 0), TEST_MINUTES)
    speeds = [
        *_races(root / "results" / "bench-cpu"),
        (tests, "make test", "promises.json", tested),
        *_notebooks(root),
    ]
    repeated = (
        "All notebooks at `smoke`, and one at `full`, come out the same when executed twice",
        "make verify", "promises.json", _repeated(root, known.get("make_verify_differences", {})),
    )  # fmt: skip
    return [
        [group, promise, f"[`{command}`](results/{record})" if record else f"`{command}`", seen]
        for group, measured in (("Results", [repeated]), ("Speed", speeds))
        for promise, command, record, seen in measured
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
            yield f"{promise}, on {processor}", "make bench", link, _ratio(contest, least)


def _notebooks(root: Path) -> Iterator[_Row]:
    """Yield how long one run of all notebooks took, by place; one in parts does not count."""
    durations = read(root / "results" / "durations.json")
    for place, limit in NOTEBOOK_MINUTES.items():
        profile = place.partition("-")[0]
        promise = f"All notebooks take at most {limit} minutes at `{profile}` on 2 cores"
        seen = _minutes(durations.get(place, {}).get(TOGETHER, 0), limit)
        yield promise, f"make run PROFILE={profile}", "durations.json", seen


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
