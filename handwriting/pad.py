"""A pad to draw on in a notebook: a model reads what is drawn, stroke by stroke.

`Pad` shows the five likeliest characters; `Practice` asks for letters and checks them. The page's
part is `web/pad.js`, which knows nothing of Jupyter but a thin adapter. Where there is no front
end (a page made by nbconvert, GitHub, a run with `NB_HEADLESS=1`) a picture of the pad stands in.
"""

import base64
import contextlib
import io
import json
import math
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import matplotlib
import numpy as np
import traitlets
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from handwriting import mine
from handwriting.models import Answer, Choice, Reader
from handwriting.pictures import InkError
from nbhelpers import sources
from nbhelpers.tamil import font

WIDGET = "application/vnd.jupyter.widget-view+json"
WORDS = json.loads((Path(__file__).with_name("web") / "words.json").read_text(encoding="utf-8"))
WORDS = {part: WORDS[part] for part in ("pad", "refusals")}  # what the pad says, in two languages


class Pad(anywidget.AnyWidget):
    """Paper to draw one character on, and what a model reads.

    `picture` is what was last drawn, the bytes of a PNG file, and `answer` what was last read, an
    `Answer`; both are None before, and `answer` where nothing could be read.

    Args:
        readers: from `models.reader`; or several by the name that the pad shows for each.
        folder: where "Keep" puts drawings, by default `data/mine`; see `mine.keep`.

    Raises:
        ValueError: there is no reader.
    """

    _esm = Path(__file__).with_name("web") / "pad.js"
    _css = Path(__file__).with_name("web") / "pad.css"
    options = traitlets.Dict().tag(sync=True)
    task = traitlets.Dict(default_value=None, allow_none=True).tag(sync=True)

    def __init__(self, readers: Reader | Mapping[str, Reader], folder: Path | None = None) -> None:
        """Prepare the pad; it is shown when it is a cell's last line, or by `display`."""
        readers = readers if isinstance(readers, Mapping) else {readers.card.title: readers}
        if not readers:
            raise ValueError("No reader. Expected one of models.reader, or several by name.")
        self.readers = dict(readers)
        self.folder = folder
        self.picture: bytes | None = None
        self.answer: Answer | None = None
        self._drawn_for = next(iter(self.readers.values()))  # the reader of `picture`
        described = [_described(*one) for one in self.readers.items()]
        super().__init__(options={"sources": described, "words": WORDS})
        self.on_msg(self._received)

    def _received(self, _: "Pad", content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        """Do what the page asks, and answer: an error that is only logged, no one would see."""
        reply: dict[str, Any] = {"kind": "done"}
        try:
            reply |= {key: content.get(key) for key in ("view", "number")}
            works = {"picture": self._read, "keep": self._keep, "next": self._next}
            work = works[content["kind"]]
            reply["kind"] = {"picture": "answer", "keep": "kept"}.get(content["kind"], "done")
            png = bytes(buffers[0]) if buffers else b""
            reader = list(self.readers.values())[content.get("source", 0)]
            reply |= work(png, reader, content)
        except (InkError, ValueError, OSError) as error:
            reply["error"] = str(error)
        except Exception as error:
            reply["error"] = f"That went wrong: {type(error).__name__}: {error}"
        self.send(reply)

    def _read(self, png: bytes, reader: Reader, _: dict[str, Any]) -> dict[str, Any]:
        self.picture, self.answer, self._drawn_for = png, None, reader
        try:
            self.answer = reader.read(png)
        except InkError as error:
            several = WORDS["refusals"]["several"]["en"] in str(error)
            every = reader.read_all(png) if several else []
            return {"error": str(error), "all": [_said(one, reader) for one in every]}
        seen = self.answer.steps.form
        picture = "data:image/png;base64," + _base64(_png(Image.fromarray(255 - seen)))
        return _said(self.answer, reader) | {"seen": picture, "side": len(seen)}

    def _keep(self, png: bytes, reader: Reader, content: dict[str, Any]) -> dict[str, Any]:
        path = mine.keep(png, content["label"], reader.card.form, self.folder).resolve()
        root = sources.project_folder()
        short = path.relative_to(root) if path.is_relative_to(root) else path
        return {"path": short.as_posix()}

    def _next(self, *_: object) -> dict[str, Any]:
        return {}

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget with a picture of it; in a headless run the picture only.

        A saved notebook is opened without the kernel that made it: JupyterLab would then say
        "Error displaying widget" where the widget view is saved beside the picture.
        """
        png, said = self._snapshot()
        data = {"image/png": _base64(png), "text/plain": f"<figure: {said}>"}
        metadata = {"image/png": {"alt": said}}
        if not os.environ.get("NB_HEADLESS"):
            bundle = super()._repr_mimebundle_(**kwargs)
            data |= {WIDGET: bundle[0][WIDGET]}
            metadata |= bundle[1]  # in Colab: where the widget's manager is
        return data, metadata

    def _snapshot(self) -> tuple[bytes, str]:
        """Return a picture of the pad with the last drawing, or an example, and its alt text."""
        picture, answer, reader = self.picture, self.answer, self._drawn_for
        if picture is None:
            picture = _png(_written(reader.card.strokes(reader.card.classes[0]) or [_three()]))
            with contextlib.suppress(InkError):
                answer = reader.read(picture)
        said = f", and what the model reads: {answer}" if answer else "; nothing could be read"
        return _figure(picture, answer, reader), f"a drawing pad with a {reader.card.noun}{said}"


class Practice(Pad):
    """A pad that asks for one character after the other and says how each was read.

    A picture is read when the learner presses "Check"; the first check of each character counts
    and is in `results`: (asked for, read as). All letters, by default those that the reader knows,
    are asked for before any comes again; their order is drawn from the seed.

    Raises:
        ValueError: `letters` is empty or holds one that the reader does not know.
    """

    def __init__(self, reader: Reader, letters: Sequence[str] | None = None, seed: int = 0) -> None:
        """Prepare the first character."""
        letters = list(reader.card.classes if letters is None else letters)
        unknown = [text for text in letters if text not in reader.card.classes]
        if unknown or not letters:
            what = f"{unknown[0]!r} is none of its classes" if unknown else "it is empty"
            raise ValueError(f"letters: {what}. Expected characters of reader.card.classes.")
        super().__init__(reader)
        self.results: list[tuple[str, str]] = []
        self._letters, self._random, self._left = letters, random.Random(seed), []
        self._next()

    def _next(self, *asked: Any) -> dict[str, Any]:
        if asked and not self._is_about_this(asked[-1]):  # pressed twice
            return {}
        if not self._left:
            self._left = self._random.sample(self._letters, len(self._letters))
            if self.task and self._left[-1] == self.task["text"]:  # not twice running
                self._left.reverse()
        text = self._left.pop()
        card = self._drawn_for.card
        shown = {"transliteration": card.transliteration(text), "strokes": card.strokes(text)}
        number = self.task["number"] + 1 if self.task else 1
        self._first = True
        self.task = {"number": number, "text": text, **shown, **self._score()}
        return {}

    def _is_about_this(self, content: dict[str, Any]) -> bool:
        """Return whether a message was sent for the character that is asked for now."""
        return content.get("task") in (None, self.task["number"])

    def _score(self) -> dict[str, int]:
        right = sum(asked == read for asked, read in self.results)
        return {"right": right, "done": len(self.results)}

    def _read(self, png: bytes, reader: Reader, content: dict[str, Any]) -> dict[str, Any]:
        answer = super()._read(png, reader, content)
        if self._first and "error" not in answer and self._is_about_this(content):
            self._first = False
            self.results.append((self.task["text"], answer["choices"][0]["text"]))
            self.task = self.task | self._score()
        return answer


def _said(answer: Answer, reader: Reader) -> dict[str, Any]:
    choices = [vars(one) | {"strokes": reader.card.strokes(one.text)} for one in answer.choices]
    return {"sure": answer.sure, "choices": choices}


def _described(name: str, reader: Reader) -> dict[str, Any]:
    card = reader.card
    labels = [[text, card.transliteration(text)] for text in card.classes]
    about = {"title": card.title, "origin": reader.origin}
    return {"name": name, "noun": card.noun, "labels": labels} | about


def _three() -> list[list[float]]:
    """Return the way of a pen that writes a 3, y down: two arcs."""
    turns = [math.radians(angle) for angle in range(-155, 91, 5)]
    upper = [[28 * math.cos(t), 24 * math.sin(t) - 24] for t in turns]
    return upper + [[33 * math.cos(-t), 30 * math.sin(-t) + 30] for t in reversed(turns)]


def _written(strokes: list[list[list[int]]], side: int = 560, pen: int = 36) -> Image.Image:
    """Return strokes as a picture, dark on white, in the middle of it."""
    points = np.concatenate(strokes)
    low, high = points.min(0), points.max(0)
    scale = 0.7 * side / max(*(high - low), 1)
    picture = Image.new("L", (side, side), 255)
    draw = ImageDraw.Draw(picture)
    for stroke in strokes:
        line = (side / 2 + scale * (np.array(stroke) - (low + high) / 2)).tolist()
        draw.line([tuple(point) for point in line], fill=20, width=pen, joint="curve")
        for x, y in line:  # round ends and corners
            draw.ellipse([x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2], fill=20)
    return picture


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    return content.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _figure(picture: bytes, answer: Answer | None, reader: Reader) -> bytes:
    """Return a picture of the pad, PNG: the drawing, the five likeliest, what the model sees."""
    with matplotlib.rc_context({"figure.constrained_layout.use": True}):
        if not all(text.isascii() for text in reader.card.classes):
            font.use_in_plots()
        figure = Figure(figsize=(7.2, 2.6), dpi=96, facecolor="white")
        paper, bars, seen = figure.subplots(1, 3, width_ratios=[1.2, 1.4, 1])
        paper.imshow(Image.open(io.BytesIO(picture)).convert("L"), cmap="gray", vmin=0, vmax=255)
        paper.set_title("drawn")
        for axes in (paper, seen):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#c8ccd4")
        if answer is None:
            bars.text(0.5, 0.5, "nothing could be read", ha="center")
            bars.set_axis_off()
            seen.set_axis_off()
        else:
            _draw_choices(bars, answer.choices, answer.sure)
            grey = Image.fromarray(255 - answer.steps.form)  # dark on white
            seen.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            seen.set(title="what the model sees", xlabel=f"{grey.width} × {grey.height} pixels")
        about = WORDS["pad"]["about"]["en"].format(title=reader.card.title, origin=reader.origin)
        figure.supxlabel(about, fontsize=8, color="#5d6570")
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
    return _png(Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE))


def _draw_choices(axes: Any, choices: Sequence[Choice], sure: bool) -> None:
    values = [choice.probability for choice in choices]
    names = [f"{c.text}  {c.transliteration}".strip() for c in choices]
    colours = ["#1976d2"] + ["#9db7d5"] * (len(choices) - 1)
    bars = axes.barh(range(len(choices)), values, height=0.6, color=colours, tick_label=names)
    rare = {"0 %": "< 1 %", "100 %": "> 99 %"}
    said = [f"{100 * value:.0f} %" for value in values]
    said = [rare.get(s, s) if v < 1 else s for s, v in zip(said, values, strict=True)]
    axes.bar_label(bars, said, padding=3, fontsize=9)
    axes.tick_params(left=False)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.2), xticks=[], title="read as" if sure else "not sure; the likeliest")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color("#c8ccd4")
