"""The tables of promises are made of what ran, and of nothing else."""

import ast
import time

import in_python
import promise
import pytest
from source import ROOT, lay, modules

from course import promises, readme, results

pytest_plugins = ["pytester"]
TWO_FILES = {
    "test_a": """
        import pytest
        @pytest.mark.promise("Data", "Two is more than one")
        @pytest.mark.parametrize("number", [2, 3])
        def test_more(number, record_property):
            record_property("seen", f"by {number - 1}")
            assert number > 1
        @pytest.mark.promise("Data", "Two is more than one")
        def test_elsewhere():
            pytest.skip("needs /srv/somebody/file and/or a GPU")
        @pytest.mark.skipif(True, reason="no GPU here")
        @pytest.mark.promise("Training", "One is less")
        def test_never_here():
            pass
        def test_that_promises_nothing():
            pass
    """,
    "test_b": """
        import pytest
        @pytest.fixture
        def broken():
            raise OSError
        @pytest.mark.promise("Speed", "A set-up that fails is a failure")
        def test_set_up(broken):
            pass
        @pytest.mark.promise("Data", "Two is more than one")
        @pytest.mark.promise("Training", "Two is two")
        def test_two():
            assert 2 == 2
    """,
}


def test_what_became_of_promises_is_read_from_the_junit_file(pytester):
    lay(pytester.path, modules("pyproject.toml", "tests/conftest.py"))
    pytester.makepyfile(**{f"tests/{name}": source for name, source in TWO_FILES.items()})
    arguments = ["-p", "no:nbval", "-n", "2", "--dist", "loadfile"]  # as `make test` runs them
    result = pytester.runpytest_inprocess(*arguments, "--junitxml=build/tests.xml", "tests")
    result.assert_outcomes(passed=4, skipped=2, errors=1)
    both = "[test_a](tests/test_a.py), [test_b](tests/test_b.py)"
    seen = "by 1; by 2; 1 of 4 tests skipped here: needs file and/or a GPU"
    rows = [
        ["Data", "Two is more than one", both, f"passed: {seen}"],
        ["Speed", "A set-up that fails is a failure", "[test_b](tests/test_b.py)", "**FAILED**"],
        ["Training", "One is less", "[test_a](tests/test_a.py)", "skipped here: no GPU here"],
        ["Training", "Two is two", "[test_b](tests/test_b.py)", "passed"],
    ]
    assert promises.rows(pytester.path / "build" / "tests.xml") == rows
    lay(pytester.path, {"results/promises.json": {"tests-browser": []}})
    promises.take_over(pytester.path)
    assert results.read(pytester.path / "results" / "promises.json")["tests"] == rows
    lines = promises.table(pytester.path).splitlines()
    assert lines[2:4] == ["| **Data** |  |  |", f"| {' | '.join(rows[0][1:])} |"]
    lay(pytester.path, {"cut.xml": "<testsuites><testsuite>"})
    with pytest.raises(ValueError, match=r"cut\.xml: expected a JUnit file; run the tests"):
        promises.rows(pytester.path / "cut.xml")


def test_speeds_are_told_whether_kept_or_not(tmp_path):
    lenet, letters = {"speed_up": 14.93}, {"speed_up": 13.04, "at_least": True}
    letters |= {"before": {"seconds": 60.0}, "ours": {"seconds": 15.0}}
    contests = {"contests": {"LeNet (R3)": lenet, "compact CNN (Tamil)": letters}}
    known = {"promises.json": {"make_test_seconds": 900}}
    lay(tmp_path / "results", known | {"bench-cpu/training-bfloat16.json": contests})
    results.keep_durations("full-cpu", {"01_b": 3660}, tmp_path)
    results.keep_durations("full-cpu", {results.TOGETHER: 7260}, tmp_path)
    results.keep_durations("quick-cpu", {"01_b": 60}, tmp_path)
    assert [row[3] for row in promises.measured(tmp_path) if row[0] == "Speed"] == [
        "14.9 times: **not kept**",
        "not measured yet",
        "at least 13.0 times: kept",
        "4.0 times: kept",
        *["not measured yet"] * 4,
        "15.0 minutes: **not kept**",
        "not measured yet",
        "121.0 minutes: **not kept**",
    ]


def test_what_make_verify_found_is_a_row(tmp_path):
    def seen():
        return next(row[3] for row in promises.measured(tmp_path) if row[0] == "Results")

    lay(tmp_path / "notebooks", {"00_a.ipynb": "{}", "01_b.ipynb": "{}"})
    assert seen() == "not measured yet: 00, 01"
    found = {"00_a, smoke": 0, "01_b, smoke": 0}
    for more, expected in (
        ({}, "not measured yet: full"),
        ({"01_b, full": 0}, "2 at smoke, 1 at full: no differences: kept"),
        ({"01_b, full": 3}, "2 at smoke, 1 at full: 3 differences: **not kept**"),
    ):
        lay(tmp_path, {"build/verify/outcome.json": found | more})
        promises.take_over(tmp_path)
        assert seen() == expected


def test_what_was_measured_here_is_taken_over_into_the_results(tmp_path):
    lay(tmp_path, {"results/promises.json": {"tests": [], "make_test_seconds": 600}})
    chapter, together = {"stamp": "x", "seconds": 61.25}, {"seconds": 7000}
    lay(tmp_path / "build", {"quick-cpu/01_b.json": chapter, "full-cpu/together.json": together})
    promises.take_over(tmp_path)
    durations = results.read(tmp_path / "results" / "durations.json")
    assert durations == {"full-cpu": {results.TOGETHER: 7000}, "quick-cpu": {"01_b": 61.2}}
    assert results.read(tmp_path / "results" / "promises.json")["make_test_seconds"] == 600
    lay(tmp_path, {"build/test_seconds": "650\n"})
    promises.take_over(tmp_path)
    assert results.read(tmp_path / "results" / "promises.json")["make_test_seconds"] == 650


def test_a_way_that_was_given_up_gives_a_lower_bound():
    way = {"seconds_an_epoch": 6500.0, "epochs": 0.129, "seconds": 838.02, "reached": False}
    ours = {"seconds_an_epoch": 41.9, "epochs": 2, "seconds": 83.8, "reached": True}
    contest = {"mark": 0.907, "speed_up": 10.0, "at_least": True, "ours": ours}
    contest["published"] = way | {"network": "Large (R9)"}  # another than ours
    facts = {"threads": 2, "device": "A", "instructions": "AVX2", "numbers": "float32"}
    entry = {"environment": facts, "contests": {"Letters": contest}}
    told = "On 2 cores (A), AVX2 instructions, training in float32:"
    assert readme.speed(entry).startswith(told)
    assert readme.speed(entry).splitlines()[4:] == [
        "| Large (R9), 0.907 | published | 6500.00 | 0.13 | 838.0, given up |  |",
        "| Letters, 0.907 | ours | 41.90 | 2 | 83.8 | at least **10.0** |",
    ]


def test_the_tables_list_what_the_tests_promise():
    known = results.read(ROOT / "results" / "promises.json")["tests"]
    marked = {
        (*getattr(promise, call.func.attr).args, call.args[0].value)
        for path in (ROOT / "tests").glob("test_*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("promise.")
    }
    assert {(row[0], row[1]) for row in known} == marked, "stale: `make test`, then `make readme`"
    assert set(promises.MAIN) <= {row[1] for row in promises.every(ROOT)}


@promise.speed("`import nbhelpers` takes at most 0.3 seconds")
def test_import_is_quick(record_property):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert in_python.run("-c", "import nbhelpers", folder=ROOT).returncode == 0
        times.append(time.perf_counter() - start)
    record_property("seen", f"{min(times):.2f} s with the start of Python")
    assert min(times) <= 0.3
