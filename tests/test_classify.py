import io
import json
import sys

import in_python
import promise
import pytest
from PIL import Image
from small_models import change_card, picture_of, publish, saved, trained

from handwriting import models
from handwriting.__main__ import main

NOT_SURE = promise.results("`handwriting` says when it is not sure, in words and exit status")


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """The working folder, with five pictures of digits, a blank one and a file that is none."""
    monkeypatch.chdir(tmp_path)
    for number, image in enumerate(trained()[1].test.images[:5]):
        picture_of(image).save(tmp_path / f"{number}.png")
    Image.new("RGB", (80, 60), "white").save("blank.png")
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def classify(folder, *arguments):
    return main([*arguments, "--models", str(folder)])


def test_one_line_for_each_picture(pictures, folder, capsys):
    names = [f"{number}.png" for number in range(5)]
    change_card(folder, threshold=0.0)
    assert classify(folder, *names) == 0
    lines = capsys.readouterr().out.splitlines()
    reader = models.reader("lenet", folder)
    assert lines == [f"{name}: {reader.read(pictures / name)}" for name in names]
    assert lines[0].startswith(f"0.png: {reader.read('0.png').choices[0].text}, probability ")


@NOT_SURE
def test_not_sure_is_said_and_has_a_status(pictures, folder, capsys):
    assert classify(change_card(folder, threshold=2.0), "0.png") == 3
    out, err = capsys.readouterr()
    assert out.startswith("0.png: not sure between ") and err == ""


@promise.hostile("Damaged, huge and misleading pictures are refused in one clear line")
def test_errors_do_not_stop_the_others(pictures, folder, capsys):
    change_card(folder, threshold=2.0)
    assert classify(folder, "blank.png", "none.png", "text.png", "0.png") == 1
    out, err = capsys.readouterr()
    assert out.startswith("0.png: ") and out.count("\n") == 1
    blank, none, text = err.splitlines()
    assert blank.startswith("blank.png: nothing is drawn")
    assert none.startswith("none.png: no such file.")
    assert text.startswith("text.png: not a picture")


def test_json(pictures, folder, capsys):
    change_card(folder, threshold=0.0)
    assert classify(folder, "0.png", "blank.png", "--json") == 1
    out, err = capsys.readouterr()
    assert err == ""
    read, blank = json.loads(out)
    choices = [vars(choice) for choice in models.reader("lenet", folder).read("0.png").choices]
    first = {"answer": choices[0]["text"], "probability": choices[0]["probability"], "sure": True}
    assert read == {"file": "0.png", **first, "choices": choices, "error": None}
    assert blank["error"].startswith("nothing is drawn")
    assert blank == dict.fromkeys(read) | {"file": "blank.png", "error": blank["error"]}
    assert classify(change_card(folder, threshold=2.0), "0.png", "--json") == 3


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_json_is_json_in_any_encoding(encoding, pictures, folder, monkeypatch):
    """Where output is no terminal's, Windows' Python writes cp1252: no Tamil, no camera."""
    change_card(folder, classes=list("அஆஇஈஉஊஎஏஐஒ"), threshold=0.0)
    (pictures / "0.png").rename(name := "ஆ \N{CAMERA} é.png")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, write_through=True))
    assert classify(folder, name, "--json") == 0
    (read,) = json.loads(written.getvalue().decode(encoding))
    assert read["file"] == name and read["answer"] in "அஆஇஈஉஊஎஏஐஒ"


def test_patterns_that_the_shell_left(pictures, folder, capsys):
    """Windows' shells do; a file whose name looks like a pattern is not one."""
    change_card(folder, threshold=0.0)
    (pictures / "0.png").rename("[1].png")
    assert classify(folder, "[1].png", "[2-4].png") == 0
    names = [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["[1].png", "2.png", "3.png", "4.png"]
    assert classify(folder, "*.webp") == 1
    assert capsys.readouterr().err.startswith("*.webp: no such file.")


def test_says_which_model_reads(pictures, reference, capsys):
    """The course's own, before anything is trained: on standard error, and JSON stays JSON."""
    publish()
    assert main(["0.png", "--json"]) in (0, 3)
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["file"] == "0.png"
    accuracy = saved()[1].results["test_accuracy"]
    assert err == (
        "model: LeNet on the sample, the course's own (smoke run, sample data), "
        f"test accuracy {accuracy:.4f}\n"
    )


def test_missing_model_is_one_line_with_the_command(pictures, capsys):
    assert classify(pictures, "0.png", "--model", "tamil") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ") and err.endswith("make run NOTEBOOKS=07\n")
    assert err.count("\n") == 1


@NOT_SURE
def test_as_a_command_in_another_process(pictures, folder):
    """In a terminal that knows ASCII only."""
    change_card(folder, classes=list("அஆஇஈஉஊஎஏஐஒ"), threshold=0.0)
    command = ["-m", "handwriting", "--models", folder, "0.png", "1.png"]
    answer = in_python.run(*command, PYTHONIOENCODING="ascii")
    assert (answer.returncode, answer.stderr) == (0, "")
    first, second = answer.stdout.splitlines()
    assert first.startswith(r"0.png: \u0b") and second.startswith(r"1.png: \u0b")


def test_the_old_command_says_where_it_went():
    said = in_python.run("-m", "nbhelpers", "classify", "0.png")
    assert said.returncode != 0 and "python -m handwriting photo.png" in said.stderr
