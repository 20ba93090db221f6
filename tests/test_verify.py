"""Executing twice finds what is not the same again, and forgives nothing but times."""

import nbformat
import numpy as np
import pytest

from course import promises, verify
from course.__main__ import main

SCRATCH = """\
import os
from pathlib import Path
assert not list(Path(os.environ["NBHELPERS_ARTIFACTS"]).glob("*cpu"))
"""
RECORD = """\
import json, os, random
from pathlib import Path
folder = Path(os.environ["NBHELPERS_ARTIFACTS"], os.environ["NB_PROFILE"] + "-cpu", "records")
folder.mkdir(parents=True, exist_ok=True)
model = {{"name": "m", "test_accuracy": {accuracy}, "train_seconds": random.random()}}
record = {{"models": [model], "environment": {{"threads": random.random()}}}}
(folder / "{name}.json").write_text(json.dumps(record));
"""
TIMES = """\
import time
started = time.perf_counter_ns()
display({"image/png": "iVBORw0KGgo="}, raw=True)
print(f"trained for {time.perf_counter_ns() - started} s, accuracy 0.75")
"""
DRAWN_TIMES = "import time; print(time.perf_counter_ns())"
LUCK = "import random; print('accuracy', random.random())"


@pytest.fixture
def notebook(tmp_path):
    def write(name, *sources, tag=None):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        if tag:
            cells[-1].metadata["tags"] = [tag]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
        return tmp_path / f"{name}.ipynb", "smoke"

    return write


@pytest.mark.promise(
    "Results", "`make verify`: executed twice from scratch, notebooks give the same, times aside"
)
def test_a_notebook_that_gives_the_same_again_passes(notebook, tmp_path, capfd):
    left = tmp_path / "verify" / "first" / "smoke-cpu" / "records" / "01_same.json"
    left.parent.mkdir(parents=True)
    left.write_text("of an earlier run")
    record = RECORD.format(accuracy=0.9, name="01_same")
    chosen = [notebook("01_same", SCRATCH, record, TIMES, DRAWN_TIMES, tag=verify.TAG)]
    assert verify.verify(chosen, tmp_path / "verify") == 0
    assert "01_same, smoke: no differences (3 cells; left out because of times: 1)" in (
        capfd.readouterr().out
    )


@pytest.mark.promise(
    "Results", "`make verify` finds an output or a record that comes out differently"
)
def test_what_comes_out_differently_is_found(notebook, tmp_path, capfd):
    chosen = [
        notebook("01_luck", "print('always')", LUCK),
        notebook("02_record", RECORD.format(accuracy="random.random()", name="02_record")),
    ]
    assert verify.verify(chosen, tmp_path / "verify") == 1
    said = capfd.readouterr().out
    luck, record = said.split("\n02_record, smoke: ")
    assert "01_luck, smoke: 1 difference" in luck
    assert "cell 1 " in luck and "-accuracy 0." in luck and "+accuracy 0." in luck
    assert record.startswith("1 difference")
    assert promises.read(tmp_path / "verify" / "outcome.json") == {
        "01_luck, smoke": 1, "02_record, smoke": 1,
    }  # fmt: skip
    assert "smoke-cpu/records/02_record.json: models/0/test_accuracy: 0." in record


def test_a_notebook_that_fails_ends_it(notebook, tmp_path, capfd):
    chosen = [notebook("01_fails", "1 / 0"), notebook("02_next", "1")]
    assert verify.verify(chosen, tmp_path / "verify") == 1
    said = capfd.readouterr().out
    assert "ZeroDivisionError" in said and "02_next" not in said


def test_answers_are_compared_bit_for_bit_but_for_seconds(tmp_path):
    confidence = np.array([0.5, 0.25], np.float16)
    changed = np.nextafter(confidence, np.float16(1))
    for number, answers in enumerate((confidence, confidence, changed)):
        path = tmp_path / str(number) / "smoke-cpu" / "records" / "01_x.npz"
        path.parent.mkdir(parents=True)
        np.savez(path, **{"0_confidence": answers, "0_seconds": np.array([number])})
    places = [tmp_path / str(number) for number in range(3)]
    assert verify._records(*places[:2], "smoke-*", "01_x") == []
    assert verify._records(*places[1:], "smoke-*", "01_x") == [
        "smoke-cpu/records/01_x.npz: 0_confidence differs"
    ]
    (places[1] / "smoke-cpu" / "records" / "01_x.npz").unlink()
    assert verify._records(*places[:2], "smoke-*", "01_x") == [
        "smoke-cpu/records/01_x.npz: only the first run wrote it"
    ]


@pytest.mark.parametrize(
    "text", ["  5.1 ms", " 12 s", "1,204 s", "3 min", "20 µs", "1e-05 s", "61 seconds"]
)
def test_times_in_text_are_left_out(text):
    assert verify.without_times(f"training{text}, 3 epochs") in (
        "training <time>, 3 epochs", "training<time>, 3 epochs",
    )  # fmt: skip


@pytest.mark.parametrize("text", ["0.9165", "95 % interval", "10 samples", "3 models", "28×28"])
def test_other_numbers_stay(text):
    assert verify.without_times(text) == text


def test_columns_of_times_are_left_out_of_tables():
    def table(accuracy, seconds, name):
        return (
            f"<style>#T_{name} td {{color: red}}</style><table id='T_{name}'><thead><tr><th></th>"
            "<th>accuracy</th><th>training (s)</th></tr></thead><tbody><tr><th>linear</th>"
            f"<td>{accuracy}</td><td>{seconds}</td></tr></tbody></table><p>two rows</p>"
        )

    one = verify.html_without_times(table(0.91, 4, "a1b2c"))
    assert one == verify.html_without_times(table(0.91, 700, "ffff0"))
    assert one != verify.html_without_times(table(0.92, 4, "a1b2c"))
    assert one.splitlines() == [
        " | accuracy | training (s)", "linear | 0.91 | <time>", "two rows"
    ]  # fmt: skip


def test_an_unknown_notebook_is_named(capsys):
    assert main(["verify", "77"]) == 1
    assert main(["verify", "00", "--full", "78"]) == 1
    said = capsys.readouterr().err
    assert "begins with '77'" in said and "begins with '78'" in said
