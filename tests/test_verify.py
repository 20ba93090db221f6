"""Executing twice finds what is not the same again, and forgives nothing but times."""

import re
from pathlib import Path

import promise
import pytest
from nbformat import v4
from nbval.plugin import get_sanitize_patterns
from tiny_project import write

from course import results, verify
from course.__main__ import main

SCRATCH = """
import os
from pathlib import Path
assert not list(Path(os.environ["NBHELPERS_ARTIFACTS"]).glob("*cpu"))
"""
RECORD = """
import os, random, numpy
from pathlib import Path
folder = Path(os.environ["NBHELPERS_ARTIFACTS"], os.environ["NB_PROFILE"] + "-cpu", "records")
folder.mkdir(parents=True, exist_ok=True)
arrays = {{"0_confidence": numpy.array([{confidence}]), "0_seconds": numpy.array(random.random())}}
numpy.savez(folder / "{name}.npz", **arrays)
"""
TIMES = """
import time
print(f"trained for {time.perf_counter_ns() / 1e9:.1f} s, accuracy 0.75")
"""
PICTURE = """
import base64, random
picture = base64.b64encode(bytes([{content}] * 99)).decode()
display({{"image/png": picture, "text/plain": f"an object at {{hex(id(picture))}}"}}, raw=True)
"""
DRAWN_TIMES = "import time; print(time.perf_counter_ns())"


@promise.results("`make verify`: executed twice from scratch, notebooks give the same, times aside")
def test_a_notebook_that_gives_the_same_again_passes(project):
    record = RECORD.format(confidence=0.5, name="01_same")
    drawn = v4.new_code_cell(DRAWN_TIMES, metadata={"tags": ["nbval-ignore-output"]})
    write(project, _01_same=[SCRATCH, record, TIMES, PICTURE.format(content=7), drawn])
    left = project / "build" / "verify" / "first" / "smoke-cpu"  # of an earlier run
    left.mkdir(parents=True)
    assert verify.run([], []) == 0
    outcome = results.read(project / "build" / "verify" / "outcome.json")
    assert outcome == {"01_same, smoke": 0}


@promise.results("`make verify` finds an output or a record that comes out differently")
def test_what_comes_out_differently_is_found(project, capfd):
    write(
        project,
        _01_luck=["print('always')", "import random; print('accuracy', random.random())"],
        _02_record=RECORD.format(confidence="random.random()", name="02_record"),
        _03_picture=PICTURE.format(content="random.randrange(256)"),
    )
    assert verify.run([], []) == 1
    assert results.read(project / "build" / "verify" / "outcome.json") == {
        "01_luck, smoke": 1, "02_record, smoke": 1, "03_picture, smoke": 1,
    }  # fmt: skip
    said = capfd.readouterr().out
    assert "accuracy 0." in said and "image/png" in said
    assert "02_record.npz: 0_confidence differs" in said


def test_a_notebook_that_fails_ends_it(project, capfd):
    write(project, _01_fails="1 / 0", _02_next="1")
    assert verify.run([], []) == 1
    said = capfd.readouterr().out
    assert "ZeroDivisionError" in said and "02_next" not in said


def without_times(text):
    settings = Path(verify.__file__).with_suffix(".cfg").read_text(encoding="ascii")
    for pattern, instead in get_sanitize_patterns(settings):
        text = re.sub(pattern, instead, text)
    return text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("training  5.1 ms, 3 epochs", "training 12 µs, 3 epochs"),
        ("1,204 s", "1e-05 s"), ("3 min left", "61 seconds left"), ("00:12", "1:10:12"),
        ("<td>0.98</td>\n<td>72.7</td>\n</tr>", "<td>0.98</td>\n<td>8.1</td>\n</tr>"),
        ("1   0.1736   0.9901   72.7\n2", "1   0.1736   0.9901    8.1\n2"),
        ('<td id="T_ab12f_row4_col3" class="data row4 col3" >0.36</td>',
         '<td id="T_90e1f_row4_col3" class="data row4 col3" >15.22</td>'),
        ("<Styler at 0x7fa82af5d390>", "<Styler at 0x7fa8273e0890>"),
    ],
)  # fmt: skip
def test_times_are_left_out(one, other):
    assert without_times(one) == without_times(other) != one


@pytest.mark.parametrize(
    "text",
    ["0.9165", "95 % interval", "10 samples", "3 models", "28×28", "<td>0.9901</td></tr>",
     'row4 col3" >0.9901<', 'row4 col1" >7,850<', "1 0.1736 0.9901\n2"],
)  # fmt: skip
def test_other_numbers_stay(text):
    assert without_times(text) == text


def test_an_unknown_notebook_is_named(capsys):
    assert main(["verify", "77"]) == 1
    assert main(["verify", "00", "--full", "78"]) == 1
    said = capsys.readouterr().err
    assert "begins with '77'" in said and "begins with '78'" in said
