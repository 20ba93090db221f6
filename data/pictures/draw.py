"""Draw the ten pictures beside this file: one digit each, as different pens might write them.

`python data/pictures/draw.py` writes digit_0.png to digit_9.png again. Needs only Pillow.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

FINER = 4  # draw this many times larger, then shrink: smooth edges
STEPS = 24  # points on the curve from one given point to the next
Point = tuple[float, float]

# The way of the pen, a string for each stroke: "x,y x,y …" in hundredths of the box written in,
# y downwards. The strokes are smooth curves through these points.
STROKES = {
    0: ["62,5 36,6 14,34 12,68 32,95 62,92 86,62 84,28 62,7 50,4"],
    1: ["30,24 44,15 58,2 55,30 52,64 48,98"],
    2: ["14,26 26,8 52,3 76,14 78,34 60,58 34,80 10,96", "10,96 36,94 62,96 92,93"],
    3: ["16,14 40,2 68,7 77,24 64,40 38,47", "38,47 66,51 83,70 72,91 44,98 12,88"],
    4: ["36,3 28,26 12,56 10,62 40,62 94,58", "72,22 69,48 67,74 63,100"],
    5: ["30,6 27,22 22,44", "22,44 46,37 72,46 82,68 68,90 40,98 12,88", "30,6 56,7 86,3"],
    6: ["70,3 42,20 22,48 16,76 32,96 60,94 76,76 64,58 40,57 20,72"],
    7: ["10,9 34,7 62,9 88,5", "88,5 70,34 52,66 42,99"],
    8: ["72,14 48,3 24,14 28,34 52,48 78,66 74,90 46,99 20,86 24,64 50,46 74,30 73,13"],
    9: ["78,22 58,5 30,10 18,30 32,48 58,44 78,22", "78,22 77,46 70,72 58,100"],
}


@dataclass(frozen=True)
class Pen:
    """How and where a digit is written; lengths in pixels of the finished picture.

    Attributes:
        size: width and height of the picture.
        box: left, top, width and height of the part written in.
        width: of the line.
        ink: colour of the pen.
        paper: colour of the paper; None is transparent.
        slant: how far the top leans to the right, as a share of the box's width.
    """

    size: tuple[int, int]
    box: tuple[float, float, float, float]
    width: float
    ink: str
    paper: str | None
    slant: float = 0.0


PENS = {
    0: Pen((56, 56), (14, 10, 27, 37), 2.6, "#1d1d1f", "white", 0.06),
    1: Pen((100, 140), (12, 16, 52, 76), 7.0, "white", "black", 0.10),
    2: Pen((200, 200), (52, 38, 96, 124), 6.0, "#1f3d99", "#fbf3df", 0.04),
    3: Pen((100, 140), (24, 30, 54, 84), 5.0, "#202020", None, 0.05),
    4: Pen((56, 56), (12, 9, 32, 38), 5.4, "white", "black"),
    5: Pen((200, 200), (112, 104, 56, 76), 4.6, "#111111", "white", -0.04),
    6: Pen((140, 100), (18, 12, 50, 74), 4.0, "#a3262a", "#fbf3df", 0.02),
    7: Pen((200, 200), (44, 24, 112, 150), 4.0, "#0f5132", "#fbf3df", -0.02),
    8: Pen((100, 140), (20, 28, 58, 86), 12.0, "#101010", "white", 0.08),
    9: Pen((100, 140), (36, 16, 52, 82), 6.0, "#3b1d6e", None, 0.05),
}


def curve(stroke: str) -> Iterator[Point]:
    """Yield points, 0 to 1, of the Catmull-Rom curve (a chain of Bézier curves) of a stroke."""
    points = [tuple(int(number) / 100 for number in point.split(",")) for point in stroke.split()]
    padded = [points[0], *points, points[-1]]
    for corners in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for t in (step / STEPS for step in range(STEPS)):
            weights = (
                (-t + 2 * t**2 - t**3) / 2,
                (2 - 5 * t**2 + 3 * t**3) / 2,
                (t + 4 * t**2 - 3 * t**3) / 2,
                (t**3 - t**2) / 2,
            )
            yield tuple(
                sum(w * corner[axis] for w, corner in zip(weights, corners, strict=True))
                for axis in (0, 1)
            )
    yield points[-1]


def wave(hand: random.Random, length: int) -> list[float]:
    """Return `length` numbers of at most 1 that go slowly up and down, as a hand does."""
    turns = [(hand.uniform(0.5, 3), hand.uniform(0, math.tau)) for _ in range(3)]
    return [
        sum(math.sin(math.tau * count * i / length + start) for count, start in turns) / 3
        for i in range(length)
    ]


def draw(digit: int) -> Image.Image:
    """Return the picture of `digit`, written with its pen from `PENS`."""
    pen, hand = PENS[digit], random.Random(digit)
    mask = Image.new("L", tuple(side * FINER for side in pen.size), 0)
    canvas = ImageDraw.Draw(mask)
    left, top, width, height = (length * FINER for length in pen.box)
    for stroke in STROKES[digit]:
        path = list(curve(stroke))
        waves = [wave(hand, len(path)) for _ in range(3)]
        for i, ((x, y), right, down, pressure) in enumerate(zip(path, *waves, strict=True)):
            free = math.sin(math.pi * i / (len(path) - 1))  # 0 at the ends: strokes still meet
            x += pen.slant * (1 - y) + 0.02 * right * free
            y += 0.015 * down * free
            centre = left + x * width, top + y * height
            canvas.circle(centre, pen.width * FINER / 2 * (1 + 0.16 * pressure), fill=255)
    mask = mask.resize(pen.size, Image.Resampling.LANCZOS)
    if pen.paper is None:
        picture = Image.new("RGBA", pen.size, pen.ink)
        picture.putalpha(mask)
    else:
        picture = Image.new("RGB", pen.size, pen.paper)
        picture.paste(pen.ink, mask=mask)
    return picture


if __name__ == "__main__":
    for digit in STROKES:
        draw(digit).save(Path(__file__).with_name(f"digit_{digit}.png"), optimize=True)
