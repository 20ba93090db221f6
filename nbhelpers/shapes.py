"""Pixels to the form that models are trained on, and the one table of these forms.

The table is `forms.json`, which the playground's scripts read as well. It tells, for each form:
what an image shows (`noun`), its `side` in pixels, whether `fitted` has `kept` or `adapted` the
character's `proportions`, and the `licence` of models trained on such images; then what
`handwriting` needs to find ink, and its words of refusal.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

# torch takes seconds to import, and who only runs a saved model gets along without.
if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Form:
    """How the images of a data set were made; see the module's text."""

    noun: str
    side: int
    proportions: str
    licence: str


TABLE = Path(__file__).with_name("forms.json")
_CONTENT = json.loads(TABLE.read_text(encoding="utf-8"))
FORMS = {name: Form(**values) for name, values in _CONTENT["forms"].items()}
INK: dict[str, Any] = _CONTENT["ink"]  # what ink is found by; explained in handwriting/
REFUSALS: dict[str, str] = _CONTENT["refusals"]  # why a picture shows no character


def form(name: str) -> Form:
    """Return a form of the table.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in FORMS:
        raise ValueError(f"form is {name!r}. Expected {' or '.join(map(repr, FORMS))}.")
    return FORMS[name]


def resized(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return images uint8 `[n, h, w]` with another height and width, uint8 `[n, *size]`."""
    import torch
    from torch.nn import functional

    if images.shape[1:] == size:
        return images
    scaled = partial(functional.interpolate, size=size, mode="bilinear", antialias=True)
    parts = images[:, None].split(4096)  # as floats, all at once could fill the memory
    return torch.cat([scaled(part.float()).round_().to(torch.uint8) for part in parts])[:, 0]


def place_by_centre_of_mass(images: np.ndarray, side: int) -> np.ndarray:
    """Place images in larger squares as MNIST's makers did: uint8 `[n, side, side]`.

    In whole pixels, the centre of mass comes nearest to pixel `side / 2`, counted from 0: so 69,998
    of MNIST's 70,000 images stay as they are. Ink that would fall outside is moved less.

    Args:
        images: uint8 `[n, height, width]`, ink is 255, at least one pixel of ink each.
        side: of the squares, in pixels.
    """
    from scipy.ndimage import center_of_mass  # with all of ndimage, which most do without

    squares = np.zeros((len(images), side, side), images.dtype)
    for square, image in zip(squares, images, strict=True):
        moved = np.rint(side / 2 - np.array(center_of_mass(image))).astype(int)
        y, x = np.clip(moved, 0, side - np.array(image.shape))
        square[y : y + len(image), x : x + image.shape[1]] = image
    return squares


def placed(picture: Image.Image, side: int, proportions: str = "kept") -> np.ndarray:
    """Return a letter as the models get it: centred, with an even pen, uint8 `[side, side]`.

    Args:
        picture: mode L, cropped to the letter; 0 is paper, 255 is ink.
        side: of the square, in pixels.
        proportions: of the letter, `kept` or `adapted`; see `fitted`.

    Raises:
        ValueError: `proportions` is neither.
    """
    width, height = fitted(picture.size, side - 2 * max(1, side // 32), proportions)
    square = Image.new("L", (side, side))
    small = picture.resize((width, height), Image.Resampling.BILINEAR)  # anti-aliased if it shrinks
    square.paste(small, ((side - width) // 2, (side - height) // 2))
    return even_pen(square)


def fitted(size: tuple[int, int], room: int, proportions: str = "kept") -> tuple[int, int]:
    """Return the width and height, in pixels, that a picture gets in a square of side `room`.

    Its longer side fills the square. With proportions `kept` its shorter side shrinks as much; a
    wide letter is then left with few rows of pixels. With proportions `adapted` it shrinks less,
    the less the narrower it is: to √sin(π/2 · shorter / longer) of the room.

    Source of `adapted`: C.-L. Liu, M. Koga, H. Sako, H. Fujisawa, Aspect Ratio Adaptive
    Normalization for Handwritten Character Recognition, Advances in Multimodal Interfaces, 2000.
    """
    if proportions not in ("kept", "adapted"):
        raise ValueError(f"proportions is {proportions!r}. Expected 'kept' or 'adapted'.")
    width, height = size
    ratio = min(size) / max(size)
    if proportions == "adapted":
        ratio = math.sqrt(math.sin(math.pi / 2 * ratio))
    shorter = max(1, round(room * ratio))
    return (room, shorter) if width >= height else (shorter, room)


def even_pen(picture: Image.Image) -> np.ndarray:
    """Return the picture with strokes of one width and darkness, uint8 `[height, width]`.

    All HPL letters were drawn with a pen of the same width, whatever their size. Scaled to one
    size, large letters are left with faint hair lines. A slight blur makes all lines about equally
    wide, and dividing by the mean of the ink makes them equally dark.

    Args:
        picture: mode L; 0 is paper, 255 is ink.
    """
    blurred = picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 100))
    values = np.asarray(blurred, np.float32)
    ink = values[values > values.max() / 4]
    if not ink.size:
        return np.asarray(picture)
    return np.clip(values * (1.3 * 255 / ink.mean()), 0, 255).round().astype(np.uint8)
