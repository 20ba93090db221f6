"""Synthetic writers of Tamil: the stand-in for HPL Tamil where the real data is not to be had.

Each writer has a hand of their own and writes every letter from its pen strokes, a little
differently each time. A stroke is bent along its length, as a moving pen would bend it: the steps
of the pen are turned and stretched by smooth noise, so that loops, corners and proportions change,
not only the letter as a whole. Pictures come in HPL's layout, for the same importer.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from nbhelpers.sources import project_folder
from nbhelpers.tamil.alphabet import pen_strokes

MARGIN = 4  # pixels of paper around the ink, as in HPL's pictures
FINE = 3  # pictures are drawn this many times larger, then made small and black or white
SPACING = 8.0  # between the points of a stroke, in the units of `alphabet.pen_strokes`
RING = 110.0  # a closed stroke narrower than this is a dot
LONG, SHORT = 120.0, 20.0  # lengths over which a stroke bends, and over which a hand trembles


@dataclass(frozen=True)
class Hand:
    """How one writer writes. Lengths are in the units of `alphabet.pen_strokes`.

    Attributes:
        size: pixels a unit.
        aspect: width of letters, 1 as in print.
        slant: to the right, as a share of the height.
        climb: of the line of writing, radians.
        pen: its width in pixels.
        tremor: how far the pen trembles.
        speed: 0 (draws with care) to 1 (rounds corners, closes loops, shortens tails).
        bend: how far headings stray, radians.
        stretch: how far lengths stray, as a share.
        wobble: of strokes against one another.
        dot: `point`, `dash` or `ring`.
        joins: longest way between two strokes on which the pen stays down.
    """

    size: float
    aspect: float
    slant: float
    climb: float
    pen: float
    tremor: float
    speed: float
    bend: float
    stretch: float
    wobble: float
    dot: str
    joins: float


def random_hand(random: np.random.Generator) -> Hand:
    """Return the hand of a new writer."""
    speed = random.beta(1.5, 1.2)
    return Hand(
        size=0.29 * np.exp(random.normal(0, 0.2)),
        aspect=1.08 * np.exp(random.normal(0, 0.14)),
        slant=random.normal(0.08, 0.2),
        climb=random.normal(0, 0.06),
        pen=random.choice([2.0, 2.0, 2.3, 2.6, 3.0]),
        tremor=random.uniform(0, 2.2) * (1 - 0.6 * speed),
        speed=speed,
        bend=random.uniform(0.10, 0.22) + 0.09 * speed,
        stretch=random.uniform(0.14, 0.28) + 0.08 * speed,
        wobble=random.uniform(3, 9),
        dot=str(random.choice(["point", "dash", "ring", "ring"])),
        joins=random.uniform(0, 70) * speed,
    )


def edition() -> str:
    """Return 8 hexadecimal digits that change whenever the pictures might."""
    strokes = project_folder() / "data" / "tamil_strokes.json"
    return f"{zlib.crc32(strokes.read_bytes() + Path(__file__).read_bytes()):08x}"


def write_synthetic_writers(
    folder: Path, writers: int = 20, trials: int = 2, seed: int = 0, classes: int = 156
) -> None:
    """Write pictures of the letters by synthetic writers: `usr_<writer>/<class>t<trial>.tiff`.

    1 bit a pixel, black on white, cut tightly with 4 pixels of paper around the ink. A writer
    writes the same, whatever the number of writers.

    Args:
        folder: is made, with the folders above it.
        writers: how many; they are numbered from 1.
        trials: pictures of each class by each writer.
        seed: of everything that is drawn at random.
        classes: the first so many of the 156.
    """
    for writer in range(1, writers + 1):
        place = folder / f"usr_{writer}"
        place.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng([seed, writer])
        hand = random_hand(random)
        for label in range(classes):
            for trial, lines in enumerate(written(label, hand, trials, random), 1):
                picture(lines, hand.pen).save(place / f"{label:03}t{trial:02}.tiff")


# -------------------------------------------------------------------------------------- writing


class _Stroke(NamedTuple):
    line: np.ndarray  # complex [points], x + iy, evenly spaced
    rounded: np.ndarray  # the same as a fast hand would have it
    slow: np.ndarray  # float [knots, points], see _bumps
    quick: np.ndarray  # the same for tremor


@cache
def _prepared(label: int) -> tuple[_Stroke, ...]:
    """Return the strokes of a class, ready to be varied; a dot has one point."""
    strokes = []
    for stroke in pen_strokes()[label]:
        line = stroke[:, 0] + 1j * stroke[:, 1]
        if line[0] == line[-1] and np.ptp(line.real) < RING:  # the rings of ஃ: dots to many hands
            line = line.mean(keepdims=True)
        along = np.concatenate([[0], np.cumsum(np.abs(np.diff(line)))])
        count = max(4, round(along[-1] / SPACING)) if len(line) > 1 else 1
        line = np.interp(np.linspace(0, along[-1], count), along, line)
        strokes.append(
            _Stroke(line, _smoothed(line, 5.0), _bumps(count, LONG), _bumps(count, SHORT))
        )
    return tuple(strokes)


def _smoothed(line: np.ndarray, sigma: float) -> np.ndarray:
    """Return the line with its corners rounded over `sigma` points; its ends stay."""
    reach = min(len(line) - 1, round(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    before, after = 2 * line[0] - line[reach:0:-1], 2 * line[-1] - line[-2 : -reach - 2 : -1]
    padded = np.concatenate([before, line, after])
    return np.convolve(padded, weights / weights.sum(), "valid")


def _bumps(points: int, length: float) -> np.ndarray:
    """Return what makes smooth noise of variance 1 from numbers at knots, float [knots, points]."""
    along = np.arange(points) * SPACING
    knots = np.arange(-length, along[-1] + 2 * length, length)
    bumps = np.exp(-0.5 * ((along - knots[:, None]) / (0.6 * length)) ** 2)
    return bumps / np.sqrt((bumps**2).sum(axis=0))


def written(
    label: int, hand: Hand, trials: int, random: np.random.Generator
) -> list[list[np.ndarray]]:
    """Return the strokes that a hand makes of a class, for each trial, complex [points], in pixels.

    A part of what strays is a habit of this writer with this letter, the rest is chance.
    """
    letters: list[list[np.ndarray]] = [[] for _ in range(trials)]
    looseness = np.exp(random.normal(0, 0.2, trials))
    for stroke in _prepared(label):
        for letter, line in zip(letters, _varied(stroke, hand, looseness, random), strict=True):
            gap = abs(line[0] - letter[-1][-1]) if letter and stroke.line.size > 1 else np.inf
            if gap < hand.joins:
                letter[-1] = np.concatenate([letter[-1], line])
            else:
                letter.append(line)
    sizes = hand.size * np.exp(random.normal(0, 0.06, trials))
    aspects = hand.aspect * np.exp(random.normal(0, 0.05, trials))
    slants = hand.slant + random.normal(0, 0.03, trials)
    turns = np.exp(1j * (hand.climb + random.normal(0, 0.03, trials))) * sizes
    return [
        [turn * (aspect * line.real + slant * line.imag + 1j * line.imag) for line in letter]
        for letter, aspect, slant, turn in zip(letters, aspects, slants, turns, strict=True)
    ]


def _varied(
    stroke: _Stroke, hand: Hand, looseness: np.ndarray, random: np.random.Generator
) -> list[np.ndarray]:
    """Return the stroke as written in each trial, complex [points]."""
    trials = len(looseness)
    shift = hand.wobble * looseness * _complex(random, trials)
    if len(stroke.line) == 1:
        return [_dot(stroke.line + 2 * s, hand, random) for s in shift]
    line = stroke.line + hand.speed * (stroke.rounded - stroke.line)

    def noise(bumps: np.ndarray, habit: float) -> np.ndarray:
        knots = habit * random.normal(size=len(bumps)) + np.sqrt(1 - habit**2) * random.normal(
            size=(trials, len(bumps))
        )
        return looseness[:, None] * (knots @ bumps)

    headings = hand.bend * noise(stroke.slow, 0.75)
    lengths = np.exp(hand.stretch * noise(stroke.slow, 0.75))
    steps = np.diff(line) * (lengths * np.exp(1j * headings))[:, 1:]
    lines = np.concatenate([np.zeros((trials, 1)), np.cumsum(steps, axis=1)], axis=1) + line[0]
    # Where a stroke ends decides where it meets others: half-way back to where it should.
    drift = (line[-1] - lines[:, -1:]) * np.linspace(0, 1, len(line))
    lines += 0.6 * drift + shift[:, None]
    lines += hand.tremor * (noise(stroke.quick, 0) + 1j * noise(stroke.quick, 0))
    most = min(len(line) // 6, 5)  # of points that a fast hand leaves out at an end
    cuts = random.binomial(most, 0.6 * hand.speed, (trials, 2))
    return [one[a : len(one) - b] for one, (a, b) in zip(lines, cuts, strict=True)]


def _dot(place: np.ndarray, hand: Hand, random: np.random.Generator) -> np.ndarray:
    """Return a dot as a short stroke or a small ring, complex [points]."""
    match hand.dot:
        case "ring":
            angles = random.uniform(0, 6) + np.linspace(0, random.uniform(5.5, 7), 14)
            radius = random.uniform(10, 28) * np.exp(0.15 * random.normal(size=14).cumsum() / 4)
            return place + radius * np.exp(1j * angles)
        case "dash":
            return place + random.uniform(12, 26) * np.exp(-0.5j * random.random()) * np.array(
                [-0.5, 0.5]
            )
        case _:
            return place + 4 * _complex(random, 3)


def _complex(random: np.random.Generator, count: int) -> np.ndarray:
    return random.normal(size=count) + 1j * random.normal(size=count)


def picture(lines: list[np.ndarray], pen: float) -> Image.Image:
    """Draw strokes with a round pen; return a 1-bit picture, cut tightly, white paper around.

    Args:
        lines: complex [points] each, in pixels, y up.
        pen: width in pixels.
    """
    points = np.concatenate(lines)
    edge = MARGIN + pen
    corner = complex(points.real.min() - edge, points.imag.max() + edge)
    width, height = np.ptp(points.real) + 2 * edge, np.ptp(points.imag) + 2 * edge
    size = (int(width) * FINE, int(height) * FINE)
    large = Image.new("L", size, 255)
    draw = ImageDraw.Draw(large)
    stroke_width = round(FINE * pen)
    radius = stroke_width / 2
    for line in lines:
        placed = (line - corner) * FINE
        pairs = np.column_stack([placed.real, -placed.imag])
        draw.line(pairs.ravel().tolist(), 0, stroke_width, joint="curve")
        for x, y in (pairs[0], pairs[-1]):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), 0)
    small = large.reduce(FINE).point(lambda grey: 255 * (grey > 127), "1")
    left, top, right, bottom = small.point(lambda bit: 255 - bit).getbbox()
    return small.crop((left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN))
