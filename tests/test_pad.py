"""The Python side of the drawing pad: pictures in, answers out. The page's is in tests/browser/."""

import base64
import io
import re
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from as_files import LYING, STANDING, drawing
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from handwriting import cards, models, pad
from nbhelpers import shapes
from nbhelpers.tamil.alphabet import class_table

LETTERS = tuple(text for text, _ in class_table())


def reader(form="mnist", classes=tuple("0123456789")):
    """A reader that takes what lies for class 0, what stands for class 1; 2 stays close."""

    def run(names, inputs):
        (ink,) = inputs["images"][:, 0]
        high, wide = ((ink > 0.3).any(axis).sum() for axis in (1, 0))
        probabilities = np.full(len(classes), 0.001, np.float32)
        probabilities[int(high > wide)], probabilities[2] = 0.9, 0.09
        return [probabilities[None]]

    card = dict.fromkeys(field.name for field in fields(cards.Card)) | {
        "title": "by shape", "classes": classes, "form": form, "threshold": 0.5,
        "side": shapes.FORMS[form].side, "proportions": shapes.FORMS[form].proportions,
        "data": {"source": "full"}, "made_with": {"profile": "quick"}, "strangest": 1.0,
    }  # fmt: skip
    return models.Reader(cards.Card(**card), SimpleNamespace(run=run))


def ask(widget, kind, png=None, **about):
    """Send what the page would; return the answer."""
    sent = []
    widget.send = sent.append
    content = {"kind": kind, "view": "v", "number": 7, "source": 0, **about}
    widget._handle_custom_msg(content, [memoryview(png)] if png is not None else [])
    assert [(one["view"], one["number"]) for one in sent] == [("v", 7)]
    return sent[0]


def shown(widget):
    """Return the data and metadata that a notebook saves."""
    return DisplayFormatter().format(widget)


def test_a_picture_is_answered():
    widget = pad.Pad(reader())
    png = drawing(STANDING)
    answer = ask(widget, "picture", png)
    assert answer["kind"] == "answer" and answer["sure"]
    first, second, *others = answer["choices"]
    assert (first["text"], second["text"], len(others)) == ("1", "2", 3)
    assert first["probability"] == pytest.approx(0.9)
    content = base64.b64decode(answer["seen"].removeprefix("data:image/png;base64,"))
    seen = np.asarray(Image.open(io.BytesIO(content)))
    assert np.array_equal(255 - seen, widget.answer.steps.normalised) and answer["side"] == 28
    assert widget.picture == png and widget.answer.choices[0].text == "1"


def test_tamil_letters_come_with_strokes_and_transliteration():
    widget = pad.Pad({"Digits": reader(), "Tamil": reader("tamil", LETTERS)})
    digits, tamil = widget.options["sources"]
    assert (digits["noun"], tamil["noun"]) == ("digit", "letter")
    assert digits["labels"][3] == ["3", ""] and tamil["labels"][0] == ["அ", "a"]
    first = ask(widget, "picture", drawing(), source=1)["choices"][0]
    assert (first["text"], first["transliteration"]) == ("அ", "a")
    assert all(len(point) == 2 for stroke in first["strokes"] for point in stroke)
    assert not ask(widget, "picture", drawing(), source=0)["choices"][0]["strokes"]


@pytest.mark.parametrize("png", [drawing((0, 0, 0, 0)), b"no picture", b""])
def test_what_cannot_be_read_is_said(png):
    widget = pad.Pad(reader())
    answer = ask(widget, "picture", png)
    assert answer["kind"] == "answer" and len(answer["error"]) > 20
    assert widget.answer is None


def test_several_are_read_one_by_one():
    answer = ask(pad.Pad(reader()), "picture", drawing((15, 20, 25, 120), (90, 20, 100, 120)))
    assert "side by side" in answer["error"]
    assert [one["choices"][0]["text"] for one in answer["all"]] == ["1", "1"]


def test_a_failing_model_is_not_silent():
    widget = pad.Pad(reader())
    widget.readers["by shape"].session.run = lambda *_: 1 / 0
    assert "ZeroDivisionError" in ask(widget, "picture", drawing())["error"]


def test_keep(tmp_path):
    widget = pad.Pad(reader(), folder=tmp_path)
    answer = ask(widget, "keep", drawing(), label="4")
    assert answer["kind"] == "kept" and "4/0001.png" in answer["path"]
    assert (tmp_path / "mnist" / "4" / "0001.png").exists()
    assert "nothing is drawn" in ask(widget, "keep", drawing((0, 0, 0, 0)), label="4")["error"]
    (tmp_path / "file").touch()
    widget.folder = tmp_path / "file"
    assert ask(widget, "keep", drawing(), label="4")["error"]  # no folder can be made there


def test_practice_asks_checks_and_counts():
    practice = pad.Practice(reader(), letters=["0", "1"], seed=3)
    first = practice.task["text"]
    right, wrong = (LYING, STANDING) if first == "0" else (STANDING, LYING)
    assert ask(practice, "picture", drawing(right))["choices"][0]["text"] == first
    assert (practice.task["right"], practice.task["done"]) == (1, 1)
    ask(practice, "picture", drawing(wrong))  # another try does not count
    assert (practice.task["right"], practice.task["done"]) == (1, 1)
    number = practice.task["number"]
    ask(practice, "next")
    second = practice.task["text"]
    assert second != first and practice.task["number"] == number + 1
    assert practice.task["done"] == 1
    ask(practice, "picture", b"no picture")  # nothing was read: that is no try
    assert practice.task["done"] == 1
    ask(practice, "picture", drawing(right))  # the first letter again
    assert (practice.task["right"], practice.task["done"]) == (1, 2)
    assert practice.results == [(first, first), (second, first)]


def test_what_was_sent_before_the_next_letter_came_is_not_about_it():
    practice = pad.Practice(reader(), letters=["0", "1"], seed=3)
    old = practice.task
    for _ in range(2):  # pressed twice
        ask(practice, "next", task=old["number"])
    assert practice.task["number"] == old["number"] + 1
    ask(practice, "picture", drawing(), task=old["number"])
    assert practice.task["done"] == 0 and not practice.results


def test_practice_asks_for_all_before_any_comes_again():
    def order(seed, letters=tuple("01234")):
        practice = pad.Practice(reader(), letters=letters, seed=seed)
        asked = [practice.task["text"]]
        for _ in range(14):
            ask(practice, "next")
            asked.append(practice.task["text"])
        return asked

    asked = order(1)
    assert asked == order(1) != order(2)
    assert [sorted(asked[i : i + 5]) for i in (0, 5, 10)] == [list("01234")] * 3
    assert all(a != b for seed in range(20) for a, b in pairwise(order(seed)))
    assert set(order(1, letters=["7"])) == {"7"}


@pytest.mark.parametrize("letters", [["x"], []])
def test_practice_of_what_the_reader_does_not_know(letters):
    with pytest.raises(ValueError, match=r"reader\.card\.classes"):
        pad.Practice(reader(), letters=letters)
    with pytest.raises(ValueError, match="No reader"):
        pad.Pad({})


def test_headless_a_picture_of_what_was_drawn_last_stands_in(monkeypatch):
    monkeypatch.setenv("NB_HEADLESS", "1")
    data, metadata = shown(pad.Pad(reader()))
    assert set(data) == {"image/png", "text/plain"}
    alt = metadata["image/png"]["alt"]
    assert "drawing pad" in alt and "1" in alt and data["text/plain"] == f"<figure: {alt}>"
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.width > 600 and len(data["image/png"]) < 30_000
    widget = pad.Pad({"Digits": reader(), "Tamil": reader("tamil", LETTERS)})
    ask(widget, "picture", drawing(LYING), source=1)
    after, metadata = shown(widget)
    assert after["image/png"] != data["image/png"]
    assert "letter" in metadata["image/png"]["alt"] and "அ" in metadata["image/png"]["alt"]
    ask(widget, "picture", drawing((0, 0, 0, 0)))
    assert "nothing could be read" in shown(widget)[1]["image/png"]["alt"]


def test_with_a_front_end_the_widget_and_the_picture(monkeypatch):
    """What anywidget says about the widget is passed on: in Colab, where its manager is."""
    monkeypatch.delenv("NB_HEADLESS", raising=False)
    manager = {pad.WIDGET: {"colab": {"custom_widget_manager": {"url": "https://a.invalid"}}}}
    monkeypatch.setattr("anywidget._util.get_repr_metadata", lambda: manager)
    data, metadata = shown(pad.Pad(reader()))
    assert set(data) == {"image/png", "text/plain", pad.WIDGET}
    assert metadata == manager | {"image/png": metadata["image/png"]}
    assert data[pad.WIDGET] and "drawing pad" in metadata["image/png"]["alt"]


def test_the_page_s_part_needs_no_other_file():
    for name in ("pad.js", "pad.css"):
        text = (Path(pad.__file__).parent / "web" / name).read_text(encoding="utf-8")
        assert not re.search(r"^\s*@?import\b|\bimport\(|url\(", text, re.M)
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # a name, no address
