"""The README's table of promises is made of what ran, and of nothing else."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course import promises, readme
from nbhelpers import reporting

assert reporting  # the collector's own import of it would be undone after each inner session
pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    "python": "3.13.1", "torch": "2.15.0", "torchvision": "0.29.2", "fastai": "2.8.12",
    "device": "A processor", "threads": 1, "cores": 2,
}  # fmt: skip

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
            pytest.skip("needs /srv/somebody/file, see https://example.org/a/b and/or a GPU")
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
        @pytest.mark.promise("Speed", "Two is soon said")
        @pytest.mark.promise("Training", "Two is two")
        def test_two():
            assert 2 == 2
    """,
}


@pytest.fixture
def project(pytester):
    """A project with this one's collector and two files of tests."""
    for name in ("pyproject.toml", "tests/conftest.py"):
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    pytester.makepyfile(**{f"tests/{name}": source for name, source in TWO_FILES.items()})
    return pytester


def collected(project):
    files = promises.read(project.path / "build" / "promises.json")
    return {name: file["tests"] for name, file in files.items()}


def test_outcomes_of_promises_are_collected(project):
    arguments = ["-p", "no:nbval", "-n", "2", "--dist", "loadfile"]  # as `make test` runs them
    result = project.runpytest_inprocess(*arguments, "tests")
    result.assert_outcomes(passed=4, skipped=1, errors=1)
    files = collected(project)
    assert list(files) == ["tests/test_a.py", "tests/test_b.py"]
    more, elsewhere = (
        files["tests/test_a.py"]["test_more"],
        files["tests/test_a.py"]["test_elsewhere"],
    )
    assert more["promises"] == [["Data", "Two is more than one"]]
    assert (more["outcome"], more["seen"]) == ("passed", "by 2")
    assert elsewhere["outcome"] == "skipped"
    assert elsewhere["reason"] == "needs file, see https://example.org/a/b and/or a GPU"
    assert "test_that_promises_nothing" not in files["tests/test_a.py"]
    assert files["tests/test_b.py"]["test_set_up"]["outcome"] == "failed"
    both = files["tests/test_b.py"]["test_two"]["promises"]
    assert sorted(both) == [["Speed", "Two is soon said"], ["Training", "Two is two"]]


def test_what_did_not_run_keeps_its_outcome_while_it_is_there(project):
    project.runpytest_inprocess("tests")
    before = collected(project)
    project.makepyfile(
        **{"tests/test_b": TWO_FILES["test_b"].replace("2 == 2", "2 == 3").replace("raise", "")}
    )
    project.runpytest_inprocess("tests/test_b.py", "-k", "two")
    after = collected(project)
    assert after["tests/test_a.py"] == before["tests/test_a.py"]
    outcomes = {name: entry["outcome"] for name, entry in after["tests/test_b.py"].items()}
    assert outcomes == {"test_set_up": "failed", "test_two": "failed"}
    project.makepyfile(**{"tests/test_b": "def test_two():\n    pass\n"})
    (project.path / "tests" / "test_a.py").unlink()
    project.makepyfile(
        **{
            "tests/test_c": """
        import pytest
        @pytest.mark.promise("Results", "Four is four")
        def test_four():
            assert 4 == 4
    """
        }
    )
    project.runpytest_inprocess("tests")
    assert {name: list(file) for name, file in collected(project).items()} == {
        "tests/test_c.py": ["test_four"]
    }


@pytest.mark.parametrize("arguments", ['"A group is missing"', '"Wishes", "No such group"'])
def test_a_marker_that_cannot_be_listed_is_an_error(project, arguments):
    project.makepyfile(
        **{
            "tests/test_b": f"""
        import pytest
        @pytest.mark.promise({arguments})
        def test_two():
            pass
    """
        }
    )
    result = project.runpytest_inprocess("tests/test_b.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("*test_b.py::test_two: expected promise(group, text)*")


# -------------------------------------------------------------------------------------- the table


def entry(outcome, *kept, reason="", seen=""):
    return {
        "promises": [list(one) for one in kept], "outcome": outcome, "reason": reason,
        "seen": seen, "seconds": 0.5,
    }  # fmt: skip


def written(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_each_promise_is_a_row_with_what_was_seen(tmp_path):
    one, two, three = ("Data", "One"), ("Data", "Two"), ("Training", "Three")
    files = {
        "tests/test_a.py": {
            "environment": ENVIRONMENT,
            "tests": {
                "test_1": entry("passed", one, two),
                "test_2": entry("skipped", two, reason="no GPU"),
                "test_3": entry("failed", three),
            },
        },
        "tests/browser/test_b.py": {
            "environment": ENVIRONMENT | {"cores": 8},
            "tests": {
                "test_4": entry("passed", one, seen="3 ms"),
                "test_5": entry("skipped", ("Training", "Four"), reason="no browser"),
            },
        },
    }
    written(tmp_path, "results/promises.json", {"files": files})
    lines = promises.table(tmp_path).splitlines()
    assert lines[2:5] == [
        "| **Data** | | |",
        "| One | [test_a](tests/test_a.py), [test_b](tests/browser/test_b.py) | passed: 3 ms |",
        "| Two | [test_a](tests/test_a.py) | passed: 1 of 2 tests skipped here: no GPU |",
    ]
    assert lines[5:8] == [
        "| **Training** | | |",
        "| Four | [test_b](tests/browser/test_b.py) | skipped here: no browser |",
        "| Three | [test_a](tests/test_a.py) | **FAILED** |",
    ]
    assert lines[-1].startswith("Tests ran on 2 cores (A processor) with python 3.13.1, torch 2.15")
    assert "; 8 cores" in lines[-1]


def test_speeds_are_told_whether_kept_or_not(tmp_path):
    lenet, letters = {"speed_up": 14.93}, {"speed_up": 13.04, "at_least": True}
    letters |= {"before": {"seconds": 60.0}, "ours": {"seconds": 15.0}}
    contests = {"LeNet (R3)": lenet, "compact CNN (Tamil)": letters}
    written(tmp_path, "results/bench-cpu/training-bfloat16.json", {"contests": contests})
    shares = {"our_loader": {"shares": {"unfrozen": 0.003, "frozen": 0.2}}}
    theirs, ours = {"frozen": 90, "unfrozen": 160}, {"frozen": 30, "unfrozen": 100}
    loading = shares | {"ways": {"theirs": theirs, "ours": ours}}
    written(tmp_path, "results/bench-cpu/loading.json", loading)
    written(tmp_path, "results/promises.json", {"make_test_seconds": 900})
    for name in ("00_a", "01_b"):
        written(tmp_path, f"notebooks/{name}.ipynb", "{}")
    promises.keep_durations("full-cpu", {"00_a": 3600.123}, tmp_path)
    promises.keep_durations("full-cpu", {"01_b": 3660}, tmp_path)
    promises.keep_durations("quick-cpu", {"01_b": 60}, tmp_path)
    assert [row.seen for row in promises.speeds(tmp_path)] == [
        "14.9 times: **not kept**",
        "not measured yet",
        "at least 13.0 times: kept",
        "4.0 times: kept",
        *["not measured yet"] * 4,
        "0.3 %: kept",
        "1.6 times: **not kept**",
        "15.0 minutes: **not kept**",
        "not measured yet: 00",
        "121.0 minutes: **not kept**",
    ]
    promises.keep_durations("quick-cpu", {"01_b": 1000}, tmp_path)
    seen = promises.speeds(tmp_path)[11].seen
    assert seen == "more than 16 minutes (without 00): **not kept**"
    for name, row in (("training-bfloat16", 0), ("loading", 9)):
        (tmp_path / "results" / "bench-cpu" / f"{name}.json").unlink()
        assert promises.speeds(tmp_path)[row].seen == "not measured yet"


def test_what_make_verify_found_is_a_row(tmp_path):
    for name in ("00_a", "01_b"):
        written(tmp_path, f"notebooks/{name}.ipynb", "{}")
    assert promises.repeated(tmp_path).seen == "not measured yet: 00, 01"
    found = {"00_a, smoke": 0, "01_b, smoke": 0}
    written(tmp_path, "build/verify/outcome.json", found)
    promises.take_over(tmp_path)
    assert promises.repeated(tmp_path).seen == "not measured yet: full"
    found |= {"01_b, full": 0}
    written(tmp_path, "build/verify/outcome.json", found)
    promises.take_over(tmp_path)
    assert promises.repeated(tmp_path).seen == "2 at smoke, 1 at full: no differences: kept"
    assert "at `full`, come out the same" in promises.table(tmp_path)
    written(tmp_path, "build/verify/outcome.json", found | {"01_b, full": 3})
    promises.take_over(tmp_path)
    seen = promises.repeated(tmp_path).seen
    assert seen == "2 at smoke, 1 at full: 3 differences: **not kept**"


def test_a_way_that_was_given_up_gives_a_lower_bound():
    way = {"seconds_an_epoch": 6500.0, "epochs": 0.129, "seconds": 838.02, "reached": False}
    ours = {"seconds_an_epoch": 41.9, "epochs": 2, "seconds": 83.8, "reached": True}
    contest = {"mark": 0.907, "speed_up": 10.0, "at_least": True, "published": way, "ours": ours}
    entry = {"environment": {"threads": 2, "device": "A"}, "contests": {"Letters": contest}}
    assert readme.speed(entry).startswith("On 2 cores (A):")
    rows = readme.speed(entry).splitlines()[4:]
    assert rows == [
        "| Letters, 0.907 | published | 6500.00 | 0.13 | 838.0, given up |  |",
        "| Letters, 0.907 | ours | 41.90 | 2 | 83.8 | at least **10.0** |",
    ]
    contest["published"] = way | {"network": "Large (R9)"}  # another than ours
    row = readme.speed(entry).splitlines()[4]
    assert row.startswith("| Large (R9), 0.907 | published |")


def test_what_ran_here_is_taken_over_into_the_results(tmp_path):
    for name, promise in (("a", "One"), ("b", "Two"), ("c", "None any more")):
        source = f'@pytest.mark.promise("Data", "{promise}")\ndef test_1(): pass\n'
        written(tmp_path, f"tests/test_{name}.py", source)
    one, two = ("Data", "One"), ("Data", "Two")

    def ran(name, outcome, promise):
        tests = {"test_1": entry(outcome, promise)}
        return {f"tests/test_{name}.py": {"environment": ENVIRONMENT, "tests": tests}}

    known = ran("a", "passed", one) | ran("b", "failed", two)
    known |= ran("c", "passed", one) | ran("gone", "passed", one)
    written(tmp_path, "results/promises.json", {"files": known, "make_test_seconds": 600})
    written(tmp_path, "build/promises.json", ran("b", "passed", two))
    written(tmp_path, "build/quick-cpu/01_b.json", {"stamp": "x", "seconds": 61.25})
    promises.take_over(tmp_path)
    kept = promises.read(tmp_path / "results" / "promises.json")
    assert kept["files"] == ran("a", "passed", one) | ran("b", "passed", two)
    assert kept["make_test_seconds"] == 600
    durations = promises.read(tmp_path / "results" / "durations.json")
    assert durations == {"quick-cpu": {"01_b": 61.2}}
    written(tmp_path, "build/test_seconds", "650\n")
    promises.take_over(tmp_path)
    assert promises.read(tmp_path / "results" / "promises.json")["make_test_seconds"] == 650


def test_readme_lists_what_the_tests_promise():
    files = promises.read(ROOT / "results" / "promises.json").get("files", {})
    stale = "stale: run the tests, then `make readme`"
    for path in sorted((ROOT / "tests").glob("test_*.py")):  # `make test-browser` is run less often
        source = path.read_text(encoding="utf-8")
        tests = files.get(path.relative_to(ROOT).as_posix(), {"tests": {}})["tests"]
        listed = {tuple(promise) for test in tests.values() for promise in test["promises"]}
        marked = {
            tuple(argument.value for argument in call.args)
            for function in ast.parse(source).body
            if isinstance(function, ast.FunctionDef)
            for call in function.decorator_list
            if ast.unparse(call).startswith("pytest.mark.promise(")
        }
        assert marked <= listed, f"{path.name}: {stale}"
        assert all(promise in source for _, promise in listed), f"{path.name}: {stale}"


# ---------------------------------------------------------------------------------------- a speed


@pytest.mark.promise("Speed", "`import nbhelpers` takes at most 0.3 seconds")
def test_import_is_quick(record_property):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import nbhelpers"], cwd=ROOT, check=True)
        times.append(time.perf_counter() - start)
    record_property("seen", f"{min(times):.2f} s with the start of Python")
    assert min(times) <= 0.3
