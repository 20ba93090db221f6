"""The 156 Tamil characters: their text, how they are said in Latin letters, their pen strokes."""

import csv
import json
from functools import cache

import numpy as np

from nbhelpers.sources import project_folder

CLASSES = 156


@cache
def class_table() -> tuple[tuple[str, str], ...]:
    """Return the Unicode text and the transliteration (ISO 15919) of the 156 classes, in order."""
    path = project_folder() / "data" / "tamil_classes.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return tuple((row["text"], row["transliteration"]) for row in csv.DictReader(file))


def transliteration(text: str) -> str:
    """Return the letter in Latin script (ISO 15919): `கி` is `ki`.

    Raises:
        ValueError: `text` is none of the 156 classes.
    """
    try:
        return dict(class_table())[text]
    except KeyError:
        raise ValueError(f"{text!r} is none of the {len(class_table())} Tamil classes.") from None


def named(text: str) -> str:
    """Return the letter with its transliteration, `கி (ki)`, for machines without a Tamil font."""
    return f"{text} ({transliteration(text)})"


@cache
def pen_strokes() -> tuple[tuple[np.ndarray, ...], ...]:
    """Return the strokes of each of the 156 classes, in order.

    Each is float64 `[points, 2]`: x to the right of the letter's left edge, y up from the
    baseline, in units of which a font's em is about 420. A stroke of one point is a dot.
    """
    path = project_folder() / "data" / "tamil_strokes.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    return tuple(
        tuple(np.array(stroke, float) * (1, -1) + (0, content["baseline"]) for stroke in strokes)
        for strokes in content["strokes"]
    )
