"""Turn a picture of one character into what the models were trained on.

Whatever the picture is (a photo of lined paper, a drawing with a transparent background, a scan),
the same steps are taken: estimate the paper and take it away, find the ink, drop ruled lines and
specks, cut the character out, bring its pen to the width known from training, scale and place it
as the training images were (`paper`, `shapes`). `web/ink.js` does the same: change both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.morphology import skeletonize

from handwriting.paper import Found, all_found, found
from handwriting.parts import EIGHT, cut, refused, several
from handwriting.pictures import InkError as InkError  # for who imports `ink` alone
from handwriting.pictures import Picture
from nbhelpers import shapes
from nbhelpers.shapes import INK

# torch takes seconds to import, and reading a picture gets along without.
if TYPE_CHECKING:
    import torch

FINE = INK["fine"]  # longest side of a character while its pen is measured and redrawn, in pixels
HALF = INK["half"]  # what counts as ink, of 255, on the edge of a stroke
DOUBTFUL = INK["doubtful"]  # doubt with which no answer is sure
BUSIEST = INK["busiest"]  # ends of strokes and twice the loops that a digit has; see `_ends`

# Widths of the pen as a share of the character's longer side. MNIST: the 5th and the 95th
# percentile over training images, and what other pens are brought to. HPL Tamil: the pen is 2.2
# pixels wide whatever the letter, and the letter's longer side, without its margin of 4 pixels, 59
# to 209 (5 % to 95 %), median 125.
MNIST_PENS, MNIST_USUAL = INK["mnist_pens"], INK["mnist_usual"]
TAMIL_PEN = INK["tamil_pen"] / INK["tamil_longer"]
TAMIL_MARGIN = INK["tamil_margin"], INK["tamil_longer"]


@dataclass(frozen=True)
class Steps:
    """What was done to a picture, step by step; uint8, 0 is paper and 255 is ink."""

    found: Found  # where the character is, and what it looks like, as arrays
    form: np.ndarray  # `[side, side]`, what a model gets
    pen: float  # width of the pen that was found, as a share of the character's longer side
    doubt: float = 0.0  # whether that is all of one character and nothing else, from 0 to 1

    @property
    def ink(self) -> torch.Tensor:
        """The whole picture, `[height, width]`, as large as it was looked at."""
        return _tensor(self.found.ink)

    @property
    def crop(self) -> torch.Tensor:
        """Only the character, as it was found, `[h, w]`."""
        return _tensor(self.found.crop)

    @property
    def normalised(self) -> torch.Tensor:
        """What a model gets, `[side, side]`."""
        return _tensor(self.form)

    @property
    def box(self) -> tuple[float, ...]:
        """Where the character is: left, top, right, bottom, as shares of the picture's sides."""
        return self.found.box


def _tensor(values: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(values)


def to_mnist(picture: Picture) -> Steps:
    """Bring a picture of one digit to MNIST's form: 28×28.

    The digit is scaled to fit a box of 20×20 with its proportions kept, and placed by its centre
    of mass. A pen thinner or thicker than those of most MNIST digits is brought to a usual width.

    Args:
        picture: a file's path or its bytes, an open PIL picture, or an array `[h, w]`,
            `[h, w, 3]` or `[h, w, 4]` of uint8, uint16, float (0 to 1 or 0 to 255) or bool.

    Raises:
        InkError: the picture cannot be read, is too large or too small, or shows no character.
    """
    one = found(picture)
    if (count := several(one.crop)[0]) > 1:
        raise InkError(f"{one.name}: {refused('several', f'{count} ')}")
    return _as_mnist(one)


def _as_mnist(one: Found) -> Steps:
    fine, pen, ends = _measured(one.crop)
    doubt = max(one.doubt, several(one.crop)[1], DOUBTFUL * (ends > BUSIEST))
    drawn = one.crop
    if pen > MNIST_PENS[1]:
        drawn = _thinner(fine, pen, MNIST_USUAL[1])
    elif pen < MNIST_PENS[0]:
        drawn = _around(fine > HALF, FINE * (MNIST_USUAL[0] - pen) / 2)
    scale = INK["mnist_box"] / max(drawn.shape)
    size = tuple(max(1, round(side * scale)) for side in drawn.shape[::-1])
    small = np.asarray(Image.fromarray(drawn).resize(size, Image.Resampling.BOX), np.float32)
    small = np.minimum(small * (255 / small.max()), 255).round().astype(np.uint8)
    side = shapes.FORMS["mnist"].side
    return Steps(one, shapes.place_by_centre_of_mass(small[None], side)[0], pen, doubt)


def to_tamil(picture: Picture, proportions: str = "adapted") -> Steps:
    """Bring a picture of one Tamil letter to the form of `tamil.tamil`: 64×64.

    The letter is redrawn with the pen of HPL's originals, then takes the importer's way: scaled
    to fit the square, centred, its strokes made equally wide and dark.

    The proportions of the letter are `kept` or `adapted`, see `shapes.fitted`; others are a
    ValueError. All else is as for `to_mnist`.
    """
    return _as_tamil(found(picture), proportions)


def _as_tamil(one: Found, proportions: str) -> Steps:
    form, pen = tamil_form(one.crop, proportions)
    return Steps(one, form, pen, one.doubt)


def tamil_form(ink: np.ndarray, proportions: str = "adapted") -> tuple[np.ndarray, float]:
    """Return a letter's form, uint8 `[64, 64]`, and its pen: a share of the letter's longer side.

    As `to_tamil` does it, from ink already found: uint8 `[h, w]`, 0 is paper, cut at the letter.
    """
    fine, pen, _ = _measured(ink)
    near = TAMIL_PEN / 1.5 < pen < 1.5 * TAMIL_PEN
    drawn = ink if near else _redrawn(fine, pen, TAMIL_PEN)
    margin, longer = TAMIL_MARGIN
    original = Image.fromarray(np.pad(drawn, round(max(drawn.shape) * margin / longer)))
    return shapes.placed(original, shapes.FORMS["tamil"].side, proportions), pen


def to_form(picture: Picture, form: str, side: int, proportions: str = "adapted") -> Steps:
    """Bring a picture to the form that a model's card names: `to_mnist` or `to_tamil`.

    It is resized to the side of the model's images, in pixels. The proportions are for `to_tamil`;
    MNIST's form always keeps them. An unknown form is a ValueError.
    """
    shapes.form(form)
    steps = to_mnist(picture) if form == "mnist" else to_tamil(picture, proportions)
    return _resized(steps, side)


def all_to_form(
    picture: Picture, form: str, side: int, proportions: str = "adapted"
) -> list[Steps]:
    """Bring every separate character on a picture to a form; see `to_form`.

    They come row by row from the top, each from left to right. Doubt is about each one alone.
    """
    shapes.form(form)
    found = all_found(picture)
    steps = [_as_mnist(one) if form == "mnist" else _as_tamil(one, proportions) for one in found]
    return [_resized(one, side) for one in steps]


def _resized(steps: Steps, side: int) -> Steps:
    if len(steps.form) == side:
        return steps
    form = Image.fromarray(steps.form.astype(np.float32))  # as `shapes.resized`, without torch
    small = np.asarray(form.resize((side, side), Image.Resampling.BILINEAR))
    return replace(steps, form=small.round().astype(np.uint8))


def _measured(crop: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Return the character with longer side `FINE`, uint8 `[h, w]`, its pen, and its `_ends`.

    The pen's width is a share of the longer side.
    """
    scale = FINE / max(crop.shape)
    size = tuple(max(1, round(side * scale)) for side in crop.shape[::-1])
    fine = np.pad(np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BICUBIC)), 1)
    if fine.max() <= HALF:  # a hairline of a large picture
        fine = (fine * (255 / fine.max())).round().astype(np.uint8)
    mask = fine > HALF
    pen = float(2 * np.median(ndimage.distance_transform_edt(mask)[skeletonize(mask)]))
    return fine, pen / FINE, _ends(mask, pen)


def _ends(mask: np.ndarray, pen: float) -> int:
    """Return how many ends a character's strokes have, plus two for each loop.

    Of nearly all digits, 7 at most; a tree, a star or a # has more. The mask is bool `[h, w]`, the
    pen is in pixels.
    """
    # Smooth, for the edge of an enlarged picture has steps.
    mask = ndimage.gaussian_filter(np.pad(mask, 3).astype(np.float32), pen / 8) > 0.5
    middle = skeletonize(mask)
    near = ndimage.convolve(middle.astype(np.uint8), EIGHT.astype(np.uint8), mode="constant")
    areas = np.bincount(ndimage.label(~mask)[0].ravel())[1:]  # what is around it, and its loops
    loops = np.count_nonzero(areas > 0.15 * pen * pen) - 1
    return np.count_nonzero(middle & (near == 2)) + 2 * loops


def _thinner(fine: np.ndarray, pen: float, wanted: float) -> np.ndarray:
    """Return the character with its strokes peeled off on both sides, uint8 `[h, w]`, cropped."""
    mask = fine > HALF
    depth = ndimage.distance_transform_edt(mask)
    drawn = np.clip(depth - FINE * (pen - wanted) / 2 + 0.5, 0, 1)
    if ndimage.label(drawn > 0.5, EIGHT)[1] != ndimage.label(mask, EIGHT)[1]:
        return _redrawn(fine, pen, wanted)  # peeling would break or lose a stroke
    return cut((drawn * 255).astype(np.uint8))


def _redrawn(fine: np.ndarray, pen: float, wanted: float) -> np.ndarray:
    """Return the character drawn along the middle of its strokes, uint8 `[h, w]`, cropped."""
    # Where a thick pen or a blurred photo has nearly closed a loop, its inside is still a little
    # lighter than what is around it.
    around = ndimage.gaussian_filter(fine.astype(np.float32), 0.6 * FINE * pen)
    mask = (fine > HALF) & (fine >= around - 0.1)
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), max(0.5, FINE * pen / 16)) > 0.5
    return _around(skeletonize(smooth | skeletonize(mask)), FINE * wanted / 2)


def _around(mask: np.ndarray, radius: float) -> np.ndarray:
    """Return a mask with ink so far around it, in pixels: uint8 `[h, w]`, cropped."""
    away = ndimage.distance_transform_edt(~np.pad(mask, math.ceil(radius) + 1))
    return cut((np.clip(radius + 0.5 - away, 0, 1) * 255).astype(np.uint8))
