"""Synthetic writers of Tamil: the stand-in for HPL Tamil where the real data is not to be had.

Each writer has a hand of their own (size, proportions, slant, pen) and draws every letter from its
pen strokes; a warp, other for each picture, makes no two alike. Pictures come in HPL's layout.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw

from nbhelpers import augmentation
from nbhelpers.sources import project_folder
from nbhelpers.tamil.alphabet import pen_strokes

MARGIN = 4  # pixels of paper around the ink, as in HPL's pictures
SIDE = 192  # of the squares that letters are drawn into, in pixels
WARP = augmentation.RandomWarp(degrees=6, scale=0.08, shear=0.15, stretch=0.25, bend=0.02)


def edition() -> str:
    """Return 8 hexadecimal digits that change whenever the pictures might."""
    strokes = project_folder() / "data" / "tamil_strokes.json"
    files = (strokes, Path(__file__), Path(augmentation.__file__))
    return f"{zlib.crc32(b''.join(file.read_bytes() for file in files)):08x}"


def write(path: Path) -> None:
    """Write a zip archive of all pictures, which takes about 20 seconds."""
    print("Writing Tamil letters by synthetic writers, once: about 20 seconds")
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in pictures():
            packed.writestr(name, content)


def pictures(
    writers: int = 20, trials: int = 2, seed: int = 0, classes: int = 156
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each picture: `usr_<writer>/<class>t<trial>.tiff`.

    1 bit a pixel, black on white, cut tightly with 4 pixels of paper around the ink. Each writer
    draws the first `classes` letters `trials` times, and the same whatever the number of writers.
    """
    for writer in range(1, writers + 1):
        random = np.random.default_rng([seed, writer])
        letters = _letters(random, classes)
        for trial in range(1, trials + 1):
            with torch.random.fork_rng(devices=[]):  # others draw from it, too
                torch.manual_seed(int(random.integers(2**62)))
                warped = torch.cat([WARP(part) for part in letters.split(16)])
            for label, ink in enumerate(warped[:, 0] > 0.5):
                yield f"usr_{writer}/{label:03}t{trial:02}.tiff", _tiff(ink.numpy())


def _letters(random: np.random.Generator, classes: int) -> torch.Tensor:
    """Draw the first `classes` letters by the hand of a new writer, float [n, 1, SIDE, SIDE]."""
    size = random.uniform(110, 140)  # of the longer side, in pixels
    aspect, slant = np.exp(random.normal(0.08, 0.12)), random.normal(0.08, 0.15)
    pen = int(random.choice([2, 3, 3, 4]))
    dot = pen * random.uniform(1, 2)  # its radius
    drawn = []
    for strokes in pen_strokes()[:classes]:
        lines = [stroke @ [[aspect, 0], [slant, -1]] for stroke in strokes]
        points = np.concatenate(lines)
        middle, scale = (points.min(0) + points.max(0)) / 2, size / np.ptp(points, axis=0).max()
        square = Image.new("L", (SIDE, SIDE))
        draw = ImageDraw.Draw(square)
        for line in lines:
            place = [tuple(point) for point in scale * (line - middle) + SIDE / 2]
            draw.line(place, 255, pen, joint="curve")
            for end in (place[0], place[-1]):
                draw.circle(end, pen / 2 if len(place) > 1 else dot, 255)
        drawn.append(np.asarray(square, np.float32) / 255)
    return torch.from_numpy(np.stack(drawn))[:, None]


def _tiff(ink: np.ndarray) -> bytes:
    """Return ink, bool [height, width], as a picture in HPL's form."""
    square = Image.fromarray(ink)
    left, top, right, bottom = square.getbbox()
    cut = square.crop((left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN))
    content = io.BytesIO()
    ImageChops.invert(cut).save(content, "TIFF")
    return content.getvalue()
